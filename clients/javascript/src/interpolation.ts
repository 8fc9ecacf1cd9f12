/**
 * Where to draw the others: a buffer of positions that is shown a little late, so that there is always a next one to move
 * towards ("Source Multiplayer Networking", entity interpolation). Pure: the gateway's time is an argument.
 *
 * Guarantee: a drawn position lies on the line between two received ones, or, when none newer came in time, is the newest one
 * moved on by its velocity for at most `maxExtrapolationMs`. Memory is bounded by `bufferMs` of ticks for each player.
 *
 * Not guaranteed: smoothness. A player who is out of view or who jumped is drawn as such.
 */

import type { Joined, PositionData, Positions, Tick } from "./messages.js";

/** Where one player is drawn. */
export interface Pose {
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly heading: number | null;
  /** Whether no newer position had come, so that this one is guessed. */
  readonly extrapolated: boolean;
}

export interface InterpolationOptions {
  /** How late players are drawn: two ticks, and at least what the network's jitter needs. */
  readonly delayMs?: number | undefined;
  /** How long positions are kept. */
  readonly bufferMs?: number | undefined;
  /** How long a player runs on without news. */
  readonly maxExtrapolationMs?: number | undefined;
}

interface Sample {
  readonly at: number;
  readonly data: PositionData | null;
}

/** The players of one room. Feed it with `joined` and `tick`; ask it once a frame. */
export class Interpolator {
  readonly #delayMs: number;
  readonly #bufferMs: number;
  readonly #maxExtrapolationMs: number;
  #tickMs = 50;
  readonly #samples = new Map<string, Sample[]>();

  constructor({ delayMs = 100, bufferMs = 1_000, maxExtrapolationMs = 250 }: InterpolationOptions = {}) {
    this.#delayMs = delayMs;
    this.#bufferMs = Math.max(bufferMs, 2 * delayMs);
    this.#maxExtrapolationMs = maxExtrapolationMs;
  }

  /** The room was entered (again): its state begins anew at the gateway's time `serverMs`. */
  joined({ tickHz, positions }: Pick<Joined, "tickHz" | "positions">, serverMs: number | null): void {
    this.#samples.clear();
    if (tickHz > 0) this.#tickMs = 1_000 / tickHz;
    this.#add(positions, (serverMs ?? 0) - this.#delayMs);
  }

  tick({ serverMs, positions }: Pick<Tick, "serverMs" | "positions">): void {
    this.#add(positions, serverMs);
  }

  /** Draw a player no longer, until a newer position comes: he left the room, or died. */
  forget(player: string): void {
    this.#samples.delete(player);
  }

  /** All players that are to be seen at the gateway's time `serverMs`; nobody while that is not known (null). */
  sample(serverMs: number | null): Map<string, Pose> {
    const poses = new Map<string, Pose>();
    if (serverMs === null) return poses;
    for (const [player, samples] of this.#samples) {
      const pose = this.#pose(samples, serverMs - this.#delayMs);
      if (pose !== null) poses.set(player, pose);
      // Gone for longer than it is drawn late.
      else if (samples.at(-1)?.data === null && samples.length === 1) this.#samples.delete(player);
    }
    return poses;
  }

  #add(positions: Positions, at: number): void {
    for (const [player, data] of positions) {
      const samples = this.#samples.get(player) ?? [];
      this.#samples.set(player, samples);
      const last = samples.at(-1);
      if (last !== undefined && at < last.at) continue;
      if (last !== undefined && at === last.at) {
        // Wire protocol: a value in a tick of the same server_ms wins over a null.
        if (data !== null || last.data === null) samples[samples.length - 1] = { at, data };
        continue;
      }
      samples.push({ at, data });
      // The newest one before the buffer begins is where the player stood then.
      while (samples.length > 2 && (samples[1]?.at ?? at) < at - this.#bufferMs) samples.shift();
    }
  }

  #pose(samples: Sample[], at: number): Pose | null {
    let from: Sample | undefined;
    let to: Sample | undefined;
    for (const sample of samples) {
      if (sample.at > at) {
        to = sample;
        break;
      }
      from = sample;
    }
    // Not there yet, or not there any more.
    if (from === undefined || from.data === null) return null;
    while (samples.length > 0 && samples[0] !== from) samples.shift();
    if (to === undefined) return this.#extrapolate(from.data, at - from.at);
    if (to.data === null) return pose(from.data, from.data, 0);
    // Who does not move is in no tick, so a player stood still until one tick before the next position.
    const start = Math.max(from.at, to.at - INTERPOLATED_TICKS * this.#tickMs);
    return pose(from.data, to.data, Math.max(0, (at - start) / (to.at - start)));
  }

  #extrapolate(data: PositionData, ageMs: number): Pose {
    const [, x = 0, y = 0, z = 0, vx, vy, vz, heading = null] = data;
    if (vx === undefined || vy === undefined || vz === undefined)
      return { x, y, z, heading, extrapolated: ageMs > 0 };
    const seconds = Math.min(ageMs, this.#maxExtrapolationMs) / 1_000;
    return {
      x: x + vx * seconds,
      y: y + vy * seconds,
      z: z + vz * seconds,
      heading,
      extrapolated: ageMs > 0,
    };
  }
}

// A tick may be skipped (conflation, a late position) without that the player stood still.
const INTERPOLATED_TICKS = 3;

function pose(from: PositionData, to: PositionData, part: number): Pose {
  const between = (index: number) => {
    const start = from[index] ?? 0;
    return start + ((to[index] ?? 0) - start) * part;
  };
  return {
    x: between(1),
    y: between(2),
    z: between(3),
    heading: turn(from[7], to[7], part),
    extrapolated: false,
  };
}

/** Between two headings (radians) the shorter way round. */
function turn(from: number | undefined, to: number | undefined, part: number): number | null {
  if (from === undefined || to === undefined) return from ?? to ?? null;
  const difference = to - from;
  return from + Math.atan2(Math.sin(difference), Math.cos(difference)) * part;
}
