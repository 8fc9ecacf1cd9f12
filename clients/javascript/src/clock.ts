/**
 * The gateway's clock, as far as round trips tell. Pure: local times (milliseconds, monotonic) are arguments.
 *
 * Guarantee: for each sample the true offset lies within half its round trip of the estimate, provided that neither clock
 * jumps; the sample with the shortest round trip counts (the clock filter of NTP, RFC 5905 section 10).
 *
 * Not guaranteed: that it is monotonic across samples or connections, or that two gateways agree.
 */

const KEPT_SAMPLES = 8;

interface Sample {
  readonly roundTripMs: number;
  readonly offsetMs: number;
}

/** Server time minus local time, from the last few round trips of one connection. */
export class ClockOffset {
  #samples: Sample[] = [];

  /** A new connection, maybe to a gateway with another clock. */
  reset(): void {
    this.#samples = [];
  }

  /** A message left at `sentMs`, the gateway stamped its answer with `serverMs`, the answer came at `receivedMs`. */
  add(sentMs: number, receivedMs: number, serverMs: number): void {
    const roundTripMs = receivedMs - sentMs;
    this.#samples.push({ roundTripMs, offsetMs: serverMs - (sentMs + roundTripMs / 2) });
    if (this.#samples.length > KEPT_SAMPLES) this.#samples.shift();
  }

  /** Unix milliseconds by the gateway's clock at the local time `now`; null before the first sample. */
  serverMs(now: number): number | null {
    let best: Sample | undefined;
    // Of equal round trips the newest: clocks drift.
    for (const sample of this.#samples) {
      if (best === undefined || sample.roundTripMs <= best.roundTripMs) best = sample;
    }
    return best === undefined ? null : now + best.offsetMs;
  }
}
