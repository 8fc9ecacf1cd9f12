/**
 * Encodings of the wire protocol, and the way from a frame to a typed message. Pure.
 *
 * Extra elements and unknown map keys are ignored, unknown operations are left to the caller: a newer gateway may send them.
 */

import { decode, encode } from "@msgpack/msgpack";
import { InvalidMessage, ProtocolViolation } from "./errors.js";
import type { GameEvent, Joined, Left, PositionData, Presence, Refusal, Tick } from "./messages.js";
import { checkValue } from "./values.js";

/** A binary frame (msgpack) or a text frame (JSON). */
export type Frame = Uint8Array<ArrayBuffer> | string;

/** The connection is open. */
export interface Welcome {
  readonly kind: "welcome";
  readonly session: string;
  readonly player: string;
  readonly serverMs: number;
  readonly expiresMs: number | null;
  readonly pingIntervalMs: number | null;
  readonly limits: ReadonlyMap<string, unknown>;
  readonly types: ReadonlyMap<string, unknown>;
}

/** A durable publish is written. */
export interface Acked {
  readonly kind: "ack";
  readonly id: string;
  readonly cursor: string;
}

/** A durable publish was refused; `retryMs` null: for good. */
export interface Nack {
  readonly kind: "nack";
  readonly id: string;
  readonly code: string;
  readonly message: string;
  readonly retryMs: number | null;
}

/** The refreshed token counts. */
export interface TokenAccepted {
  readonly kind: "token";
  readonly expiresMs: number;
}

/** Answer to a ping. */
export interface Pong {
  readonly kind: "pong";
  readonly t: number | string;
  readonly serverMs: number;
}

/** The gateway closes; `reconnectMs` null: do not come back. */
export interface Bye {
  readonly kind: "bye";
  readonly code: number;
  readonly message: string;
  readonly reconnectMs: number | null;
}

export type Received =
  | Tick
  | GameEvent
  | Presence
  | Joined
  | Left
  | Refusal
  | Acked
  | Nack
  | Welcome
  | TokenAccepted
  | Pong
  | Bye;

/** One encoding: its name in the websocket handshake, and both directions. `pack` and `unpack` throw what they like. */
export interface Encoding {
  readonly subprotocol: string;
  readonly pack: (message: readonly unknown[]) => Frame;
  readonly unpack: (frame: unknown) => unknown;
}

export type EncodingName = "msgpack" | "json";

// msgpack refuses the key `__proto__` and would end the connection over another player's data, again at each resume.
const SAFE_KEY = "__proto";
const keyDecoder = {
  canBeCached: (byteLength: number) => byteLength === 9,
  decode(bytes: Uint8Array, offset: number, byteLength: number): string {
    const key = utf8Decoder.decode(bytes.subarray(offset, offset + byteLength));
    return key === "__proto__" ? SAFE_KEY : key;
  },
};
const utf8Decoder = new TextDecoder();

export const ENCODINGS: Readonly<Record<EncodingName, Encoding>> = {
  msgpack: {
    subprotocol: "gamebus.v1.msgpack",
    pack: (message) => encode(message, { ignoreUndefined: true }),
    unpack(frame) {
      if (!(frame instanceof ArrayBuffer || ArrayBuffer.isView(frame))) {
        throw new TypeError("text frame in the msgpack subprotocol");
      }
      return decode(frame, { keyDecoder });
    },
  },
  json: {
    subprotocol: "gamebus.v1.json",
    pack: (message) => JSON.stringify(message),
    unpack(frame) {
      if (typeof frame !== "string") {
        throw new TypeError("binary frame in the JSON subprotocol");
      }
      return frame.includes("__proto__") ? JSON.parse(frame, withoutProto) : JSON.parse(frame);
    },
  },
};

function withoutProto(_key: string, value: unknown): unknown {
  if (isMap(value) && Object.hasOwn(value, "__proto__")) {
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [key === "__proto__" ? SAFE_KEY : key, inner]),
    );
  }
  return value;
}

/**
 * Encode one message.
 *
 * @throws InvalidMessage a value that the wire protocol cannot carry.
 */
export function encodeMessage(encoding: Encoding, message: readonly unknown[]): Frame {
  checkValue(message);
  try {
    return encoding.pack(message);
  } catch (error) {
    throw new InvalidMessage(`data cannot be sent: ${String(error)}`, { cause: error });
  }
}

/**
 * Decode one message; null when its operation is unknown to this version.
 *
 * @throws ProtocolViolation the frame is not a message.
 */
