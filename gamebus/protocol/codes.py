"""Error codes and close codes: public, and the contract for reconnecting.

4000..4499: reconnect, with back-off and the resume cursors. 4500..4999: do not reconnect. (RFC 6455 section 7.4.2 leaves
4000..4999 to applications; the split is Centrifuge's, `disconnect.go`.) docs/protocol.md holds the same tables.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """Why a message was refused while the connection stays: in `error` and `nack`."""

    meaning: str
    """What happened, for the developer of a client."""

    def __new__(cls, value: str, meaning: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    BAD_REQUEST = "bad_request", "a known operation with missing, extra or wrong fields"
    UNKNOWN_TYPE = "unknown_type", "the catalog has no such event type"
    BAD_DATA = "bad_data", "the data is not what its type allows, or no value that both encodings carry"
    NOT_JOINED = "not_joined", "a player publishes only into rooms that it has joined"
    FORBIDDEN = "forbidden", "the token's role or rooms do not allow it"
    BAD_TOKEN = "bad_token", "the new token of a refresh is not valid; the old one still counts"
    RATE_LIMITED = "rate_limited", "too many of this type or operation a second on this connection"
    TOO_LARGE = "too_large", "data larger than its type allows, or more rooms than `limits.rooms`"
    OVERLOADED = (
        "overloaded",
        "the gateway holds too many unwritten events; surely not written, try again after `retry_ms`",
    )
    UNAVAILABLE = "unavailable", "Kafka cannot be reached; surely not written, try again after `retry_ms`"
    UNKNOWN_OUTCOME = "unknown_outcome", "the event may or may not have been written; send it again with the same id"


class CloseCode(IntEnum):
    """Why the gateway ends a connection: in `bye` and in the close frame that follows it."""

    meaning: str
    """What happened and what the client does, for the developer of a client."""

    reconnect_ms: int | None
    """Wait that `bye` names unless the gateway knows better; None: the client must not come back."""

    def __new__(cls, value: int, meaning: str, reconnect_ms: int | None) -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.reconnect_ms = reconnect_ms
        return member

    DRAINING = 4000, "draining: the gateway restarts; honour `reconnect_ms`", 1000
    TOO_SLOW = 4001, "too slow: durable events overflowed the outbox", 1000
    NO_PONG = 4002, "no answer to pings", 1000
    TOO_MANY_CONNECTIONS = 4003, "too many connections here; honour `reconnect_ms`", 5000
    FLOODING = 4004, "flooding: sustained refusals", 5000
    TOKEN_EXPIRED = 4010, "token expired (also in `hello`): reconnect with a fresh one", 0
    PROTOCOL_VIOLATION = 4500, "protocol violation", None
    REPLACED = 4501, "replaced: the same player connected elsewhere", None
    BAD_TOKEN = 4502, "bad token", None
    FORBIDDEN = 4503, "forbidden: removed by an operator, or a refresh for another player", None
    NO_HELLO = 4504, "no `hello` in time", None

    @property
    def reconnect(self) -> bool:
        """Whether the client may come back."""
        return self < 4500
