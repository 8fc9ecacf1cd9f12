/**
 * The client of a gamebus gateway.
 *
 * Guarantees: what `publish` (and `chat`, `kill`, `death`) resolves with an `Ack` for is written on all in-sync replicas; otherwise
 * it rejects with what is known, and never reports an event that may have been written as failed. Durable events are re-sent under
 * the same id across reconnects, in order. Realtime sends never wait: they are written at once or dropped and counted.
 *
 * Not guaranteed: that a realtime event arrives; that events missed during a reconnect can be recovered (`Joined.recovered`);
 * that an event that waits for its ack outlives the page.
 */

import { ENCODINGS, type EncodingName } from "./codec.js";
import type { ClientEvents } from "./events.js";
import type { SocketConstructor } from "./link.js";
import type { Ack, Closed, Joined, Message } from "./messages.js";
import { currentPage, type Page, watchPage } from "./page.js";
import { type Death, death, heartbeat, type Kill, kill, position, type Vector } from "./payloads.js";
import type { RealtimeEvent } from "./protocol.js";
import { Session } from "./session.js";
import type { ClientStatistics } from "./statistics.js";
import { systemTimers, type Timers } from "./timers.js";
import { type Token, TokenSource } from "./tokens.js";

const REQUEST_TIMEOUT_MS = 10_000;
const PUBLISH_TIMEOUT_MS = 30_000;

export interface ClientOptions {
  /** `json` for reading along with a proxy; else leave it. */
  readonly encoding?: EncodingName | undefined;
  /** Constructor of websockets; needed where there is no global one (Node 20: `WebSocket` of `ws`). */
  readonly WebSocket?: unknown;
  /**
   * A room. The gateway is asked which one should take it, before each connection, and that one is connected to; when it cannot
   * be asked, the given one is. Rooms work everywhere; so players of a room meet on few gateways, which costs less.
   */
  readonly place?: string | undefined;
  /** Durable events that may wait for their outcome; past it a publish rejects with `OutboxFull` and `overflow` is told. */
  readonly outboxEvents?: number | undefined;
  /** Messages (ticks aside) that may wait for an iteration. */
  readonly inboxMessages?: number | undefined;
  /** How long `open` tries to connect. */
  readonly connectTimeoutMs?: number | undefined;
  /** Milliseconds between application-level pings; as the gateway says unless it is given; 0: none. */
  readonly keepaliveMs?: number | undefined;
  /** Whose `visibilitychange`, `online` and `pageshow` end the waiting; the script's own page unless it is given; null: none. */
  readonly page?: Page | null | undefined;
  /** Source of the back-off's jitter, as `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** @internal Time, for tests. */
  readonly timers?: Timers | undefined;
}

interface Timeout {
  /** How long to wait for the answer. */
  readonly timeoutMs?: number | undefined;
}

export interface PublishOptions extends Timeout {
  /** Name of the event, 1..64 characters; the same event under the same id has its effect once. */
  readonly id?: string | undefined;
  /** A game server publishes in this player's name. */
  readonly player?: string | undefined;
  /** Aborting stops the re-sending and leaves the outcome unknown. */
  readonly signal?: AbortSignal | undefined;
}

export interface MoveOptions {
  readonly velocity?: Vector | undefined;
  readonly heading?: number | undefined;
  /** A game server moves this player. */
  readonly player?: string | undefined;
}

/**
 * A connection to a gateway that comes back by itself.
 *
 *     const game = new GameClient("ws://127.0.0.1:8000", token);
 *     game.on("event", (event) => ...);
 *     await game.open();
 *     await game.join("arena-1");
 *
 * Who listens hears every message from then on. Who iterates (`for await (const message of game)`) finds them in a bounded queue,
 * see `inbox.ts` for what happens when nobody takes them; it begins with the first call of `messages`.
 */
export class GameClient implements AsyncIterable<Message> {
  readonly #session: Session;
  readonly #timers: Timers;
  readonly #connectTimeoutMs: number;
  readonly #page: Page | null;
  #pings = 0;
  #rttMs: number | null = null;
  #unwatch: () => void = () => {};