export function decodeMessage(encoding: Encoding, frame: unknown): Received | null {
  try {
    const message = array(encoding.unpack(frame));
    return PARSERS.get(text(message[0]))?.(message) ?? null;
  } catch (error) {
    throw new ProtocolViolation(`the gateway sent a frame that is not a message: ${String(error)}`, {
      cause: error,
    });
  }
}

/** Bytes that a frame takes on the wire. */
export function frameBytes(frame: Frame): number {
  return typeof frame === "string" ? utf8Encoder.encode(frame).byteLength : frame.byteLength;
}
const utf8Encoder = new TextEncoder();

type Parsed = readonly unknown[];

function array(value: unknown): Parsed {
  if (!Array.isArray(value)) throw new TypeError(`${String(value)} stands where an array should`);
  return value;
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new TypeError(`${String(value)} stands where a string should`);
  return value;
}

function integer(value: unknown): number {
  if (!Number.isSafeInteger(value)) throw new TypeError(`${String(value)} stands where an integer should`);
  return value as number;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function map(value: unknown): ReadonlyMap<string, unknown> {
  if (!isMap(value)) throw new TypeError(`${String(value)} stands where a map should`);
  return new Map(Object.entries(value));
}

function optional<T>(check: (value: unknown) => T, value: unknown): T | null {
  return value === null || value === undefined ? null : check(value);
}

function texts(value: unknown): readonly string[] {
  return array(value).map(text);
}

function positions(value: unknown): Map<string, PositionData | null> {
  const found = new Map<string, PositionData | null>();
  for (const entry of array(value)) {
    const [player, data] = array(entry);
    found.set(text(player), optional(array, data) as PositionData | null);
  }
  return found;
}

function joined(message: Parsed): Joined {
  const info = map(message[2]);
  const recovered = info.get("recovered");
  const tickHz = info.get("tick_hz");
  if (typeof tickHz !== "number") throw new TypeError("joined without tick_hz");
  return {
    kind: "joined",
    room: text(message[1]),
    cursor: text(info.get("cursor")),
    players: texts(info.get("players")),
    positions: positions(info.get("positions")),
    tickHz,
    recovered: typeof recovered === "boolean" ? recovered : null,
  };
}

function refusal(message: Parsed): Refusal {
  const about = map(message[3]);
  return {
    kind: "error",
    code: text(message[1]),
    message: text(message[2]),
    op: optional(text, about.get("op")),
    type: optional(text, about.get("type")),
    room: optional(text, about.get("room")),
    index: optional(integer, about.get("index")),
  };
}

function welcome(message: Parsed): Welcome {
  const info = map(message[3]);
  return {
    kind: "welcome",
    session: text(message[1]),
    player: text(message[2]),
    serverMs: integer(info.get("server_ms")),
    expiresMs: optional(integer, info.get("expires_ms")),
    pingIntervalMs: optional(integer, info.get("ping_interval_ms")),
    limits: map(info.get("limits") ?? {}),
    types: map(info.get("types") ?? {}),
  };
}

function pongMark(value: unknown): number | string {
  if (typeof value !== "number" && typeof value !== "string") throw new TypeError("pong without its mark");
  return value;
}

// A map, so that an operation named `constructor` is as unknown as any other.
const PARSERS: ReadonlyMap<string, (message: Parsed) => Received> = new Map<
  string,
  (message: Parsed) => Received
>([
  ["tick", (m) => ({ kind: "tick", room: text(m[1]), serverMs: integer(m[2]), positions: positions(m[3]) })],
  [
    "event",
    (m) => ({
      kind: "event",
      type: text(m[1]),
      room: text(m[2]),
      player: text(m[3]),
      serverMs: integer(m[4]),
      data: m[5],
      id: text(m[6]),
      cursor: text(m[7]),
    }),
  ],
  ["presence", (m) => ({ kind: "presence", room: text(m[1]), joined: texts(m[2]), left: texts(m[3]) })],
  ["joined", joined],
  ["left", (m) => ({ kind: "left", room: text(m[1]) })],
  ["error", refusal],
  ["ack", (m) => ({ kind: "ack", id: text(m[1]), cursor: text(m[2]) })],
  [
    "nack",
    (m) => ({
      kind: "nack",
      id: text(m[1]),
      code: text(m[2]),
      message: text(m[3]),
      retryMs: optional(integer, m[4]),
    }),
  ],
  ["welcome", welcome],
  ["token", (m) => ({ kind: "token", expiresMs: integer(m[1]) })],
  ["pong", (m) => ({ kind: "pong", t: pongMark(m[1]), serverMs: integer(m[2]) })],
  [
    "bye",
    (m) => ({ kind: "bye", code: integer(m[1]), message: text(m[2]), reconnectMs: optional(integer, m[3]) }),
  ],
]);
