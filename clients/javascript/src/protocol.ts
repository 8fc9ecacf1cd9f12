/**
 * The client's side of the wire protocol, without I/O.
 *
 * Frames and time come in as arguments, frames to write come out of `framesToSend`, everything else is returned. The driver
 * (`link.ts`) owns the socket, the clock and the waiting.
 *
 *     connect -> receive(welcome) -> receive ... -> disconnect -> connect -> ...
 *
 * What lives through a reconnect: the rooms that are wanted with their cursors, the outbox of durable events, the sequence of
 * positions. A room's events are held back until the room is joined again, because the gateway refuses them before.
 */

import { isTerminal } from "./backoff.js";
import { ClockOffset } from "./clock.js";
import {
  type Bye,
  decodeMessage,
  type Encoding,
  encodeMessage,
  type Frame,
  frameBytes,
  type Nack,
  type Pong,
  type Received,
  type Welcome,
} from "./codec.js";
import { InvalidMessage, ProtocolViolation, type PublishError } from "./errors.js";
import type { GameEvent, Joined, Left, Refusal } from "./messages.js";
import type { Lost, Notice } from "./notices.js";
import { Outbox } from "./outbox.js";
import { Room } from "./room.js";

/** One realtime event: room, type, data. */
export type RealtimeEvent = readonly [room: string, type: string, data: unknown];

/** `hello` is sent and `welcome` awaited while connecting. */
export type State = "disconnected" | "connecting" | "open";

// Pings without an answer that are remembered; the gateway refuses more than ten a second.
const PINGS_KEPT = 64;

/** State of one client across its connections. */
export class ClientProtocol {
  state: State = "disconnected";
  readonly outbox: Outbox;
  readonly clock = new ClockOffset();
  /** Largest message the gateway takes; its own figure once it is known. */
  frameBytes = 64 * 1024;
  /** Publishes that fit into one batch. */
  batch = 256;
  /** Events that a resume brought a second time. */
  duplicatesDropped = 0;
  /** Messages of a newer protocol version that were ignored. */
  unknownOperations = 0;
  /** Round trip of the last ping that was answered. */
  rttMs: number | null = null;

  readonly #encoding: Encoding;
  readonly #client: string;
  readonly #rooms = new Map<string, Room>();
  /** Room -> leaves that are sent and not answered on this connection. */
  readonly #leaving = new Map<string, number>();
  /** Mark -> when the ping was sent, on this connection. */
  readonly #pings = new Map<number | string, number>();
  #out: Frame[] = [];
  #bye: Bye | null = null;
  #seq = 0;
  #helloAt = 0;
  #types: ReadonlyMap<string, unknown> = new Map();

  /**
   * @param client name and version, told to the gateway.
   * @param outboxLimit durable events that may wait for their outcome.
   */
  constructor(encoding: Encoding, client: string, outboxLimit: number) {
    this.#encoding = encoding;
    this.#client = client;
    this.outbox = new Outbox(outboxLimit);
  }

  // Connection

