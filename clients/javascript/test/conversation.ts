/**
 * Plays the scripted conversations of `tests/conformance` against this client.
 *
 * The websocket is real; only the client's clock is turned by hand. See `tests/conformance/README.md` for the steps.
 */

import assert from "node:assert/strict";
import { WebSocket } from "ws";
import { GameClient } from "../src/client.js";
import type { EncodingName } from "../src/codec.js";
import type { Message as ClientMessage } from "../src/messages.js";
import { ManualClock } from "./manual-clock.js";
import { isMap, Names, plain, snake } from "./pattern.js";
import { Queue } from "./queue.js";
import { type Message, ScriptedGateway, type Wire } from "./scripted-gateway.js";

export type Step = Record<string, unknown>;

export interface Script {
  readonly about: string;
  readonly options?: { tokens?: string[]; outbox_events?: number; connect_timeout_ms?: number };
  readonly steps: readonly Step[];
}

export interface Parts {
  readonly values: Record<string, unknown>;
  readonly steps: Record<string, readonly Step[]>;
}

/** How a call ended. */
interface Outcome {
  readonly value?: unknown;
  readonly error?: unknown;
}

// biome-ignore lint/suspicious/noExplicitAny: a call's arguments are what the file says
type Call = Record<string, any>;

const SERVER_MS = 1_700_000_000_000;

/** One script and one client. */
export class Conversation {
  /** Where it is, for whom it hangs. */
  place = "before the first step";
  readonly #steps: readonly Step[];
  readonly #names: Names;
  readonly #gateway: ScriptedGateway;
  readonly #clock = new ManualClock();
  readonly #game: GameClient;
  readonly #events = new Queue<ClientMessage>();
  readonly #calls = new Map<string, Promise<Outcome>>();
  readonly #aborts = new Map<string, AbortController>();
  #wire: Wire | null = null;
  #syncs = 0;

