/**
 * What a client receives: one read-only shape per message, told apart by `kind`.
 *
 * `serverMs` is Unix milliseconds by the gateway's clock. Data of events and positions is as decoded; the receiver owns it.
 */

/** `[seq, x, y, z]`, then `vx, vy, vz`, then `heading`, as the player sent it. */
export type PositionData = readonly number[];

/** Player -> position; null: not known here any more. A map, because a player may be named `__proto__`. */
export type Positions = ReadonlyMap<string, PositionData | null>;

/**
 * Newest position of every player of the room that moved, oneself included.
 *
 * At most once: a position that was overtaken by a newer one of the same player is never seen.
 */
export interface Tick {
  readonly kind: "tick";
  readonly room: string;
  readonly serverMs: number;
  readonly positions: Positions;
}

/**
 * A durable event, to everyone in the room, its publisher included.
 *
 * Once on a connection. Events are told apart by `cursor`: two publishers may use the same id, and `player` may be a name that
 * a game server gave. Order is kept among chat, and among kill and death; none is promised between the two.
 */
export interface GameEvent {
  readonly kind: "event";
  readonly type: string;
  readonly room: string;
  readonly player: string;
  readonly serverMs: number;
  readonly data: unknown;
  readonly id: string;
  readonly cursor: string;
}

/** Players that came into the room or left it; may name the receiver itself. */
export interface Presence {
  readonly kind: "presence";
  readonly room: string;
  readonly joined: readonly string[];
  readonly left: readonly string[];
}

/** The room is entered, by `join` or after a reconnect. */
export interface Joined {
  readonly kind: "joined";
  readonly room: string;
  /** Where the events that follow begin. */
  readonly cursor: string;
  /** All players here, oneself included. */
  readonly players: readonly string[];
  /** Last known position of those here. */
  readonly positions: Positions;
  /** Ticks a second of this room. */
  readonly tickHz: number;
  /** After a reconnect: true when every missed event follows, false when some are lost; null for a plain join. */
  readonly recovered: boolean | null;
}

/** The room is left: on request, or because a refreshed token no longer allows it. */
export interface Left {
  readonly kind: "left";
  readonly room: string;
}

/** A message of this client was refused; the connection stays. Only refusals that no waiting call reports come here. */
export interface Refusal {
  readonly kind: "error";
  readonly code: string;
  readonly message: string;
  readonly op: string | null;
  readonly type: string | null;
  readonly room: string | null;
  /** Place in the batch, from 0, when the refused publish was sent in one. */
  readonly index: number | null;
}

/** The connection is lost; the next attempt starts in `delayMs`. Realtime sends are dropped until `reconnected`. */
export interface Reconnecting {
  readonly kind: "reconnecting";
  /** 1 for the first attempt after a connection that lasted. */
  readonly attempt: number;
  readonly delayMs: number;
  /** Close code (1006 when the socket just broke), or null when an attempt to connect failed. */
  readonly code: number | null;
  readonly reason: string;
}

/** The connection is open again; a `joined` follows for every room that was joined. */
export interface Reconnected {
  readonly kind: "reconnected";
  readonly session: string;
}

/** The connection ended for good: always the last message. */
export interface Closed {
  readonly kind: "closed";
  /** Close code; 1000 when this client closed it. */
  readonly code: number;
  readonly reason: string;
}

/** What an iteration over a client yields. */
export type Message =
  | Tick
  | GameEvent
  | Presence
  | Joined
  | Left
  | Refusal
  | Reconnecting
  | Reconnected
  | Closed;

/**
 * A send queue is full. For listeners only: it is no message of the gateway and takes no place in an iteration.
 *
 * `outbox`: a durable event was not taken, its publish ends with `OutboxFull`. `socket`: the path is congested and realtime
 * events are dropped; told once, until one is written again.
 */
export interface Overflow {
  readonly kind: "overflow";
  readonly queue: "outbox" | "socket";
  readonly room: string;
  readonly type: string;
  /** Id of the durable event; null for a realtime one. */
  readonly id: string | null;
}

/** The event is written on all in-sync replicas. */
export interface Ack {
  readonly id: string;
  /** Place of the event in its room. Events before it may still be on their way, so never resume with it. */
  readonly cursor: string;
  /** How often it was sent. After more than one, later events of the same publisher may stand before it. */
  readonly attempts: number;
}
