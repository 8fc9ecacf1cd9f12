"""Errors of the client.

* :exc:`GameClientError`
    * :exc:`ConnectError`: no connection could be opened in time.
        * :exc:`HandshakeRefused`: the gateway (or what stands before it) refused the HTTP upgrade for good.
    * :exc:`Disconnected`: the connection ended for good while something waited for it.
    * :exc:`ConnectionLost`: there is no connection at the moment, and the request cannot outlive one.
    * :exc:`RequestRefused`: the gateway refused a join or a token.
    * :exc:`RequestTimedOut`: no answer to a join, leave, ping or token in time.
    * :exc:`InvalidMessage`: what was to be sent can never be sent as it is.
    * :exc:`PublishError`: a durable publish did not end with an `ack`.
        * :exc:`PublishRejected`: the gateway refuses it; sending it again is useless.
        * :exc:`PublishFailed`: surely not written within the deadline; publishing it again cannot double it.
        * :exc:`OutcomeUnknown`: it may or may not have been written.
        * :exc:`OutboxFull`: too many publishes wait for their outcome; this one was not taken.
    * :exc:`ProtocolViolation`: the gateway sent what the wire protocol does not allow.

Publishing the same event again is always safe under the same id, for 10 minutes after it was first sent.
"""

from __future__ import annotations

__all__ = [
    "ConnectError",
    "ConnectionLost",
    "Disconnected",
    "GameClientError",
    "HandshakeRefused",
    "InvalidMessage",
    "OutboxFull",
    "OutcomeUnknown",
    "ProtocolViolation",
    "PublishError",
    "PublishFailed",
    "PublishRejected",
    "RequestRefused",
    "RequestTimedOut",
]


class GameClientError(Exception):
    """Root of all errors that the client raises on purpose."""


class ConnectError(GameClientError):
    """No connection could be opened; the cause is chained.

    Attributes:
        retry_after_s: when the gateway said to come back (HTTP 503 with `Retry-After`), else None.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class HandshakeRefused(ConnectError):
    """The HTTP upgrade was refused and trying again would not help.

    Attributes:
        status: HTTP status, or None when the answer was not a websocket handshake at all.
    """

    def __init__(self, message: str, *, status: int | None) -> None:
        self.status = status
        super().__init__(message)


class Disconnected(GameClientError):
    """The connection ended for good.

    Attributes:
        code: close code, see the table in `docs/protocol.md`; 1000 when this client closed it.
        reason: the gateway's words.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"connection closed with code {code}: {reason or 'no reason given'}")


class ConnectionLost(GameClientError):
    """There is no connection at the moment, or it was lost before the answer to a ping or a token came."""


class RequestRefused(GameClientError):
    """The gateway refused a join or a token.

    Attributes:
        code: error code of the wire protocol (`forbidden`, `too_large`, `bad_token`, ...).
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"{code}: {message}")


class RequestTimedOut(GameClientError, TimeoutError):
    """No answer in time. Refusals are rate limited by the gateway, so this may also be one that was not sent."""


class InvalidMessage(GameClientError, ValueError):
    """What was to be sent can never be sent as it is: the message says what must change."""


class PublishError(GameClientError):
    """A durable publish did not end with an `ack`.

    Attributes:
        id: id of the event.
        code: error code of the wire protocol, or of this client: `not_connected`, `timeout`, `closed`, `outbox_full`.
    """

    def __init__(self, event_id: str, code: str, message: str) -> None:
        self.id = event_id
        self.code = code
        super().__init__(f"event {event_id!r}: {code}: {message}")


class PublishRejected(PublishError):
    """The gateway refused the event and said not to send it again (`nack` without `retry_ms`). It was not written."""


class PublishFailed(PublishError):
    """The event was surely not written: never sent, or every attempt was answered with a `nack`."""


class OutcomeUnknown(PublishError):
    """The event may or may not have been written: at least one attempt got no certain answer."""


class OutboxFull(PublishError):
    """Too many publishes wait for their outcome; this one was not taken and is not sent."""


class ProtocolViolation(GameClientError):
    """The gateway sent what the wire protocol does not allow; the client reconnects."""
