/**
 * Where to connect: the given gateway, or the one that it names for a room.
 *
 * Guarantees: asking never ends a client and takes at most two seconds; where nobody can be asked, or the answer names nothing
 * usable, the given address is taken. An attempt that failed at a named gateway is followed by one at the given address, which is
 * asked again after that. A `wss://` address is never left for a `ws://` one, since the token goes where the connection goes.
 */

import type { Timers } from "./timers.js";

const TIMEOUT_MS = 2_000;

/** Chooses the address of each attempt. */
export class Placement {
  readonly #url: string;
  readonly #room: string | null;
  readonly #timers: Timers;
  #failed = false;

  /**
   * @param url the given address, path included.
   * @param room to be near to; null: the given address always.
   */
  constructor(url: string, room: string | null, timers: Timers) {
    this.#url = url;
    this.#room = room;
    this.#timers = timers;
  }

  /** Where to connect now. */
  async url(): Promise<string> {
    const skip = this.#room === null || this.#failed;
    this.#failed = false;
    return skip ? this.#url : ((await this.#named().catch(() => null)) ?? this.#url);
  }

  /** No connection could be had at `url`. */
  failed(url: string): void {
    this.#failed = url !== this.#url;
  }

  async #named(): Promise<string | null> {
    const late = new AbortController();
    const cancel = this.#timers.at(this.#timers.now() + TIMEOUT_MS, () => late.abort());
    try {
      const answer = await fetch(placeUrl(this.#url, this.#room ?? ""), { signal: late.signal });
      const { gateway } = (await answer.json()) as { gateway?: unknown };
      const secure = this.#url.startsWith("wss:");
      return typeof gateway === "string" && (secure ? /^wss:/ : /^wss?:/).test(gateway) ? gateway : null;
    } finally {
      cancel();
    }
  }
}

/** Address at which the gateway at `url` says where a room belongs: `place` beside its `v1`. */
export function placeUrl(url: string, room: string): string {
  const place = new URL(`place?room=${encodeURIComponent(room)}`, url);
  place.protocol = place.protocol.replace("ws", "http");
  return place.href;
}
