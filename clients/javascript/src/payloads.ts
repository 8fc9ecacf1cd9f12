/** Data of the built-in event types, as the wire protocol has it. Pure. */

import { InvalidMessage } from "./errors.js";

export type Vector = readonly [x: number, y: number, z: number];

/** Who killed whom, with what, when (now unless given), and where that is known. */
export interface Kill {
  readonly killer: string;
  readonly victim: string;
  readonly weapon: string;
  readonly atMs?: number | undefined;
  readonly place?: Vector | undefined;
  readonly assists?: readonly string[] | undefined;
}

/** Who died of what, when (now unless given), and where that is known. */
export interface Death {
  readonly victim: string;
  readonly cause: string;
  readonly atMs?: number | undefined;
  readonly place?: Vector | undefined;
}

/** `[seq, x, y, z]`, then `vx, vy, vz`, then `heading`. */
export function position(
  seq: number,
  x: number,
  y: number,
  z: number,
  velocity: Vector | undefined,
  heading: number | undefined,
): number[] {
  if (velocity === undefined) {
    if (heading !== undefined) {
      throw new InvalidMessage("heading needs velocity: a position is [seq, x, y, z, vx, vy, vz, heading]");
    }
    return [seq, x, y, z];
  }
  return heading === undefined ? [seq, x, y, z, ...velocity] : [seq, x, y, z, ...velocity, heading];
}

/** `[seq, client_ms]`, then the round trip where it is known. */
export function heartbeat(seq: number, clientMs: number, rttMs: number | null): number[] {
  return rttMs === null ? [seq, clientMs] : [seq, clientMs, rttMs];
}

export function kill(kill: Kill, nowMs: number): Record<string, unknown> {
  const { killer, victim, weapon, atMs = nowMs, place, assists = [] } = kill;
  const data = { killer, victim, weapon, at_ms: atMs, ...coordinates(place) };
  return assists.length > 0 ? { ...data, assists: [...assists] } : data;
}

export function death(death: Death, nowMs: number): Record<string, unknown> {
  const { victim, cause, atMs = nowMs, place } = death;
  return { victim, cause, at_ms: atMs, ...coordinates(place) };
}

function coordinates(place: Vector | undefined): Record<string, number> {
  return place === undefined ? {} : { x: place[0], y: place[1], z: place[2] };
}
