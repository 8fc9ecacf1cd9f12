/** A client against a scripted gateway, for what is no conversation of the conformance suite. */

import type { TestContext } from "node:test";
import { WebSocket } from "ws";
import { type ClientOptions, GameClient } from "../src/client.js";
import { ManualClock } from "./manual-clock.js";
import { ScriptedGateway, type Wire } from "./scripted-gateway.js";

export const SERVER_MS = 1_700_000_000_000;

export interface Scene {
  readonly gateway: ScriptedGateway;
  readonly clock: ManualClock;
  readonly game: GameClient;
}

/** A gateway and a client that is not opened yet; both end with the test. */
export async function scene(context: TestContext, options: ClientOptions = {}): Promise<Scene> {
  const gateway = await ScriptedGateway.start("json");
  const clock = new ManualClock();
  const game = new GameClient(gateway.url, "token", {
    WebSocket,
    encoding: "json",
    timers: clock,
    random: () => 0.5,
    keepaliveMs: 0,
    ...options,
  });
  context.after(async () => {
    await game.close();
    await gateway.stop();
  });
  return { gateway, clock, game };
}

/** Take the next connection and open it. */
export async function welcome(gateway: ScriptedGateway): Promise<{ wire: Wire; hello: unknown[] }> {
  const wire = await gateway.connections.get();
  const hello = await wire.frames.get();
  wire.send(["welcome", "session", "alice", { server_ms: SERVER_MS, expires_ms: SERVER_MS + 3_600_000 }]);
  return { wire, hello };
}

/** The client opened, and joined to `arena`. */
export async function entered({ gateway, game }: Scene): Promise<Wire> {
  const opening = game.open();
  const { wire } = await welcome(gateway);
  await opening;
  const joining = game.join("arena");
  await wire.frames.get();
  wire.send(["joined", "arena", { cursor: "c0", players: [], positions: [], tick_hz: 20, recovered: null }]);
  await joining;
  return wire;
}

/** Everything that was sent before is read when this resolves. */
export async function sync({ game }: Scene, wire: Wire): Promise<void> {
  const ponged = game.ping();
  const [, mark] = await wire.frames.get();
  wire.send(["pong", mark, SERVER_MS]);
  await ponged;
}
