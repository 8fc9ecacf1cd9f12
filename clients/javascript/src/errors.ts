/**
 * Errors of the client.
 *
 * - `GameClientError`
 *   - `ConnectError`: no connection could be opened in time.
 *     - `HandshakeRefused`: what answered does not speak the protocol.
 *   - `Disconnected`: the connection ended for good while something waited for it.
 *   - `ConnectionLost`: there is no connection at the moment, and the request cannot outlive one.
 *   - `RequestRefused`: the gateway refused a join or a token.
 *   - `RequestTimedOut`: no answer to a join, leave, ping or token in time.
 *   - `InvalidMessage`: what was to be sent can never be sent as it is.
 *   - `PublishError`: a durable publish did not end with an ack.
 *     - `PublishRejected`: the gateway refuses it; sending it again is useless.
 *     - `PublishFailed`: surely not written within the deadline; publishing it again cannot double it.
 *     - `OutcomeUnknown`: it may or may not have been written.
 *     - `OutboxFull`: too many publishes wait for their outcome; this one was not taken.
 *   - `ProtocolViolation`: the gateway sent what the wire protocol does not allow.
 *
 * Publishing the same event again is always safe under the same id, for 10 minutes after it was first sent.
 */

/** Root of all errors that the client raises on purpose. */
export class GameClientError extends Error {
  override name = "GameClientError";
}

/** No connection could be opened; the cause is chained where there is one. */
export class ConnectError extends GameClientError {
  override name = "ConnectError";
}

/**
 * What answered does not speak the subprotocol. A refusal by HTTP status is not told apart: the WebSocket interface hides the
 * status, so the client tries again until the connect timeout.
 */
export class HandshakeRefused extends ConnectError {
  override name = "HandshakeRefused";
}

/** The connection ended for good. */
export class Disconnected extends GameClientError {
  override name = "Disconnected";

  constructor(
    /** Close code, see the table in `docs/protocol.md`; 1000 when this client closed it. */
    readonly code: number,
    /** The gateway's words. */
    readonly reason: string,
  ) {
    super(`connection closed with code ${code}: ${reason || "no reason given"}`);
  }
}

/** There is no connection at the moment, or it was lost before the answer to a ping or a token came. */
export class ConnectionLost extends GameClientError {
  override name = "ConnectionLost";
}

/** The gateway refused a join or a token. */
export class RequestRefused extends GameClientError {
  override name = "RequestRefused";

  constructor(
    /** Error code of the wire protocol (`forbidden`, `too_large`, `bad_token`, ...). */
    readonly code: string,
    message: string,
  ) {
    super(`${code}: ${message}`);
  }
}

/** No answer in time. Refusals are rate limited by the gateway, so this may also be one that was not sent. */
export class RequestTimedOut extends GameClientError {
  override name = "RequestTimedOut";
}

/** What was to be sent can never be sent as it is: the message says what must change. */
export class InvalidMessage extends GameClientError {
  override name = "InvalidMessage";
}

/** A durable publish did not end with an ack. */
export class PublishError extends GameClientError {
  override name = "PublishError";

  constructor(
    /** Id of the event. */
    readonly id: string,
    /** Error code of the wire protocol, or of this client: `timeout`, `closed`, `outbox_full`. */
    readonly code: string,
    message: string,
  ) {
    super(`event ${JSON.stringify(id)}: ${code}: ${message}`);
  }
}

/** The gateway refused the event and said not to send it again (`nack` without `retry_ms`). It was not written. */
export class PublishRejected extends PublishError {
  override name = "PublishRejected";
}

/** The event was surely not written: never sent, or every attempt was answered with a `nack`. */
export class PublishFailed extends PublishError {
  override name = "PublishFailed";
}

/** The event may or may not have been written: at least one attempt got no certain answer. */
export class OutcomeUnknown extends PublishError {
  override name = "OutcomeUnknown";
}

/** Too many publishes wait for their outcome; this one was not taken and is not sent. */
export class OutboxFull extends PublishError {
  override name = "OutboxFull";
}

/** The gateway sent what the wire protocol does not allow; the client reconnects. */
export class ProtocolViolation extends GameClientError {
  override name = "ProtocolViolation";
}