  private constructor(script: Script, parts: Parts, encoding: EncodingName, gateway: ScriptedGateway) {
    this.#steps = script.steps.flatMap((step) =>
      "do" in step ? (parts.steps[step.do as string] ?? []) : [step],
    );
    this.#names = new Names(parts.values);
    this.#gateway = gateway;
    const { tokens, outbox_events, connect_timeout_ms } = script.options ?? {};
    this.#game = new GameClient(gateway.url, tokens === undefined ? "token-1" : inTurn(tokens), {
      WebSocket,
      encoding,
      timers: this.#clock,
      random: () => 0.5,
      keepaliveMs: 0,
      outboxEvents: outbox_events,
      connectTimeoutMs: connect_timeout_ms,
    });
    this.#game.on("message", (message) => this.#events.put(message));
  }

  static async start(script: Script, parts: Parts, encoding: EncodingName): Promise<Conversation> {
    return new Conversation(script, parts, encoding, await ScriptedGateway.start(encoding));
  }

  /** Play the script to its end, and see that nothing else happened. */
  async play(): Promise<void> {
    try {
      this.#start("open", this.#game.open());
      for (const [number, step] of this.#steps.entries()) {
        this.place = `step ${number}, ${JSON.stringify(step)}`;
        await this.#play(step);
      }
      this.place = "after the last step";
      await this.#end();
    } catch (error) {
      throw new Error(`${this.place}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    } finally {
      await this.stop();
    }
  }

  async stop(): Promise<void> {
    await this.#gateway.stop();
  }

  async #end(): Promise<void> {
    const closesItself = this.#game.closed === null;
    await this.#game.close();
    await Promise.all(this.#calls.values());
    if (closesItself) assert.equal((await this.#events.get()).kind, "closed");
    assert.equal(this.#events.length, 0, "messages are left over");
    await this.#nothingLeft();
    assert.equal(this.#gateway.connections.length, 0, "an unexpected connection");
    assert.equal(this.#clock.pending, 0, "a timer outlives the client");
  }

  async #nothingLeft(): Promise<void> {
    await this.#wire?.ended;
    assert.equal(this.#wire?.frames.length ?? 0, 0, "frames are left over");
  }

  get #open(): Wire {
    assert(this.#wire !== null);
    return this.#wire;
  }

  async #play(step: Step): Promise<void> {
    const [name, value] = Object.entries(step)[0] ?? [];
    switch (name) {
      case "connect":
        await this.#nothingLeft();
        this.#wire = await this.#gateway.connections.get();
        break;
      case "refuse":
        this.#gateway.refuse(value as number);
        break;
      case "expect":
        this.#match(await this.#open.frames.get(), value);
        break;
      case "send":
        this.#open.send(this.#names.fill(value) as Message);
        break;
      case "send_other_kind":
        this.#open.send(value as Message, true);
        break;
      case "close":
        this.#open.close(value as number);
        break;
      case "cut":
        this.#open.cut();
        break;
      case "expect_close":
        await this.#open.ended;
        break;
      case "advance_ms":
        this.#clock.advance(value as number);
        break;
      case "sync":
        await this.#sync();
        break;
      case "client":
        this.#client(value as Call);
        break;
      case "outcome":
        await this.#outcome(value as Call);
        break;
      case "client_event":
        this.#match(plain(await this.#events.get()), value, true);
        break;
      case "check":
        this.#match(this.#known(), value, true);
        break;
      default:
        assert.fail("no such step");
    }
  }

  async #sync(): Promise<void> {
    this.#syncs += 1;
    const name = `sync ${this.#syncs}`;
    this.#start(name, this.#game.ping());
    const [operation, mark] = await this.#open.frames.get();
    assert.equal(operation, "ping");
    this.#open.send(["pong", mark, SERVER_MS + this.#clock.elapsedMs]);
    assert.equal((await this.#calls.get(name))?.error, undefined);
  }

  #known(): Record<string, unknown> {
    const { connected, player, session } = this.#game;
    const counts = this.#game.statistics();
    const dropped = Object.entries(counts.realtimeDropped).map(([reason, count]) => [
      `dropped_${reason}`,
      count,
    ]);
    return {
      ...(plain(counts) as Record<string, unknown>),
      ...Object.fromEntries(dropped),
      connected,
      player,
      session,
      server_ms: this.#game.serverMs(),
    };
  }

  async #outcome({ of, ok, error, code = "$any" }: Call): Promise<void> {
    const outcome = await this.#calls.get(of);
    assert(outcome !== undefined);
    if (error === undefined) {
      if ("error" in outcome) throw outcome.error;
      this.#match(plain(outcome.value), ok, true);
      return;
    }
    assert("error" in outcome, `no error but ${JSON.stringify(outcome.value)}`);
    const failure = outcome.error as Error & { code?: unknown };
    const kind = failure.name === "AbortError" ? "cancelled" : snake(failure.name);
    this.#match({ error: kind, code: failure.code ?? null }, { error, code });
  }

  #client(step: Call): void {
    const call = this.#names.fill(step) as Call;
    if (call.call === "cancel") this.#aborts.get(call.of)?.abort();
    else if ("returns" in call || "raises" in call) this.#callNow(call);
    else this.#start(call.as ?? call.call, this.#call(call));
  }

  #callNow(call: Call): void {
    try {
      const returned = this.#realtime(call);
      assert("returns" in call, `it returned ${returned}`);
      this.#match(returned, call.returns);
    } catch (error) {
      if (!(error instanceof Error) || snake(error.name) !== call.raises) throw error;
    }
  }

  #realtime(call: Call): boolean | number {
    switch (call.call) {
      case "move":
        return this.#game.move(call.room, call.x, call.y, call.z, call) !== null;
      case "heartbeat":
        return this.#game.heartbeat(call.room);
      case "send":
        return this.#game.send(call.room, call.type, call.data, call);
      case "send_batch":
        return this.#game.sendBatch(call.events);
      default:
        return assert.fail("no such call");
    }
  }

  async #call(call: Call): Promise<unknown> {
    const abort = new AbortController();
    this.#aborts.set(call.as, abort);
    const timeout = { timeoutMs: call.timeout_ms };
    const options = { ...timeout, id: call.id, player: call.player, signal: abort.signal };
    switch (call.call) {
      case "join":
        return this.#game.join(call.room, timeout);
      case "leave":
        return this.#game.leave(call.room, timeout);
      case "publish":
        return this.#game.publish(call.room, call.type, call.data, options);
      case "chat":
        return this.#game.chat(call.room, call.text, options);
      case "kill":
        return this.#game.kill(
          call.room,
          { ...(call as { killer: ""; victim: ""; weapon: "" }), atMs: call.at_ms },
          options,
        );
      case "death":
        return this.#game.death(
          call.room,
          { ...(call as { victim: ""; cause: "" }), atMs: call.at_ms },
          options,
        );
      case "ping":
        return { rtt_ms: await this.#game.ping(timeout) };
      case "refresh_token":
        return this.#game.refreshToken(call.token, timeout);
      case "close":
        return this.#game.close();
      default:
        return assert.fail("no such call");
    }
  }

  #start(name: string, call: Promise<unknown>): void {
    const outcome = call.then(
      (value) => ({ value: value instanceof GameClient ? null : (value ?? null) }),
      (error: unknown) => ({ error }),
    );
    this.#calls.set(name, outcome);
  }

  #match(found: unknown, pattern: unknown, part = false): void {
    assert(this.#names.matches(found, pattern, part && isMap(pattern)), `${JSON.stringify(found)} came`);
  }
}

function inTurn(tokens: readonly string[]): () => string {
  const remaining = [...tokens];
  return () => (remaining.length > 1 ? remaining.shift() : remaining[0]) ?? "";
}
