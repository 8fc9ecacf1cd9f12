/** Where the others are drawn. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Interpolator } from "../src/interpolation.js";
import type { PositionData } from "../src/messages.js";

function interpolator(): Interpolator {
  const players = new Interpolator({ delayMs: 100, maxExtrapolationMs: 200 });
  players.joined({ tickHz: 20, positions: new Map() }, 0);
  return players;
}

function tick(players: Interpolator, serverMs: number, entries: Record<string, PositionData | null>): void {
  players.tick({ serverMs, positions: new Map(Object.entries(entries)) });
}

const at = (x: number, ...rest: number[]): PositionData => [1, x, 0, 0, ...rest];

describe("Interpolator", () => {
  test("draws between the two positions around the render time", () => {
    const players = interpolator();
    tick(players, 1_000, { bob: at(10) });
    tick(players, 1_050, { bob: at(20) });
    assert.deepEqual(players.sample(1_125).get("bob"), {
      x: 15,
      y: 0,
      z: 0,
      heading: null,
      extrapolated: false,
    });
  });

  test("knows nobody before the first position is old enough", () => {
    const players = interpolator();
    tick(players, 1_000, { bob: at(10) });
    assert.equal(players.sample(1_099).size, 0);
    assert.equal(players.sample(1_100).get("bob")?.x, 10);
  });

  test("a player who stood still does not creep towards the next position", () => {
    const players = interpolator();
    tick(players, 1_000, { bob: at(10) });
    tick(players, 3_000, { bob: at(20) });
    assert.equal(players.sample(2_900).get("bob")?.x, 10);
    assert.equal(players.sample(3_100 - 75).get("bob")?.x, 15);
  });

  test("turns the shorter way round", () => {
    const players = interpolator();
    tick(players, 1_000, { bob: at(0, 0, 0, 0, 3) });
    tick(players, 1_050, { bob: at(0, 0, 0, 0, -3) });
    const heading = players.sample(1_125).get("bob")?.heading ?? 0;
    assert(Math.abs(Math.abs(heading) - Math.PI) < 1e-9);
  });

  test("runs on with the last velocity for a while, and then stands", () => {
    const players = interpolator();
    tick(players, 1_000, { bob: at(10, 100, 0, 0) });
    assert.equal(players.sample(1_200).get("bob")?.x, 20);
    assert.deepEqual(players.sample(9_000).get("bob"), {
      x: 30,
      y: 0,
      z: 0,
      heading: null,
      extrapolated: true,
    });
  });

  test("a player without velocity stands where it was", () => {
    const players = interpolator();
    tick(players, 1_000, { bob: at(10) });
    assert.equal(players.sample(9_000).get("bob")?.x, 10);
  });

  test("null takes a player away when its time has come, and a later position brings it back", () => {
    const players = interpolator();
    tick(players, 1_000, { bob: at(10) });
    tick(players, 1_050, { bob: null });
    assert.equal(players.sample(1_149).get("bob")?.x, 10);
    assert.equal(players.sample(1_150).has("bob"), false);
    tick(players, 1_200, { bob: at(50) });
    assert.equal(players.sample(1_290).has("bob"), false);
    assert.equal(players.sample(1_300).get("bob")?.x, 50);
  });

  test("a value in a tick of the same time wins over a null, in either order", () => {
    const players = interpolator();
    tick(players, 1_000, { ann: at(1), bob: null });
    tick(players, 1_000, { ann: null, bob: at(2) });
    const poses = players.sample(1_100);
    assert.equal(poses.get("ann")?.x, 1);
    assert.equal(poses.get("bob")?.x, 2);
  });

  test("a tick that is older than the newest one changes nothing", () => {
    const players = interpolator();
    tick(players, 1_000, { bob: at(10) });
    tick(players, 900, { bob: at(99) });
    assert.equal(players.sample(1_100).get("bob")?.x, 10);
  });

  test("entering the room anew forgets what was known and starts with its positions", () => {
    const players = interpolator();
    tick(players, 1_000, { bob: at(10) });
    players.joined({ tickHz: 20, positions: new Map([["carol", at(7)]]) }, 2_000);
    const poses = players.sample(2_000);
    assert.equal(poses.has("bob"), false);
    assert.equal(poses.get("carol")?.x, 7);
  });

  test("a player that is forgotten is not drawn until a newer position comes, and the others stay", () => {
    const players = interpolator();
    tick(players, 1_000, { ann: at(1), bob: at(2) });
    players.forget("bob");
    players.forget("nobody");
    assert.deepEqual([...players.sample(1_100).keys()], ["ann"]);
    tick(players, 1_200, { bob: at(50) });
    assert.equal(players.sample(1_300).get("bob")?.x, 50);
  });

  test("keeps no more than its buffer, however long nobody draws", () => {
    const players = new Interpolator({ delayMs: 100, bufferMs: 1_000 });
    for (let ms = 0; ms < 100_000; ms += 50) tick(players, ms, { bob: at(ms) });
    // What is drawn of the past begins with the buffer.
    assert.equal(players.sample(50_000).size, 0);
    assert.equal(players.sample(99_100).get("bob")?.x, 99_000);
  });
});