  /**
   * @param url `ws://` or `wss://`; the path `/v1` is added where none is given.
   * @param token a token, or a function (plain or async) that gives a fresh one. Only with a function can the client come back
   *   after its token has expired. A function that fails counts as a failed attempt to connect.
   * @throws TypeError `url` is not one of a websocket, or there is no WebSocket.
   */
  constructor(url: string, token: Token, options: ClientOptions = {}) {
    const WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (WebSocket === undefined) {
      throw new TypeError('no global WebSocket here: give one, as in { WebSocket } from "ws"');
    }
    this.#timers = options.timers ?? systemTimers;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? 10_000;
    this.#page = options.page === undefined ? currentPage() : options.page;
    this.#session = new Session({
      url: gatewayUrl(url),
      place: options.place ?? null,
      tokens: new TokenSource(token),
      encoding: ENCODINGS[options.encoding ?? "msgpack"],
      timers: this.#timers,
      random: options.random ?? Math.random,
      WebSocket: WebSocket as SocketConstructor,
      keepaliveMs: options.keepaliveMs ?? null,
      outboxEvents: options.outboxEvents ?? 256,
      inboxMessages: options.inboxMessages ?? 10_000,
    });
  }

  /**
   * Connect; resolves at the first `welcome`.
   *
   * @throws ConnectError no connection in time (`HandshakeRefused`: it does not speak the protocol).
   * @throws Disconnected closed with a terminal code.
   */
  async open(): Promise<this> {
    if (this.#page !== null) this.#unwatch = watchPage(this.#page, () => this.#session.wake());
    this.#session.events.on("closed", () => this.#unwatch());
    await this.#session.start(this.#connectTimeoutMs);
    return this;
  }

  /** End the client for good; resolves when the socket is closed. Publishes that wait reject with what is known of them. */
  async close(): Promise<void> {
    await this.#session.stop();
  }

  /** The token's player id, as the gateway read it. */
  get player(): string | null {
    return this.#session.player;
  }

  /** Name of the present (or last) session, as in the gateway's logs. */
  get session(): string | null {
    return this.#session.name;
  }

  /** Whether realtime events can be sent at the moment. */
  get connected(): boolean {
    return this.#session.protocol.state === "open";
  }

  /** How the client ended; null while it lives. */
  get closed(): Closed | null {
    return this.#session.closed;
  }

  /** Unix milliseconds by the gateway's clock, as far as the round trips of this connection tell; null before the first. */
  serverMs(): number | null {
    return this.#session.protocol.clock.serverMs(this.#timers.now());
  }

  /** What was counted so far. */
  statistics(): ClientStatistics {
    return this.#session.statistics();
  }

  // Rooms

  /**
   * Enter a room and stay in it across reconnects.
   *
   * @throws RequestRefused the token does not allow the room, or too many are joined.
   * @throws RequestTimedOut, Disconnected, InvalidMessage no answer; the room is left again.
   */
  async join(room: string, { timeoutMs = REQUEST_TIMEOUT_MS }: Timeout = {}): Promise<Joined> {
    const { protocol } = this.#session;
    try {
      return (await this.#session.request("join", room, timeoutMs, () => protocol.join(room))) as Joined;
    } catch (error) {
      if (protocol.joining(room)) {
        protocol.leave(room);
        this.#session.flush();
      }
      throw error;
    }
  }

  /**
   * Leave a room.
   *
   * @throws RequestTimedOut, Disconnected no answer; the room is not joined again after a reconnect.
   */
  async leave(room: string, { timeoutMs = REQUEST_TIMEOUT_MS }: Timeout = {}): Promise<void> {
    const { protocol } = this.#session;
    this.#session.checkAlive();
    if (this.connected) await this.#session.request("leave", room, timeoutMs, () => protocol.leave(room));
    else protocol.leave(room);
  }

  // Realtime: written at once or dropped

  /** Send one's position (a game server: that of `player`); its `seq`, or null when it was dropped and counted. */
  move(
    room: string,
    x: number,
    y: number,
    z: number,
    { velocity, heading, player }: MoveOptions = {},
  ): number | null {
    const seq = this.#session.protocol.nextSeq();
    const data = position(seq, x, y, z, velocity, heading);
    return this.#session.send(room, "position", data, player) ? seq : null;
  }

  /** Tell that this player is alive, with the round trip of the last `ping`; false when it was dropped. */
  heartbeat(room: string): boolean {
    const data = heartbeat(this.#session.protocol.nextSeq(), Date.now(), this.#rttMs);
    return this.#session.send(room, "heartbeat", data, undefined);
  }

  /**
   * Publish a realtime event: at most once, without an answer, without waiting.
   *
   * @returns false when it was dropped and counted: not connected, the room not joined yet, or the socket congested.
   * @throws InvalidMessage it can never be sent as it is.
   */
  send(room: string, type: string, data: unknown, { player }: { player?: string | undefined } = {}): boolean {
    return this.#session.send(room, type, data, player);
  }

  /** Publish many realtime events in as few frames as they fit in; how many were written. */
  sendBatch(events: Iterable<RealtimeEvent>): number {
    return this.#session.sendBatch(events);
  }

  // Durable: resolves with the outcome

  /**
   * Publish a durable event and wait for its outcome, across reconnects and refusals that pass.
   *
   * `timeoutMs`: how long to try; at most 10 minutes after the first attempt.
   *
   * @throws PublishRejected refused for good.
   * @throws PublishFailed surely not written in time.
   * @throws OutcomeUnknown it may have been written.
   * @throws OutboxFull, InvalidMessage, Disconnected it was not taken at all.
   */
  async publish(room: string, type: string, data: unknown, options: PublishOptions = {}): Promise<Ack> {
    const { id = newId(), player, timeoutMs = PUBLISH_TIMEOUT_MS, signal } = options;
    return this.#session.publish({ room, type, data, id, player }, timeoutMs, signal);
  }

  /** Say something in a room: 1..500 characters, delivered trimmed. Rejects as `publish`. */
  async chat(room: string, text: string, options: PublishOptions = {}): Promise<Ack> {
    return this.publish(room, "chat", { text }, options);
  }

  /** Report a kill (role `server`). Rejects as `publish`. */
  async kill(room: string, what: Kill, options: PublishOptions = {}): Promise<Ack> {
    return this.publish(room, "kill", kill(what, Date.now()), options);
  }

  /** Report a death (role `server`). Rejects as `publish`. */
  async death(room: string, what: Death, options: PublishOptions = {}): Promise<Ack> {
    return this.publish(room, "death", death(what, Date.now()), options);
  }

  // Session

  /**
   * Round trip through the gateway's application, in milliseconds; it also makes `serverMs` better.
   *
   * @throws ConnectionLost, RequestTimedOut, Disconnected no answer.
   */
  async ping({ timeoutMs = REQUEST_TIMEOUT_MS }: Timeout = {}): Promise<number> {
    this.#session.checkOpen();
    this.#pings += 1;
    const mark = this.#pings;
    const rttMs = (await this.#session.request("ping", String(mark), timeoutMs, () => {
      this.#session.protocol.ping(mark, this.#timers.now());
    })) as number;
    this.#rttMs = Math.round(rttMs * 1000) / 1000;
    return rttMs;
  }

  /**
   * Refresh the token on the open connection; its expiry in Unix milliseconds.
   *
   * A client that was made with a token function does this by itself. One that was made with a string also says hello with this
   * token from then on.
   *
   * @throws RequestRefused the token is bad; the old one stands.
   * @throws ConnectionLost, RequestTimedOut, Disconnected no answer.
   */
  async refreshToken(token: string, { timeoutMs = REQUEST_TIMEOUT_MS }: Timeout = {}): Promise<number> {
    return this.#session.refresh(token, timeoutMs);
  }

  // Receiving

  /** Call `listener` for each message of a name, between two reads of the socket; returns what removes it again. */
  on<Name extends keyof ClientEvents>(
    name: Name,
    listener: (message: ClientEvents[Name]) => void,
  ): () => void {
    return this.#session.events.on(name, listener);
  }

  /** Messages as they come, from this call on; ends after `closed`. Several iterations share the messages. */
  messages(): AsyncIterableIterator<Message> {
    const inbox = this.#session.inbox();
    const iterator: AsyncIterableIterator<Message> = {
      async next() {
        const message = await inbox.get();
        return message === null ? { done: true, value: undefined } : { done: false, value: message };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  [Symbol.asyncIterator](): AsyncIterator<Message> {
    return this.messages();
  }
}

// Not crypto.randomUUID: browsers have that on https only.
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function gatewayUrl(url: string): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (error) {
    throw new TypeError(`${JSON.stringify(url)} is not the address of a gateway (ws://host:port/v1)`, {
      cause: error,
    });
  }
  if (parsed.protocol !== "ws:" && parsed.protocol !== "wss:") {
    throw new TypeError(
      `${JSON.stringify(url)} is not the address of a gateway: it starts with ws:// or wss://`,
    );
  }
  if (parsed.pathname === "/") parsed.pathname = "/v1";
  return parsed.href;
}
