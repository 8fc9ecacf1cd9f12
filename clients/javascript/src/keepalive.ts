/**
 * Whether the path still carries: pings of the application, since browsers hide those of the websocket. Pure: time is an argument.
 *
 * Guarantee: after `intervalMs` without anything received a ping is due, and when nothing at all is received for `answerMs` after
 * it, the connection counts as dead. Only what is received counts, so a page that slept is asked before it is given up.
 */
export class Keepalive {
  readonly #answerMs: number;
  #intervalMs: number;
  #receivedAt = 0;
  /** When the ping that has no answer yet was sent. */
  #askedAt: number | null = null;
  #running = false;

  /** @param intervalMs 0: off. */
  constructor(intervalMs: number, answerMs: number) {
    this.#intervalMs = intervalMs;
    this.#answerMs = answerMs;
  }

  /** A connection is open. */
  opened(now: number, intervalMs = this.#intervalMs): void {
    this.#intervalMs = intervalMs;
    this.#running = intervalMs > 0;
    this.received(now);
  }

  closed(): void {
    this.#running = false;
    this.#askedAt = null;
  }

  received(now: number): void {
    this.#receivedAt = now;
    this.#askedAt = null;
  }

  /** Ask at once, for instance because the network changed; false when a ping waits already or there is nothing to ask. */
  probe(now: number): boolean {
    if (!this.#running || this.#askedAt !== null) return false;
    this.#askedAt = now;
    return true;
  }

  /** What is due: send a ping, or give the connection up. */
  wake(now: number): "ping" | "dead" | null {
    const at = this.nextWake();
    if (at === null || now < at) return null;
    if (this.#askedAt !== null) return "dead";
    this.#askedAt = now;
    return "ping";
  }

  nextWake(): number | null {
    if (!this.#running) return null;
    return this.#askedAt === null ? this.#receivedAt + this.#intervalMs : this.#askedAt + this.#answerMs;
  }
}
