/** A client that asks where its room belongs. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { placeUrl } from "../src/placement.js";
import { ScriptedGateway } from "./scripted-gateway.js";
import { scene, welcome } from "./support.js";

describe("placement", () => {
  test("connects to the gateway that is named, and asks again before each reconnect", async (context) => {
    const stage = await scene(context, { place: "arena:1", random: () => 0 });
    const other = await ScriptedGateway.start("json");
    context.after(() => other.stop());
    const named = JSON.stringify({ room: "arena:1", gateway: other.url });
    stage.gateway.places.push(named, named);
    const opening = stage.game.open();
    const { wire } = await welcome(other);
    await opening;
    const lost = new Promise((resolve) => stage.game.on("reconnecting", resolve));
    wire.cut();
    await lost;
    stage.clock.advance(0);
    await welcome(other);
    assert.deepEqual(stage.gateway.asked, ["/place?room=arena%3A1", "/place?room=arena%3A1"]);
  });

  for (const answer of [
    null,
    "no json",
    "null",
    "{}",
    '{"gateway": 7}',
    '{"gateway": "http://127.0.0.1/"}',
  ]) {
    test(`an answer that names nobody means the given gateway: ${answer}`, async (context) => {
      const stage = await scene(context, { place: "r" });
      if (answer !== null) stage.gateway.places.push(answer);
      const opening = stage.game.open();
      await welcome(stage.gateway);
      await opening;
      assert.equal(stage.gateway.asked.length, 1);
    });
  }

  test("a named gateway that cannot be reached is left for the given one, without asking", async (context) => {
    const stage = await scene(context, { place: "r", random: () => 0 });
    const dead = await ScriptedGateway.start("json");
    dead.refuse(503);
    context.after(() => dead.stop());
    stage.gateway.places.push(JSON.stringify({ gateway: dead.url }));
    const lost = new Promise((resolve) => stage.game.on("reconnecting", resolve));
    const opening = stage.game.open();
    await lost;
    stage.clock.advance(0);
    await welcome(stage.gateway);
    await opening;
    assert.equal(stage.gateway.asked.length, 1);
  });

  test("without a place nobody is asked", async (context) => {
    const stage = await scene(context);
    const opening = stage.game.open();
    await welcome(stage.gateway);
    await opening;
    assert.deepEqual(stage.gateway.asked, []);
  });

  test("the question goes where the gateway is", () => {
    assert.equal(placeUrl("wss://game.example/eu/v1?x=y", "a/b"), "https://game.example/eu/place?room=a%2Fb");
    assert.equal(placeUrl("ws://[::1]:8000/v1", "r"), "http://[::1]:8000/place?room=r");
  });
});
