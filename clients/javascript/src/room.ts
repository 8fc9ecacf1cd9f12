/** A room that the program wants to be in, across connections. Pure. */

// Cursors of delivered events kept per room, to recognise what a resume brings a second time.
const SEEN_CURSORS = 512;

/** Where to resume, and what was delivered already. */
export class Room {
  /** Where to resume; null until the first `joined`. */
  cursor: string | null = null;
  /** On the present connection. */
  joined = false;
  readonly seen = new Set<string>();
  /** Cursors that were delivered before the last resume. */
  replayed: ReadonlySet<string> = new Set();

  delivered(cursor: string): void {
    this.cursor = cursor;
    this.seen.add(cursor);
    if (this.seen.size > SEEN_CURSORS) {
      const oldest = this.seen.values().next();
      if (!oldest.done) this.seen.delete(oldest.value);
    }
  }
}
