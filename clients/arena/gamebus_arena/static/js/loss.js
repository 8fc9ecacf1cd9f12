/**
 * Which share of one's own positions is lost: each carries a number, and one's own ticks bring them back. Pure: time is an argument.
 *
 * A tick holds the newest position alone, so one that was sent shortly before the next is not expected back. One that was held up
 * until the next arrived cannot be told from a lost one, and counts.
 */
const JUDGED_AFTER_MS = 1_000;
const OVERTAKEN_MS = 55;
const WINDOW = 150;

export class LossMeter {
  #waiting = new Map();
  #judged = [];

  #last = null;

  sent(number, now) {
    if (this.#last !== null) this.#last.overtaken = now - this.#last.at < OVERTAKEN_MS;
    this.#last = { at: now, seen: false, overtaken: false };
    this.#waiting.set(number, this.#last);
  }

  seen(number) {
    const one = this.#waiting.get(number);
    if (one !== undefined) one.seen = true;
  }

  /** Share of 0..1 of the last positions whose time is over; null before there is one. */
  share(now) {
    for (const [number, { at, seen, overtaken }] of this.#waiting) {
      if (now - at < JUDGED_AFTER_MS) break;
      this.#waiting.delete(number);
      if (seen || !overtaken) this.#judged.push(seen);
    }
    if (this.#judged.length > WINDOW) this.#judged.splice(0, this.#judged.length - WINDOW);
    if (this.#judged.length === 0) return null;
    return this.#judged.filter((seen) => !seen).length / this.#judged.length;
  }
}
