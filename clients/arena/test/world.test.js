// What the page makes of the game server's events.

import assert from "node:assert/strict";
import { test } from "node:test";
import { World } from "../gamebus_arena/static/js/world.js";

const state = (players) => ({
  kind: "state",
  round: 3,
  round_kills: 15,
  ground: { half: [30, 20], walls: [] },
  medkits: [[1, 2, 0]],
  players,
});
const one = (kills, deaths, health = 100) => ({ health, kills, deaths, bot: false });

test("a state says who is here; whoever it does not name has left", () => {
  const world = new World();
  world.apply(state({ ada: one(1, 0), bob: one(0, 1) }), 1_000);
  world.apply(state({ ada: one(1, 0) }), 2_000);
  assert.deepEqual([...world.players.keys()], ["ada"]);
  assert.equal(world.round, 3);
});

test("the same kill told by a state and by its hit counts once", () => {
  const world = new World();
  world.apply(state({ ada: one(4, 0), bob: one(0, 2, 25) }), 1_000);
  const hit = {
    kind: "hit",
    victim: "bob",
    by: "ada",
    health: 0,
    x: 0,
    z: 0,
    kills: 5,
    deaths: 3,
    healed_to: 100,
  };
  world.apply(hit, 1_010);
  world.apply(state({ ada: one(5, 0), bob: one(0, 3, 0) }), 1_020);
  assert.equal(world.player("ada").kills, 5);
  assert.equal(world.player("bob").deaths, 3);
  assert.equal(world.alive("bob"), false);
});

test("the ranking is by kills, then by fewer deaths", () => {
  const world = new World();
  world.apply(state({ ada: one(1, 3), bob: one(2, 9), cleo: one(1, 0) }), 1_000);
  assert.deepEqual(
    world.ranking().map(({ name }) => name),
    ["bob", "cleo", "ada"],
  );
});

test("a round that was won begins with no kills", () => {
  const world = new World();
  world.apply(state({ ada: one(14, 3) }), 1_000);
  world.apply({ kind: "round", winner: "ada", kills: 15, next_round: 4 }, 1_010);
  assert.deepEqual([world.round, world.player("ada").kills], [4, 0]);
});

test("an event of a newer game server is passed over", () => {
  assert.equal(new World().apply({ kind: "weather" }, 1_000), null);
  assert.equal(new World().apply(null, 1_000), null);
});