  /** Begin a connection: `hello`, which joins again every room that has a cursor. */
  connect(token: string, now: number): void {
    this.state = "connecting";
    this.#bye = null;
    this.#helloAt = now;
    // Without a prototype, because a room may be named `__proto__`.
    const resume: Record<string, string> = Object.create(null);
    for (const [name, room] of this.#rooms) {
      if (room.cursor !== null) resume[name] = room.cursor;
    }
    const options =
      Object.keys(resume).length > 0 ? { client: this.#client, resume } : { client: this.#client };
    this.#out.push(encodeMessage(this.#encoding, ["hello", token, options]));
  }

  /**
   * End a connection, and say what its end means.
   *
   * @param code close code as seen by the socket; 1006 when it just broke.
   */
  disconnect(code: number, reason: string): Lost {
    this.state = "disconnected";
    this.#out = [];
    this.#leaving.clear();
    this.#pings.clear();
    for (const room of this.#rooms.values()) room.joined = false;
    this.outbox.disconnected();
    const bye = this.#bye;
    if (bye === null) return { code, reason, terminal: isTerminal(code), atLeastMs: 0 };
    // Otherwise the close frame that was announced did not get through.
    const told =
      code >= 4000 && code <= 4999
        ? { code, reason: reason || bye.message }
        : { code: bye.code, reason: bye.message };
    const terminal = isTerminal(told.code) || bye.reconnectMs === null;
    return { ...told, terminal, atLeastMs: bye.reconnectMs ?? 0 };
  }

  /** Take the frames that are to be written, in order. */
  framesToSend(): Frame[] {
    const frames = this.#out;
    this.#out = [];
    return frames;
  }

  /** Send what is due and return the publishes whose deadline passed. */
  wake(now: number): PublishError[] {
    const over = this.outbox.expire(now);
    this.#flush(now);
    return over;
  }

  /** When `wake` is due, if nothing else happens; null while nothing waits. */
  nextWake(): number | null {
    return this.outbox.nextWake((room) => this.ready(room));
  }

  // Sending

  /** Whether a room is joined or to be joined. */
  wants(room: string): boolean {
    return this.#rooms.has(room);
  }

  /** Whether events of this room can be sent now. A room never joined counts: game servers publish from outside. */
  ready(room: string): boolean {
    return this.state === "open" && (this.#rooms.get(room)?.joined ?? true);
  }

  /** Whether a join of this room has no answer yet. */
  joining(room: string): boolean {
    return this.#rooms.get(room)?.cursor === null;
  }

  /** Sequence of the next position or heartbeat: rises across rooms and connections. */
  nextSeq(): number {
    this.#seq += 1;
    return this.#seq;
  }

  /** Enter a room, now and after every reconnect. Answered by `joined` or `refused`. */
  join(name: string): void {
    const frame = this.#encode(["join", name]);
    if (!this.#rooms.has(name)) this.#rooms.set(name, new Room());
    if (this.state === "open") this.#out.push(frame);
  }

  /** Leave a room; true when an answer (`left`) will come. */
  leave(name: string): boolean {
    this.#rooms.delete(name);
    if (this.state !== "open") return false;
    this.#leaving.set(name, (this.#leaving.get(name) ?? 0) + 1);
    this.#out.push(this.#encode(["leave", name]));
    return true;
  }

  /**
   * Take a durable event into the outbox; its outcome is `acked` or `unpublished`.
   *
   * @throws InvalidMessage it can never be sent as it is.
   * @throws OutboxFull too many wait already.
   */
  publish(
    event: { room: string; type: string; data: unknown; id: string; player?: string | undefined },
    now: number,
    deadline: number,
  ): void {
    const { room, type, data, id, player } = event;
    if (this.#types.get(type) === "at-most-once") {
      throw new InvalidMessage(`${type} is a realtime type: use send(), it has no ack`);
    }
    const message = ["pub", type, room, data, id];
    if (player !== undefined) message.push(player);
    this.outbox.add(id, room, this.#encode(message), deadline);
    this.#flush(now);
  }

  /**
   * Frame of one realtime event.
   *
   * @throws InvalidMessage it can never be sent as it is.
   */
  realtime(room: string, type: string, data: unknown, player?: string): Frame {
    return this.#encode(["pub", ...this.#realtime(room, type, data, player)]);
  }

  /** Frames of many realtime events, each with the number of events in it. */
  batches(events: readonly RealtimeEvent[]): { frame: Frame; count: number }[] {
    const publishes = events.map(([room, type, data]) => this.#realtime(room, type, data));
    const frames = [];
    for (let start = 0; start < publishes.length; start += this.batch) {
      frames.push(...this.#batch(publishes.slice(start, start + this.batch)));
    }
    return frames;
  }

  /** Ask for a `pong`. */
  ping(mark: number | string, now: number): void {
    if (this.#pings.size >= PINGS_KEPT) {
      const oldest = this.#pings.keys().next();
      if (!oldest.done) this.#pings.delete(oldest.value);
    }
    this.#pings.set(mark, now);
    this.#out.push(this.#encode(["ping", mark]));
  }

  /** Refresh the token. Answered by `token` or `refused`. */
  refresh(token: string): void {
    this.#out.push(this.#encode(["token", token]));
  }

  // Receiving

  /**
   * Take one frame in; what it tells the driver, or null.
   *
   * An event counts as delivered only after `delivered`: until then a reconnect asks for it again.
   *
   * @throws ProtocolViolation the frame is not what the protocol allows here; the connection must be closed.
   */
  receive(frame: unknown, now: number): Notice | null {
    const message = decodeMessage(this.#encoding, frame);
    if (message === null) {
      this.unknownOperations += 1;
      return null;
    }
    if (message.kind === "bye") {
      this.#bye = message;
      return null;
    }
    if (message.kind === "welcome") return this.#welcomed(message, now);
    if (this.state !== "open") throw new ProtocolViolation(`${message.kind} came before welcome`);
    return this.#received(message, now);
  }

  #received(message: Exclude<Received, Bye | Welcome>, now: number): Notice | null {
    switch (message.kind) {
      case "event":
        return this.#event(message);
      case "joined":
        return this.#joined(message, now);
      case "left":
        return this.#left(message);
      case "error":
        return this.#error(message);
      case "ack": {
        const attempts = this.outbox.acked(message.id);
        if (attempts === 0) return null;
        return { kind: "acked", ack: { id: message.id, cursor: message.cursor, attempts } };
      }
      case "nack":
        return this.#nacked(message, now);
      case "pong":
        return this.#pong(message, now);
      default:
        return message;
    }
  }

  /** The program has the event: a resume begins after it. */
  delivered(event: GameEvent): void {
    const room = this.#rooms.get(event.room);
    if (room?.joined) room.delivered(event.cursor);
  }

  #welcomed(welcome: Welcome, now: number): Notice {
    if (this.state !== "connecting") throw new ProtocolViolation("a second welcome");
    this.state = "open";
    this.#types = welcome.types;
    this.frameBytes = limit(welcome, "frame_bytes", this.frameBytes);
    this.batch = limit(welcome, "batch", this.batch);
    this.clock.reset();
    this.clock.add(this.#helloAt, now, welcome.serverMs);
    for (const [name, room] of this.#rooms) {
      // Rooms with a cursor were in the hello.
      if (room.cursor === null) this.#out.push(this.#encode(["join", name]));
    }
    this.#flush(now);
    return welcome;
  }

  #event(event: GameEvent): Notice | null {
    if (this.#rooms.get(event.room)?.replayed.has(event.cursor)) {
      this.duplicatesDropped += 1;
      return null;
    }
    return event;
  }

  #joined(joined: Joined, now: number): Notice {
    const room = this.#rooms.get(joined.room);
    // Otherwise it was left again before the answer to the join came.
    if (room !== undefined) {
      room.joined = true;
      room.cursor = joined.cursor;
      if (joined.recovered !== null) room.replayed = new Set(joined.recovered ? room.seen : []);
      this.#flush(now);
    }
    return joined;
  }

  #left(left: Left): Notice {
    const leaving = this.#leaving.get(left.room) ?? 0;
    if (leaving === 0) this.#rooms.delete(left.room);
    else if (leaving === 1) this.#leaving.delete(left.room);
    else this.#leaving.set(left.room, leaving - 1);
    return left;
  }

  #error(error: Refusal): Notice {
    if (error.op === "token") return { kind: "refused", error };
    const room = error.room === null ? undefined : this.#rooms.get(error.room);
    if (room === undefined || error.room === null || (error.op !== "join" && error.op !== "hello"))
      return error;
    if (!room.joined) this.#rooms.delete(error.room);
    return { kind: "refused", error };
  }

  #nacked(nack: Nack, now: number): Notice | null {
    const error = this.outbox.nacked(nack, now);
    return error === null ? null : { kind: "unpublished", error };
  }

  #pong(pong: Pong, now: number): Notice {
    const sentAt = this.#pings.get(pong.t);
    if (sentAt !== undefined) {
      this.#pings.delete(pong.t);
      this.rttMs = now - sentAt;
      this.clock.add(sentAt, now, pong.serverMs);
    }
    return pong;
  }

  // Helpers

  #flush(now: number): void {
    if (this.outbox.size > 0 && this.state === "open") {
      this.#out.push(...this.outbox.due(now, (room) => this.ready(room)));
    }
  }

