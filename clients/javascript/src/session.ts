/** What joins the protocol, the link, the inbox and the calls that wait: the client without its vocabulary. */

import type { Encoding, Frame, Welcome } from "./codec.js";
import { Emitter } from "./emitter.js";
import {
  ConnectError,
  ConnectionLost,
  Disconnected,
  OutboxFull,
  PublishError,
  PublishFailed,
  PublishRejected,
  RequestRefused,
  RequestTimedOut,
} from "./errors.js";
import type { ClientEvents } from "./events.js";
import { Inbox } from "./inbox.js";
import { InboxFull, Link, type SocketConstructor } from "./link.js";
import type { Ack, Closed, Message, Reconnecting, Refusal } from "./messages.js";
import type { Notice } from "./notices.js";
import { Placement } from "./placement.js";
import { ClientProtocol, type RealtimeEvent } from "./protocol.js";
import { type ClientStatistics, Counts, type DropReason } from "./statistics.js";
import type { Timers } from "./timers.js";
import { TokenRefresh } from "./token-refresh.js";
import type { TokenSource } from "./tokens.js";
import { type RequestKind, Waiters } from "./waiters.js";

const REFRESH_TIMEOUT_MS = 10_000;

export const VERSION = "gamebus-client/0.1.0 (javascript)";

/** What a session is made of. */
export interface SessionParts {
  readonly url: string;
  readonly place: string | null;
  readonly tokens: TokenSource;
  readonly encoding: Encoding;
  readonly timers: Timers;
  readonly random: () => number;
  readonly WebSocket: SocketConstructor;
  readonly keepaliveMs: number | null;
  readonly outboxEvents: number;
  readonly inboxMessages: number;
}

/** One client's life: from `start` to `stop`, across its connections. */
export class Session {
  /** Name of the present (or last) session at the gateway. */
  name: string | null = null;
  /** The token's player id, as the gateway read it. */
  player: string | null = null;
  /** How the client ended; null while it lives. */
  closed: Closed | null = null;

