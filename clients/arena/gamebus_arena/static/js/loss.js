/**
 * Which share of one's own positions is lost: each carries a number, and one's own ticks bring them back. Pure: time is an argument.
 *
 * A position that was overtaken by a newer one in the same tick counts as lost too; positions are sent a little less often than
 * ticks come, so that this is rare.
 */
const JUDGED_AFTER_MS = 1_000;
const WINDOW = 150;

export class LossMeter {
  #waiting = new Map();
  #judged = [];

  sent(number, now) {
    this.#waiting.set(number, { at: now, seen: false });
  }

  seen(number) {
    const one = this.#waiting.get(number);
    if (one !== undefined) one.seen = true;
  }

  /** Share of 0..1 of the last positions whose time is over; null before there is one. */
  share(now) {
    for (const [number, { at, seen }] of this.#waiting) {
      if (now - at < JUDGED_AFTER_MS) break;
      this.#waiting.delete(number);
      this.#judged.push(seen);
    }
    if (this.#judged.length > WINDOW) this.#judged.splice(0, this.#judged.length - WINDOW);
    if (this.#judged.length === 0) return null;
    return this.#judged.filter((seen) => !seen).length / this.#judged.length;
  }
}
