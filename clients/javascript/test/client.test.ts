/** The surface of the client that no conversation shows: listeners, iteration, bounds, arguments. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WebSocket } from "ws";
import { GameClient } from "../src/client.js";
import { ConnectError, Disconnected, OutboxFull } from "../src/errors.js";
import type { Message, Overflow } from "../src/messages.js";
import { entered, scene, sync, welcome } from "./support.js";

describe("arguments", () => {
  test("an address that is not one of a websocket is refused at once", () => {
    for (const url of ["127.0.0.1:8000", "http://127.0.0.1", "nowhere"]) {
      assert.throws(() => new GameClient(url, "token", { WebSocket }), TypeError);
    }
  });

  test("without a WebSocket the error says where to take one from", {
    skip: "WebSocket" in globalThis,
  }, () => {
    assert.throws(() => new GameClient("ws://127.0.0.1", "token"), /ws/);
  });

  test("a client is opened once, and says so before that", async (context) => {
    const stage = await scene(context);
    await assert.rejects(stage.game.join("arena"), /open/);
    await entered(stage);
    await assert.rejects(stage.game.open(), /once/);
  });

  test("a token function that fails is asked again", async (context) => {
    let asked = 0;
    const stage = await scene(context);
    const game = new GameClient(
      stage.gateway.url,
      async () => {
        asked += 1;
        if (asked === 1) throw new TypeError("fetch failed");
        return "token-2";
      },
      { WebSocket, encoding: "json", timers: stage.clock, random: () => 0, keepaliveMs: 0 },
    );
    context.after(() => game.close());
    const lost = new Promise((resolve) => game.on("reconnecting", resolve));
    const opening = game.open();
    await lost;
    stage.clock.advance(0);
    const { hello } = await welcome(stage.gateway);
    assert.equal(hello[1], "token-2");
    await opening;
  });

  test("opening in vain ends with the reason of the last attempt", async (context) => {
    const stage = await scene(context, { connectTimeoutMs: 1_000 });
    stage.gateway.refuse(503);
    const lost = new Promise((resolve) => stage.game.on("reconnecting", resolve));
    const opening = stage.game.open();
    await lost;
    stage.clock.advance(1_000);
    await assert.rejects(opening, (error) => error instanceof ConnectError && error.message.includes("503"));
  });
});

describe("listeners", () => {
  test("one that throws stops neither the others nor the connection", async (context) => {
    const stage = await scene(context);
    const wire = await entered(stage);
    // As in browsers: Node would end the process.
    const reported: unknown[] = [];
    globalThis.reportError = (error) => reported.push(error);
    context.after(() => Reflect.deleteProperty(globalThis, "reportError"));
    const seen = new Promise((resolve) => {
      stage.game.on("tick", () => {
        throw new Error("a fault of the program");
      });
      stage.game.on("tick", resolve);
    });
    wire.send(["tick", "arena", 1, []]);
    await seen;
    assert.match(String(reported), /fault of the program/);
    await sync(stage, wire);
  });

  test("one that was removed hears nothing more", async (context) => {
    const stage = await scene(context);
    const wire = await entered(stage);
    let heard = 0;
    const stop = stage.game.on("presence", () => {
      heard += 1;
    });
    wire.send(["presence", "arena", ["bob"], []]);
    await sync(stage, wire);
    stop();
    wire.send(["presence", "arena", [], ["bob"]]);
    await sync(stage, wire);
    assert.equal(heard, 1);
  });
});

describe("overflow", () => {
  test("of the outbox is told with the event that was not taken", async (context) => {
    const stage = await scene(context, { outboxEvents: 1 });
    const wire = await entered(stage);
    const told: Overflow[] = [];
    stage.game.on("overflow", (overflow) => told.push(overflow));
    const first = stage.game.chat("arena", "one", { id: "m-1" });
    await assert.rejects(stage.game.chat("arena", "two", { id: "m-2" }), OutboxFull);
    assert.deepEqual(told, [{ kind: "overflow", queue: "outbox", room: "arena", type: "chat", id: "m-2" }]);
    await wire.frames.get();
    wire.send(["ack", "m-1", "c1"]);
    assert.equal((await first).attempts, 1);
  });

  test("of the socket is told once, realtime events are dropped and counted, and durable ones kept", async (context) => {
    const stage = await scene(context);
    const wire = await entered(stage);
    const told: Overflow[] = [];
    stage.game.on("overflow", (overflow) => told.push(overflow));
    wire.pause();
    const ballast = "x".repeat(30_000);
    let written = 0;
    while (stage.game.send("arena", "position", ballast)) written += 1;
    assert.equal(stage.game.move("arena", 1, 2, 3), null);
    assert.deepEqual(told, [
      { kind: "overflow", queue: "socket", room: "arena", type: "position", id: null },
    ]);
    const { realtimeSent, realtimeDropped } = stage.game.statistics();
    assert.deepEqual([realtimeSent, realtimeDropped.backpressure], [written, 2]);
    const kept = stage.game.chat("arena", "kept", { id: "m-1" });
    wire.resume();
    for (let frame = await wire.frames.get(); frame[4] !== "m-1"; ) frame = await wire.frames.get();
    wire.send(["ack", "m-1", "c1"]);
    await kept;
  });
});

describe("iteration", () => {
  test("yields every message from the first call on, merges ticks meanwhile, and ends after closed", async (context) => {
    const stage = await scene(context);
    const messages = stage.game.messages();
    const wire = await entered(stage);
    wire.send([
      "tick",
      "arena",
      1,
      [
        ["bob", [1, 0, 0, 0]],
        ["carol", [1, 5, 5, 5]],
      ],
    ]);
    wire.send(["event", "chat", "arena", "bob", 1, { text: "hi" }, "m", "c1"]);
    wire.send(["tick", "arena", 2, [["bob", [2, 1, 0, 0]]]]);
    await sync(stage, wire);
    await stage.game.close();
    const seen: Message[] = [];
    for await (const message of messages) seen.push(message);
    assert.deepEqual(
      seen.map(({ kind }) => kind),
      ["joined", "tick", "event", "closed"],
    );
    const [, tick] = seen;
    assert(tick?.kind === "tick");
    assert.deepEqual(
      [...tick.positions],
      [
        ["bob", [2, 1, 0, 0]],
        ["carol", [1, 5, 5, 5]],
      ],
    );
    assert.equal(stage.game.statistics().ticksMerged, 1);
  });

  test("past its bound the connection is closed and resumed later, and nothing is missed", async (context) => {
    const stage = await scene(context, { inboxMessages: 4 });
    const messages = stage.game.messages();
    const first = await entered(stage);
    const lost = new Promise((resolve) => stage.game.on("reconnecting", resolve));
    for (let number = 1; number <= 5; number += 1) {
      first.send(["event", "chat", "arena", "bob", 1, { text: "hi" }, `m${number}`, `c${number}`]);
    }
    assert.equal(await first.ended, 3013);
    await lost;
    // Joined and three events fitted in; reconnecting came on top.
    const seen: string[] = [];
    const take = async (count: number) => {
      for (let taken = 0; taken < count; taken += 1) {
        const { value } = await messages.next();
        seen.push(value.kind === "event" ? value.cursor : value.kind);
      }
    };
    await take(3);
    stage.clock.advance(125);
    const { wire, hello } = await welcome(stage.gateway);
    assert.deepEqual((hello[2] as { resume: unknown }).resume, { arena: "c3" });
    wire.send([
      "joined",
      "arena",
      { cursor: "c3", players: [], positions: [], tick_hz: 20, recovered: true },
    ]);
    wire.send(["event", "chat", "arena", "bob", 1, { text: "hi" }, "m4", "c4"]);
    await take(5);
    assert.deepEqual(seen, ["joined", "c1", "c2", "c3", "reconnecting", "reconnected", "joined", "c4"]);
  });

  test("a client that is closed already has nothing to say", async (context) => {
    const stage = await scene(context);
    await entered(stage);
    await stage.game.close();
    assert.equal((await stage.game.messages().next()).done, true);
  });
});

describe("move", () => {
  test("tells the seq by which the position is known in a tick; null when it was dropped", async (context) => {
    const stage = await scene(context);
    const wire = await entered(stage);
    const seq = stage.game.move("arena", 1, 2, 3);
    assert.deepEqual(await wire.frames.get(), ["pub", "position", "arena", [seq, 1, 2, 3]]);
    const lost = new Promise((resolve) => stage.game.on("reconnecting", resolve));
    wire.cut();
    await lost;
    assert.equal(stage.game.move("arena", 1, 2, 3), null);
  });
});

describe("closing", () => {
  test("does not wait for the back-off", async (context) => {
    const stage = await scene(context);
    const wire = await entered(stage);
    const lost = new Promise((resolve) => stage.game.on("reconnecting", resolve));
    wire.cut();
    await lost;
    await stage.game.close();
    assert.equal(stage.game.closed?.code, 1000);
    await assert.rejects(stage.game.ping(), Disconnected);
  });

  test("from within a listener ends the client, too", async (context) => {
    const stage = await scene(context);
    const wire = await entered(stage);
    const closed = new Promise((resolve) => stage.game.on("closed", resolve));
    stage.game.on("reconnecting", () => void stage.game.close());
    wire.cut();
    await closed;
    assert.equal(stage.clock.pending, 0);
  });

  test("before opening leaves nothing to open", async (context) => {
    const stage = await scene(context);
    await stage.game.close();
    await assert.rejects(stage.game.open(), Disconnected);
  });
});
