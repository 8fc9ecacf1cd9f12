/** When to come back: close codes and back-off. Pure: time (milliseconds, monotonic) and randomness are arguments. */

export const BASE_MS = 250;
export const CAP_MS = 15_000;
/** A connection that lasted so long was a good one: the back-off starts anew. */
export const STABLE_MS = 5_000;

export const TOKEN_EXPIRED = 4010;

// RFC 6455 section 7.4.1: invalid payload data and message too big. The same message would break the next connection too.
const OWN_FAULT: ReadonlySet<number> = new Set([1007, 1009]);

/**
 * Whether a close code means: do not come back.
 *
 * 4500-4999 by the wire protocol's table, and the two transport codes that name a message which cannot pass. All others,
 * 4000-4499 and transport losses such as 1001, 1006, 1011 and 1012, are worth another connection.
 */
export function isTerminal(code: number): boolean {
  return (code >= 4500 && code <= 4999) || OWN_FAULT.has(code);
}

/**
 * Delays between attempts to connect: exponential with full jitter, 250 ms to 15 s.
 *
 * Full jitter spreads the clients of a restarted gateway evenly ("Exponential Backoff And Jitter", AWS Architecture Blog).
 */
export class Backoff {
  /** Attempts since the last connection that lasted. */
  attempt = 0;
  #opened: number | null = null;
  readonly #random: () => number;

  /** @param random source of the jitter, 0 <= random() < 1. */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** A connection was welcomed. */
  opened(now: number): void {
    this.#opened = now;
  }

  /**
   * Milliseconds to wait after a connection or an attempt ended.
   *
   * @param atLeastMs what the gateway asked for (`reconnect_ms`); the jitter comes on top, since it asked every client for the same.
   */
  nextDelay(now: number, atLeastMs = 0): number {
    if (this.#opened !== null && now - this.#opened >= STABLE_MS) this.attempt = 0;
    this.#opened = null;
    const ceiling = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(this.attempt, 16));
    this.attempt += 1;
    return atLeastMs + this.#random() * ceiling;
  }
}
