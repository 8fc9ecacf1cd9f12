/** When the token is refreshed on the open connection: after four fifths of its life, and not within a second. */

import { Timer } from "./timer.js";
import type { Timers } from "./timers.js";

const REFRESH_AT = 0.8;
const AT_LEAST_MS = 1_000;

export class TokenRefresh {
  readonly #timers: Timers;
  readonly #timer: Timer;
  readonly #refresh: () => unknown;
  #at = 0;

  constructor(timers: Timers, refresh: () => unknown) {
    this.#timers = timers;
    this.#refresh = refresh;
    this.#timer = new Timer(timers, () => this.#due());
  }

  /** A token that lives for `leftMs` counts from now on. */
  plan(leftMs: number): void {
    this.#at = this.#timers.now() + Math.max(AT_LEAST_MS, leftMs * REFRESH_AT);
    this.#timer.cancel();
    this.#timer.notAfter(this.#at);
  }

  cancel(): void {
    this.#timer.cancel();
  }

  #due(): void {
    // A timer for more than 24 days ends early.
    if (this.#timers.now() < this.#at) this.#timer.notAfter(this.#at);
    else this.#refresh();
  }
}
