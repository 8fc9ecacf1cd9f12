/** Whether the path still carries. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Keepalive } from "../src/keepalive.js";
import { entered, scene, welcome } from "./support.js";

describe("Keepalive", () => {
  test("asks after an interval in which nothing was received", () => {
    const keepalive = new Keepalive(10, 5);
    keepalive.opened(100);
    keepalive.received(104);
    assert.equal(keepalive.nextWake(), 114);
    assert.equal(keepalive.wake(113), null);
    assert.equal(keepalive.wake(114), "ping");
  });

  test("gives up when nothing at all is received after it asked", () => {
    const keepalive = new Keepalive(10, 5);
    keepalive.opened(0);
    keepalive.wake(10);
    assert.equal(keepalive.wake(14), null);
    assert.equal(keepalive.wake(15), "dead");
  });

  test("takes anything that is received as an answer", () => {
    const keepalive = new Keepalive(10, 5);
    keepalive.opened(0);
    keepalive.wake(10);
    keepalive.received(12);
    assert.equal(keepalive.wake(15), null);
    assert.equal(keepalive.nextWake(), 22);
  });

  test("asks a page that slept before it gives up", () => {
    const keepalive = new Keepalive(10, 5);
    keepalive.opened(0);
    assert.equal(keepalive.wake(100_000), "ping");
  });

  test("is off with an interval of 0, and without a connection", () => {
    const off = new Keepalive(0, 5);
    off.opened(0);
    assert.equal(off.nextWake(), null);
    assert.equal(off.probe(1), false);
    const closed = new Keepalive(10, 5);
    closed.opened(0);
    closed.closed();
    assert.equal(closed.nextWake(), null);
  });
});

describe("a path that carries nothing", () => {
  test("is left and dialled anew, though no close frame comes", async (context) => {
    const stage = await scene(context, { keepaliveMs: 10_000 });
    const wire = await entered(stage);
    // From here on the gateway neither answers nor closes.
    const lost = new Promise((resolve) => stage.game.on("reconnecting", resolve));
    stage.clock.advance(10_000);
    assert.equal((await wire.frames.get())[0], "ping");
    stage.clock.advance(10_000);
    await lost;
    stage.clock.advance(125);
    const { hello } = await welcome(stage.gateway);
    assert.deepEqual((hello[2] as { resume: unknown }).resume, { arena: "c0" });
  });

  test("is asked as often as the gateway says", async (context) => {
    const stage = await scene(context, { keepaliveMs: undefined });
    const opening = stage.game.open();
    const wire = await stage.gateway.connections.get();
    await wire.frames.get();
    wire.send(["welcome", "session", "alice", { server_ms: 0, ping_interval_ms: 2_000 }]);
    await opening;
    stage.clock.advance(2_000);
    assert.equal((await wire.frames.get())[0], "ping");
  });
});
