/** What can be listened to. */

import type {
  Closed,
  GameEvent,
  Joined,
  Left,
  Message,
  Overflow,
  Presence,
  Reconnected,
  Reconnecting,
  Refusal,
  Tick,
} from "./messages.js";

/** What listeners may ask for. `message`: every one that an iteration would yield. */
export interface ClientEvents {
  message: Message;
  tick: Tick;
  event: GameEvent;
  presence: Presence;
  joined: Joined;
  left: Left;
  error: Refusal;
  reconnecting: Reconnecting;
  reconnected: Reconnected;
  closed: Closed;
  overflow: Overflow;
}
