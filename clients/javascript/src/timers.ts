/** Monotonic time and timers, as one thing that a test can turn by hand. */

/** The clock of a client. */
export interface Timers {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Call back not before `at`; returns what cancels it. A wait beyond 24 days may end early, so callbacks look at the clock. */
  at(at: number, callback: () => void): () => void;
}

// Longer ones overflow the 32 bits of setTimeout and fire at once.
const LONGEST_MS = 2 ** 31 - 1;

export const systemTimers: Timers = {
  now: () => performance.now(),
  at(at, callback) {
    const delay = Math.min(LONGEST_MS, Math.max(0, at - performance.now()));
    const handle = setTimeout(callback, delay);
    return () => clearTimeout(handle);
  },
};
