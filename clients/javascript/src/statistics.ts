/** What a client counts. */

/** Why a realtime event was dropped here. */
export type DropReason = "not_connected" | "not_joined" | "backpressure";

/** Counts since the client was made. */
export interface ClientStatistics {
  /** Connections opened after the first. */
  readonly reconnects: number;
  /** Realtime events written to a socket. */
  readonly realtimeSent: number;
  /** Realtime events dropped here, by reason. */
  readonly realtimeDropped: Readonly<Record<DropReason, number>>;
  /** Durable events taken; each ends in exactly one of the next five, or still waits. */
  readonly published: number;
  /** Written. */
  readonly acked: number;
  /** Refused for good. */
  readonly rejected: number;
  /** Surely not written in time. */
  readonly failed: number;
  /** May have been written. */
  readonly unknown: number;
  /** Given up by the caller. */
  readonly cancelled: number;
  /** Refreshes of the token that did not succeed. */
  readonly refreshesFailed: number;
  /** Durable events that wait for their outcome. */
  readonly outbox: number;
  /** Messages, ticks aside, that wait to be taken. */
  readonly inbox: number;
  /** Ticks merged into one that still waited. */
  readonly ticksMerged: number;
  /** Events that a resume brought a second time. */
  readonly duplicatesDropped: number;
  /** Messages of a newer protocol that were ignored. */
  readonly unknownOperations: number;
  /** Frames read. */
  readonly framesReceived: number;
}

type CountedHere =
  | "reconnects"
  | "realtimeSent"
  | "realtimeDropped"
  | "published"
  | "acked"
  | "rejected"
  | "failed"
  | "unknown"
  | "cancelled"
  | "refreshesFailed";

/** The counts of a session. */
export class Counts {
  connections = 0;
  realtimeSent = 0;
  published = 0;
  acked = 0;
  rejected = 0;
  failed = 0;
  unknown = 0;
  cancelled = 0;
  refreshesFailed = 0;
  readonly #dropped: Record<DropReason, number> = { not_connected: 0, not_joined: 0, backpressure: 0 };

  drop(reason: DropReason, count: number): void {
    this.#dropped[reason] += count;
  }

  /** @param others what the parts of the client count themselves. */
  statistics(others: Omit<ClientStatistics, CountedHere>): ClientStatistics {
    return {
      reconnects: Math.max(0, this.connections - 1),
      realtimeSent: this.realtimeSent,
      realtimeDropped: { ...this.#dropped },
      published: this.published,
      acked: this.acked,
      rejected: this.rejected,
      failed: this.failed,
      unknown: this.unknown,
      cancelled: this.cancelled,
      refreshesFailed: this.refreshesFailed,
      ...others,
    };
  }
}
