/** Time that stands still until a test advances it. */

import type { Timers } from "../src/timers.js";

export class ManualClock implements Timers {
  /** Since it was made. */
  elapsedMs = 0;
  readonly #due = new Set<{ at: number; callback: () => void }>();

  now(): number {
    return 1_000_000 + this.elapsedMs;
  }

  at(at: number, callback: () => void): () => void {
    const timer = { at, callback };
    this.#due.add(timer);
    return () => {
      this.#due.delete(timer);
    };
  }

  /** Time goes on at once, as for a machine that slept; then everything due happens in order, what that makes due too. */
  advance(ms: number): void {
    this.elapsedMs += ms;
    for (;;) {
      const [next] = [...this.#due].filter(({ at }) => at <= this.now()).sort((a, b) => a.at - b.at);
      if (next === undefined) return;
      this.#due.delete(next);
      next.callback();
    }
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#due.size;
  }
}
