/** JavaScript client of gamebus, the event bus behind a real-time multiplayer game. */

export { type ClientOptions, GameClient, type MoveOptions, type PublishOptions } from "./client.js";
export type { EncodingName } from "./codec.js";
export {
  ConnectError,
  ConnectionLost,
  Disconnected,
  GameClientError,
  HandshakeRefused,
  InvalidMessage,
  OutboxFull,
  OutcomeUnknown,
  ProtocolViolation,
  PublishError,
  PublishFailed,
  PublishRejected,
  RequestRefused,
  RequestTimedOut,
} from "./errors.js";
export type { ClientEvents } from "./events.js";
export { type InterpolationOptions, Interpolator, type Pose } from "./interpolation.js";
export type {
  Ack,
  Closed,
  GameEvent,
  Joined,
  Left,
  Message,
  Overflow,
  PositionData,
  Positions,
  Presence,
  Reconnected,
  Reconnecting,
  Refusal,
  Tick,
} from "./messages.js";
export type { Page } from "./page.js";
export type { Death, Kill, Vector } from "./payloads.js";
export type { RealtimeEvent } from "./protocol.js";
export type { ClientStatistics, DropReason } from "./statistics.js";
export type { Token } from "./tokens.js";
