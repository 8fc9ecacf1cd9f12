/** What the protocol tells its driver. */

import type { Pong, TokenAccepted, Welcome } from "./codec.js";
import type { PublishError } from "./errors.js";
import type { Ack, GameEvent, Joined, Left, Presence, Refusal, Tick } from "./messages.js";

/** A connection that ended. */
export interface Lost {
  /** Close code, or null when no connection was opened. */
  readonly code: number | null;
  readonly reason: string;
  /** The client must not come back. */
  readonly terminal: boolean;
  /** How long the gateway asked it to stay away. */
  readonly atLeastMs: number;
}

/** What `receive` tells the driver. `refused`: a join (or the token) was refused; the room is no longer wanted. */
export type Notice =
  | Tick
  | GameEvent
  | Presence
  | Joined
  | Left
  | Refusal
  | Welcome
  | TokenAccepted
  | Pong
  | { readonly kind: "acked"; readonly ack: Ack }
  | { readonly kind: "unpublished"; readonly error: PublishError }
  | { readonly kind: "refused"; readonly error: Refusal };
