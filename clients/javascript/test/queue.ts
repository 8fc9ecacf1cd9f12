/** What came and was not looked at yet; who looks waits for it. */
export class Queue<T> {
  readonly #items: T[] = [];
  readonly #waiting: { resolve: (item: T) => void; reject: (error: Error) => void }[] = [];
  #ended: Error | null = null;

  get length(): number {
    return this.#items.length;
  }

  put(item: T): void {
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#items.push(item);
    else waiter.resolve(item);
  }

  /** Nothing more will come. */
  end(error: Error): void {
    this.#ended = error;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
  }

  async get(): Promise<T> {
    if (this.#items.length > 0) return this.#items.shift() as T;
    if (this.#ended !== null) throw this.#ended;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }
}