  readonly protocol: ClientProtocol;
  readonly events = new Emitter<ClientEvents>();
  readonly #parts: SessionParts;
  readonly #waiters: Waiters;
  readonly #link: Link;
  readonly #counts = new Counts();
  readonly #refresh: TokenRefresh;
  /** Made by the first iteration: who only listens needs no queue. */
  #inbox: Inbox | null = null;
  #running: Promise<void> | null = null;
  #congested = false;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.protocol = new ClientProtocol(parts.encoding, VERSION, parts.outboxEvents);
    this.#waiters = new Waiters(parts.timers);
    this.#link = new Link({
      ...parts,
      placement: new Placement(parts.url, parts.place, parts.timers),
      subprotocol: parts.encoding.subprotocol,
      protocol: this.protocol,
      take: (notice) => this.#take(notice),
      reconnecting: (message) => this.#lost(message),
      mayConnect: async () => this.#inbox?.drained(),
    });
    this.#refresh = new TokenRefresh(parts.timers, () => this.#keepTokenFresh());
  }

  // Life

  /**
   * Connect, and return at the first `welcome`.
   *
   * @throws HandshakeRefused, Disconnected refused for good.
   * @throws ConnectError no connection in time; the last failure is chained.
   */
  async start(timeoutMs: number): Promise<void> {
    if (this.#running !== null) throw new Error("a GameClient is opened once; make a new one");
    const opened = this.#waiters.expect("open", "", timeoutMs);
    this.#running = this.#run();
    try {
      await opened;
    } catch (error) {
      await this.stop();
      if (!(error instanceof RequestTimedOut)) throw error;
      const cause = this.#link.lastError;
      throw new ConnectError(
        `no connection to ${this.#parts.url} within ${timeoutMs} ms${cause ? `: ${cause.message}` : ""}`,
        {
          cause,
        },
      );
    }
  }

  /** Close, and return when the socket is closed too. */
  async stop(): Promise<void> {
    this.#link.stop();
    await this.#running;
  }

  /** Connect now, or ask whether the path still carries. */
  wake(): void {
    if (this.#running !== null && this.closed === null) this.#link.wake();
  }

  async #run(): Promise<void> {
    try {
      const closed = await this.#link.run();
      this.#finish(closed, new Disconnected(closed.code, closed.reason));
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      this.#finish({ kind: "closed", code: 1006, reason: failure.message }, failure);
    }
  }

  #finish(closed: Closed, failure: Error): void {
    this.closed = closed;
    this.#refresh.cancel();
    for (const error of this.protocol.outbox.close(`the client closed: ${closed.reason}`)) {
      this.#waiters.reject("publish", error.id, error);
    }
    this.#waiters.reject("open", "", failure);
    this.#waiters.rejectAll(new Disconnected(closed.code, closed.reason));
    this.#deliver(closed, true);
    this.#inbox?.close();
  }

  // Requests

  /** Throw what there is to say when the client does not run. */
  checkAlive(): void {
    if (this.#running === null) throw new Error("the client is not running: await open() first");
    if (this.closed !== null) throw new Disconnected(this.closed.code, this.closed.reason);
  }

  /** Throw `ConnectionLost` when there is no connection at the moment. */
  checkOpen(): void {
    this.checkAlive();
    if (this.protocol.state !== "open") throw new ConnectionLost("not connected at the moment");
  }

  /** Write what the protocol has to say. */
  flush(): void {
    this.#link.flush();
  }

  /** Send a request and wait for its answer. */
  async request(kind: RequestKind, key: string, timeoutMs: number, send: () => void): Promise<unknown> {
    this.checkAlive();
    send();
    const answer = this.#waiters.expect(kind, key, timeoutMs);
    this.flush();
    return answer;
  }

  /** Publish a durable event and wait for its outcome. */
  async publish(
    event: { room: string; type: string; data: unknown; id: string; player?: string | undefined },
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Ack> {
    this.checkAlive();
    signal?.throwIfAborted();
    const now = this.#parts.timers.now();
    try {
      this.protocol.publish(event, now, now + timeoutMs);
    } catch (error) {
      if (error instanceof OutboxFull) {
        this.events.emit("overflow", {
          kind: "overflow",
          queue: "outbox",
          room: event.room,
          type: event.type,
          id: event.id,
        });
      }
      throw error;
    }
    const answer = this.#waiters.expect("publish", event.id, null) as Promise<Ack>;
    this.#counts.published += 1;
    const abort = () => {
      this.protocol.outbox.forget(event.id);
      this.#waiters.reject("publish", event.id, signal?.reason);
    };
    signal?.addEventListener("abort", abort);
    this.flush();
    try {
      const ack = await answer;
      this.#counts.acked += 1;
      return ack;
    } catch (error) {
      if (error instanceof PublishRejected) this.#counts.rejected += 1;
      else if (error instanceof PublishFailed) this.#counts.failed += 1;
      else if (error instanceof PublishError) this.#counts.unknown += 1;
      else this.#counts.cancelled += 1;
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Refresh the token on the open connection; its expiry. */
  async refresh(token: string, timeoutMs: number): Promise<number> {
    this.checkOpen();
    const expiresMs = await this.request("token", "", timeoutMs, () => this.protocol.refresh(token));
    this.#parts.tokens.replace(token);
    return expiresMs as number;
  }

  async #keepTokenFresh(): Promise<void> {
    try {
      await this.refresh(await this.#parts.tokens.get(), REFRESH_TIMEOUT_MS);
    } catch {
      // The token expires with 4010 then, and the reconnect asks the function again.
      this.#counts.refreshesFailed += 1;
    }
  }

  #planRefresh(expiresMs: number): void {
    const serverMs = this.protocol.clock.serverMs(this.#parts.timers.now());
    if (this.#parts.tokens.renewable && serverMs !== null) this.#refresh.plan(expiresMs - serverMs);
  }

  // Realtime

  /** Write a realtime event now, or drop and count it. */
  send(room: string, type: string, data: unknown, player: string | undefined): boolean {
    return (
      this.#allowed(room) && this.#write(this.protocol.realtime(room, type, data, player), 1, room, type)
    );
  }

  /** Write many; how many were written. */
  sendBatch(events: Iterable<RealtimeEvent>): number {
    const ready = [...events].filter(([room]) => this.#allowed(room));
    const [room, type] = ready[0] ?? ["", ""];
    let written = 0;
    for (const { frame, count } of this.protocol.batches(ready)) {
      if (this.#write(frame, count, room, type)) written += count;
    }
    return written;
  }

  #allowed(room: string): boolean {
    if (this.protocol.ready(room)) return true;
    this.#counts.drop(this.protocol.state === "open" ? "not_joined" : "not_connected", 1);
    return false;
  }

  #write(frame: Frame, count: number, room: string, type: string): boolean {
    let reason: DropReason | null = null;
    if (this.#link.congested) reason = "backpressure";
    else if (!this.#link.write(frame)) reason = "not_connected";
    if (reason === null) {
      this.#counts.realtimeSent += count;
      this.#congested = false;
      return true;
    }
    this.#counts.drop(reason, count);
    if (reason === "backpressure" && !this.#congested) {
      this.#congested = true;
      this.events.emit("overflow", { kind: "overflow", queue: "socket", room, type, id: null });
    }
    return false;
  }

  // From the link

  #take(notice: Notice): void {
    switch (notice.kind) {
      case "event":
        this.#deliver(notice);
        this.protocol.delivered(notice);
        break;
      case "acked":
        this.#waiters.resolve("publish", notice.ack.id, notice.ack);
        break;
      case "unpublished":
        this.#waiters.reject("publish", notice.error.id, notice.error);
        break;
      case "welcome":
        this.#welcomed(notice);
        break;
      case "pong":
        this.#waiters.resolve("ping", String(notice.t), this.protocol.rttMs);
        break;
      case "token":
        this.#planRefresh(notice.expiresMs);
        this.#waiters.resolve("token", "", notice.expiresMs);
        break;
      case "refused":
        this.#refused(notice.error);
        break;
      case "joined":
      case "left":
        this.#waiters.resolve(notice.kind === "joined" ? "join" : "leave", notice.room, notice);
        this.#deliver(notice);
        break;
      default:
        this.#deliver(notice);
    }
  }

  #welcomed(welcome: Welcome): void {
    this.#link.opened(welcome.pingIntervalMs);
    this.name = welcome.session;
    this.player = welcome.player;
    if (welcome.expiresMs !== null) this.#planRefresh(welcome.expiresMs);
    this.#counts.connections += 1;
    if (this.#counts.connections === 1) this.#waiters.resolve("open", "");
    else this.#deliver({ kind: "reconnected", session: welcome.session });
  }

  #refused(error: Refusal): void {
    const kind = error.op === "token" ? "token" : "join";
    const key = kind === "token" ? "" : (error.room ?? "");
    if (this.#waiters.reject(kind, key, new RequestRefused(error.code, error.message))) return;
    // A room that was joined before is refused after a reconnect.
    this.#deliver(error);
    if (error.room !== null && !this.protocol.wants(error.room))
      this.#deliver({ kind: "left", room: error.room });
  }

  #lost(message: Reconnecting): void {
    this.#waiters.rejectAll(new ConnectionLost(message.reason), ["ping", "token"]);
    // A room left on a connection that is gone is left.
    this.#waiters.resolveAll("leave");
    this.#deliver(message, true);
  }

  #deliver(message: Message, force = false): void {
    if (this.#inbox !== null && !this.#inbox.put(message, force)) {
      throw new InboxFull(`${this.#inbox.size} messages wait to be taken: iterate over the client`);
    }
    // The type of the message is the name of its listeners.
    this.events.emit(message.kind, message as never);
    this.events.emit("message", message);
  }

  /** Where messages wait for an iteration, from the first call on. */
  inbox(): Inbox {
    if (this.#inbox === null) {
      this.#inbox = new Inbox(this.#parts.inboxMessages);
      if (this.closed !== null) this.#inbox.close();
    }
    return this.#inbox;
  }

  /** What was counted so far. */
  statistics(): ClientStatistics {
    return this.#counts.statistics({
      outbox: this.protocol.outbox.size,
      inbox: this.#inbox?.size ?? 0,
      ticksMerged: this.#inbox?.ticksMerged ?? 0,
      duplicatesDropped: this.protocol.duplicatesDropped,
      unknownOperations: this.protocol.unknownOperations,
      framesReceived: this.#link.framesReceived,
    });
  }
}
