/** Where the client gets its tokens from. */

/** A token, or a function (plain or async) that gives a fresh one; it is called before every connection. */
export type Token = string | (() => string | Promise<string>);

/** The token to say hello with. */
export class TokenSource {
  #token: Token;

  constructor(token: Token) {
    this.#token = token;
  }

  /** Whether `get` can give another token than before. */
  get renewable(): boolean {
    return typeof this.#token !== "string";
  }

  /** A token for the next hello. What the function throws, this throws. */
  async get(): Promise<string> {
    return typeof this.#token === "string" ? this.#token : this.#token();
  }

  /** A token that was given by hand takes the place of the one before it. */
  replace(token: string): void {
    if (typeof this.#token === "string") this.#token = token;
  }
}
