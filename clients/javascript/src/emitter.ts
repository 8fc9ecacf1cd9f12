/**
 * Listeners by name of message.
 *
 * Guarantee: they are called in the order in which they were added, between two reads of the socket, so they must be quick. One
 * that throws stops neither the others nor the connection: its error is reported as any uncaught one is.
 */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(message: never) => void>>();

  on<Name extends keyof Events>(name: Name, listener: (message: Events[Name]) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => {
      listeners.delete(listener);
    };
  }

  emit<Name extends keyof Events>(name: Name, message: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as (message: Events[Name]) => void)(message);
      } catch (error) {
        report(error);
      }
    }
  }
}

/** As an uncaught one: browsers have a function for it. */
function report(error: unknown): void {
  if (typeof globalThis.reportError === "function") {
    globalThis.reportError(error);
    return;
  }
  queueMicrotask(() => {
    throw error;
  });
}
