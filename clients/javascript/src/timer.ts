/** One timer that can only be made to fire earlier; who needs a later one cancels it first. */

import type { Timers } from "./timers.js";

export class Timer {
  readonly #timers: Timers;
  readonly #callback: () => void;
  #at: number | null = null;
  #cancel: () => void = () => {};

  constructor(timers: Timers, callback: () => void) {
    this.#timers = timers;
    this.#callback = callback;
  }

  /** Fire at `at`, unless it fires before that anyway. */
  notAfter(at: number): void {
    if (this.#at !== null && this.#at <= at) return;
    this.cancel();
    this.#at = at;
    this.#cancel = this.#timers.at(at, () => {
      this.#at = null;
      this.#callback();
    });
  }

  cancel(): void {
    this.#cancel();
    this.#at = null;
  }
}