  #realtime(room: string, type: string, data: unknown, player?: string): unknown[] {
    if (this.#types.get(type) === "at-least-once") {
      throw new InvalidMessage(`${type} is a durable type: use publish(), which waits for its ack`);
    }
    return player === undefined ? [type, room, data] : [type, room, data, null, player];
  }

  #batch(publishes: unknown[][]): { frame: Frame; count: number }[] {
    const frame = encodeMessage(this.#encoding, ["batch", publishes]);
    if (frameBytes(frame) <= this.frameBytes) return [{ frame, count: publishes.length }];
    if (publishes.length === 1) throw this.#tooLarge(frame);
    const middle = Math.floor(publishes.length / 2);
    return [...this.#batch(publishes.slice(0, middle)), ...this.#batch(publishes.slice(middle))];
  }

  #encode(message: readonly unknown[]): Frame {
    const frame = encodeMessage(this.#encoding, message);
    if (frameBytes(frame) > this.frameBytes) throw this.#tooLarge(frame);
    return frame;
  }

  #tooLarge(frame: Frame): InvalidMessage {
    return new InvalidMessage(
      `message of ${frameBytes(frame)} bytes; the gateway takes up to ${this.frameBytes}`,
    );
  }
}

function limit(welcome: Welcome, name: string, otherwise: number): number {
  const value = welcome.limits.get(name);
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : otherwise;
}
