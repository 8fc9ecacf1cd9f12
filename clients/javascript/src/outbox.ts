/**
 * Durable events that wait for their outcome. Pure: no I/O, time (milliseconds, monotonic) is an argument.
 *
 * Guarantees: an event leaves with exactly one outcome; one that may have been written never ends as failed or rejected; events
 * are sent in the order in which they were added, and after a reconnect again in that order, under the same ids. Bounded by
 * count: past it `add` refuses and what was taken is kept.
 *
 * Not guaranteed: order across a `nack`. A refused event is sent again after its `retry_ms`, by when later ones may have passed.
 * Nothing survives the page or the process.
 */

import type { Frame, Nack } from "./codec.js";
import {
  InvalidMessage,
  OutboxFull,
  OutcomeUnknown,
  type PublishError,
  PublishFailed,
  PublishRejected,
} from "./errors.js";

/** The gateway knows an id for a limited time, so re-sending ends 10 minutes after an event was first sent. */
export const RESEND_WINDOW_MS = 600_000;

class Entry {
  firstSent: number | null = null;
  /** Sent on the present connection and not answered yet. */
  inFlight = false;
  /** An attempt ended without a certain answer: from then on only an ack can tell. */
  maybeWritten = false;
  attempts = 0;
  notBefore = 0;
  lastNack: Nack | null = null;

  constructor(
    readonly id: string,
    readonly room: string,
    readonly frame: Frame,
    readonly deadline: number,
  ) {}

  /** When it is given up. */
  get ends(): number {
    return this.firstSent === null
      ? this.deadline
      : Math.min(this.deadline, this.firstSent + RESEND_WINDOW_MS);
  }

  /** The error that says what is known of it. */
  giveUp(code: string, message: string): PublishError {
    if (this.inFlight || this.maybeWritten) return new OutcomeUnknown(this.id, code, message);
    if (this.lastNack !== null) {
      return new PublishFailed(this.id, this.lastNack.code, `${this.lastNack.message} (${message})`);
    }
    return new PublishFailed(this.id, code, message);
  }
}

/** Unacknowledged durable events of one client, across its connections. */
export class Outbox {
  readonly #limit: number;
  // Insertion order is the order of sending.
  readonly #entries = new Map<string, Entry>();

  /** @param limit how many events may wait at once. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#entries.size;
  }

  /**
   * Take an event.
   *
   * @throws InvalidMessage an event with this id waits already.
   * @throws OutboxFull the bound is reached.
   */
  add(id: string, room: string, frame: Frame, deadline: number): void {
    if (this.#entries.has(id)) {
      throw new InvalidMessage(
        `event ${JSON.stringify(id)} is already being published; wait for its outcome`,
      );
    }
    if (this.#entries.size >= this.#limit) {
      throw new OutboxFull(id, "outbox_full", `${this.#limit} events wait for their outcome already`);
    }
    this.#entries.set(id, new Entry(id, room, frame, deadline));
  }

  /**
   * Frames to write now, in order; each counts as sent.
   *
   * @param ready whether events of a room can be sent on the present connection.
   */
  due(now: number, ready: (room: string) => boolean): Frame[] {
    const frames: Frame[] = [];
    for (const entry of this.#entries.values()) {
      if (!entry.inFlight && entry.notBefore <= now && now < entry.ends && ready(entry.room)) {
        entry.inFlight = true;
        entry.attempts += 1;
        entry.firstSent ??= now;
        frames.push(entry.frame);
      }
    }
    return frames;
  }

  /** Drop an event that is written; how often it was sent, 0 when it was given up before. */
  acked(id: string): number {
    const attempts = this.#entries.get(id)?.attempts ?? 0;
    this.#entries.delete(id);
    return attempts;
  }

  /** Plan another attempt, or end the event with the error returned. */
  nacked(nack: Nack, now: number): PublishError | null {
    const entry = this.#entries.get(nack.id);
    if (entry === undefined) return null;
    entry.inFlight = false;
    entry.lastNack = nack;
    if (nack.code === "unknown_outcome") entry.maybeWritten = true;
    if (nack.retryMs === null) {
      this.#entries.delete(nack.id);
      return entry.maybeWritten
        ? new OutcomeUnknown(nack.id, nack.code, nack.message)
        : new PublishRejected(nack.id, nack.code, nack.message);
    }
    entry.notBefore = now + nack.retryMs;
    if (entry.notBefore < entry.ends) return null;
    this.#entries.delete(nack.id);
    return entry.giveUp(nack.code, `the next attempt is allowed after the deadline only: ${nack.message}`);
  }

  /** The connection is gone, and with it every answer that was to come on it. */
  disconnected(): void {
    for (const entry of this.#entries.values()) {
      if (entry.inFlight) {
        entry.inFlight = false;
        entry.maybeWritten = true;
      }
    }
  }

  /** End the events whose time is over. */
  expire(now: number): PublishError[] {
    const over = [...this.#entries.values()].filter((entry) => entry.ends <= now);
    for (const entry of over) this.#entries.delete(entry.id);
    return over.map((entry) => entry.giveUp("timeout", "no ack before the deadline"));
  }

  /** End every event: the client closes for good. */
  close(reason: string): PublishError[] {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    return entries.map((entry) => entry.giveUp("closed", reason));
  }

  /** Stop sending an event whose publisher no longer waits. */
  forget(id: string): void {
    this.#entries.delete(id);
  }

  /**
   * When `expire` or `due` may next have something to do, if nothing else happens.
   *
   * It may be past: who waits for it took a later look at the clock than who planned it.
   *
   * @param ready as of `due`.
   */
  nextWake(ready: (room: string) => boolean): number | null {
    let next: number | null = null;
    for (const entry of this.#entries.values()) {
      const waits = !entry.inFlight && ready(entry.room);
      const at = waits ? Math.min(entry.notBefore, entry.ends) : entry.ends;
      if (next === null || at < next) next = at;
    }
    return next;
  }
}
