/**
 * The bounded queue between the connection and a program that iterates.
 *
 * Overflow policy: a tick never waits behind another tick of its room; they are merged, newest position per player, so ticks
 * take at most one place per room. Everything else is kept in order and never dropped: when `limit` of them wait, `put` returns
 * false, and the client closes the connection and resumes once half of them are taken. So a slow program costs itself freshness
 * and, past the bound, a reconnect; it never blocks the reading of the socket and loses no durable event silently.
 */

import type { Message, PositionData, Tick } from "./messages.js";

/** Ticks of one room merged while nobody took them. */
class PendingTick {
  readonly kind = "pending";
  stale = false;
  readonly #first: Tick;
  #serverMs: number;
  // Copied only when a second tick comes: most are taken alone.
  #positions: Map<string, PositionData | null> | null = null;
  /** Player -> serverMs of the tick that the position came from. */
  readonly #stamps = new Map<string, number>();

  constructor(tick: Tick) {
    this.#first = tick;
    this.#serverMs = tick.serverMs;
  }

  merge(tick: Tick): void {
    if (this.#positions === null) {
      this.#positions = new Map(this.#first.positions);
      for (const player of this.#positions.keys()) this.#stamps.set(player, this.#serverMs);
    }
    for (const [player, data] of tick.positions) {
      // Wire protocol: a value in a tick of the same server_ms wins over a null.
      const known = this.#positions.get(player) ?? null;
      if (data === null && known !== null && this.#stamps.get(player) === tick.serverMs) continue;
      this.#positions.set(player, data);
      this.#stamps.set(player, tick.serverMs);
    }
    this.#serverMs = tick.serverMs;
  }

  take(): Tick {
    if (this.#positions === null) return this.#first;
    return { kind: "tick", room: this.#first.room, serverMs: this.#serverMs, positions: this.#positions };
  }
}

/** Messages that wait for the program. Several consumers share them; each message goes to one. */
export class Inbox {
  ticksMerged = 0;
  readonly #limit: number;
  readonly #queue: (Message | PendingTick)[] = [];
  readonly #ticks = new Map<string, PendingTick>();
  readonly #takers: ((message: Message | null) => void)[] = [];
  #waiting = 0;
  #closed = false;
  #whenDrained: (() => void) | null = null;

  /** @param limit messages other than ticks that may wait. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Messages other than ticks that wait. */
  get size(): number {
    return this.#waiting;
  }

  /** Take a message in; false when the bound is reached and it was not taken (`force`: taken in any case). */
  put(message: Message, force = false): boolean {
    if (message.kind === "tick") {
      this.#putTick(message);
    } else {
      if (this.#waiting >= this.#limit && !force) return false;
      if (message.kind === "joined" || message.kind === "left") this.#forgetTick(message.room);
      this.#waiting += 1;
      this.#queue.push(message);
    }
    this.#serve();
    return true;
  }

  /** The next message; null when the inbox is closed and empty. */
  get(): Promise<Message | null> {
    return new Promise((resolve) => {
      this.#takers.push(resolve);
      this.#serve();
    });
  }

  /** Wait until at most half of the bound waits, or nobody will take any more. */
  async drained(): Promise<void> {
    if (this.#waiting > this.#limit / 2 && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#whenDrained = resolve;
      });
    }
  }

  /** No message will come any more; what waits can still be taken. */
  close(): void {
    this.#closed = true;
    this.#serve();
    this.#whenDrained?.();
  }

  #putTick(tick: Tick): void {
    const pending = this.#ticks.get(tick.room);
    if (pending !== undefined) {
      pending.merge(tick);
      this.ticksMerged += 1;
      return;
    }
    const first = new PendingTick(tick);
    this.#ticks.set(tick.room, first);
    this.#queue.push(first);
  }

  #forgetTick(room: string): void {
    // What waits was said before: the room's state begins anew.
    const pending = this.#ticks.get(room);
    if (pending !== undefined) {
      pending.stale = true;
      this.#ticks.delete(room);
    }
  }

  #serve(): void {
    while (this.#takers.length > 0) {
      const message = this.#take();
      if (message === null && !this.#closed) return;
      this.#takers.shift()?.(message);
    }
  }

  #take(): Message | null {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      if (next.kind !== "pending") {
        this.#waiting -= 1;
        if (this.#waiting <= this.#limit / 2) {
          this.#whenDrained?.();
          this.#whenDrained = null;
        }
        return next;
      }
      if (!next.stale) {
        const tick = next.take();
        this.#ticks.delete(tick.room);
        return tick;
      }
    }
    return null;
  }
}
