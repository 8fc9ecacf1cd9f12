/** Calls that wait for an answer of the gateway. Bounded by the calls of the program. */

import { RequestTimedOut } from "./errors.js";
import type { Timers } from "./timers.js";

/** What is awaited. */
export type RequestKind = "open" | "join" | "leave" | "ping" | "token" | "publish";

interface Waiter {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Promises of the calls that wait, by kind and by room, id or number. Each is settled once and then forgotten. */
export class Waiters {
  readonly #timers: Timers;
  readonly #waiters = new Map<RequestKind, Map<string, Set<Waiter>>>();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /**
   * Promise of the next answer; call it before the request is written.
   *
   * @param timeoutMs it rejects with `RequestTimedOut` after that; null: never.
   */
  expect(kind: RequestKind, key: string, timeoutMs: number | null): Promise<unknown> {
    return new Promise((resolve, reject) => {
      let cancel = () => {};
      const waiter: Waiter = {
        resolve: (value) => {
          cancel();
          resolve(value);
        },
        reject: (error) => {
          cancel();
          reject(error);
        },
      };
      const keys = this.#waiters.get(kind) ?? new Map<string, Set<Waiter>>();
      this.#waiters.set(kind, keys);
      keys.set(key, (keys.get(key) ?? new Set()).add(waiter));
      if (timeoutMs !== null && Number.isFinite(timeoutMs)) {
        cancel = this.#timers.at(this.#timers.now() + timeoutMs, () => {
          const waiting = keys.get(key);
          waiting?.delete(waiter);
          if (waiting?.size === 0) keys.delete(key);
          reject(new RequestTimedOut(`no answer to ${kind} ${JSON.stringify(key)} within ${timeoutMs} ms`));
        });
      }
    });
  }

  /** Give all calls that wait their answer. */
  resolve(kind: RequestKind, key: string, value?: unknown): void {
    for (const waiter of this.#take(kind, key)) waiter.resolve(value);
  }

  /** Answer every call of one kind without a value. */
  resolveAll(kind: RequestKind): void {
    for (const key of [...(this.#waiters.get(kind)?.keys() ?? [])]) this.resolve(kind, key);
  }

  /** Fail all calls that wait; false when none does. */
  reject(kind: RequestKind, key: string, error: Error): boolean {
    const waiting = this.#take(kind, key);
    for (const waiter of waiting) waiter.reject(error);
    return waiting.size > 0;
  }

  /** Fail every call, or those of some kinds. */
  rejectAll(error: Error, kinds: readonly RequestKind[] = [...this.#waiters.keys()]): void {
    for (const kind of kinds) {
      for (const key of [...(this.#waiters.get(kind)?.keys() ?? [])]) this.reject(kind, key, error);
    }
  }

  #take(kind: RequestKind, key: string): ReadonlySet<Waiter> {
    const keys = this.#waiters.get(kind);
    const waiting = keys?.get(key) ?? new Set<Waiter>();
    keys?.delete(key);
    return waiting;
  }
}
