"""Errors that gamebus raises on purpose.

* :exc:`GamebusError`
    * :exc:`ConfigurationError`: something in settings, files or the command line must be changed by a person.
        * :exc:`CatalogError`: the event catalog breaks a rule.
        * :exc:`TopicError`: a topic on the brokers does not keep the contract of its class.
        * :exc:`StackError`: the local stack cannot run on this machine as it is.
    * :exc:`PayloadError`: the data of an event is not what its type allows.
    * :exc:`RecordError`: bytes read from Kafka are not a gamebus record.
    * :exc:`DeliveryError`: a publish did not end with `ok`.
        * :exc:`PublishFailed`: the record was surely not written.
        * :exc:`OutcomeUnknown`: the record may or may not have been written.
    * :exc:`StateError`: Redis refused or could not answer.
"""

from __future__ import annotations

from typing import TypeVar, cast


class GamebusError(Exception):
    """Root of all errors that gamebus raises on purpose."""


class ConfigurationError(GamebusError):
    """A person must change settings, a file or the command line; the message says what and how."""


class CatalogError(ConfigurationError):
    """The event catalog breaks a rule.

    Attributes:
        file: where the entry stands; "built-in" for the entries that gamebus carries.
        event_type: name of the type, or None when the rule is about a topic alone.
        topic: name of the topic, or None.
        rule: the rule that is broken, and what to do.
    """

    def __init__(self, rule: str, *, file: str, event_type: str | None = None, topic: str | None = None) -> None:
        self.file = file
        self.event_type = event_type
        self.topic = topic
        self.rule = rule
        where = [f"catalog {file}"]
        if event_type is not None:
            where.append(f"type {event_type!r}")
        if topic is not None:
            where.append(f"topic {topic!r}")
        super().__init__(f"{', '.join(where)}: {rule}")


class TopicError(ConfigurationError):
    """A topic on the brokers does not keep the contract of its delivery class."""


class StackError(ConfigurationError):
    """The local stack cannot run on this machine as it is; the message holds the command that mends it."""


class PayloadError(GamebusError):
    """The data of an event is not what its type allows (wire code `bad_data`).

    Attributes:
        rule: what the data must be, in words for the developer of a client.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        super().__init__(rule)


class RecordError(GamebusError):
    """Bytes read from Kafka are not a gamebus record: a poison record."""


class DeliveryError(GamebusError):
    """A publish did not end with `ok`."""


class PublishFailed(DeliveryError):
    """The record was surely not written; publishing it again cannot double it.

    Attributes:
        code: wire code for the `nack` (`overloaded`, `unavailable`, `too_large`).
        retry_ms: when another try is sensible, or None when none is.
    """

    def __init__(self, code: str, message: str, *, retry_ms: int | None) -> None:
        self.code = code
        self.retry_ms = retry_ms
        super().__init__(message)


class OutcomeUnknown(DeliveryError):
    """The record may or may not have been written; only a re-send under the same event id is safe."""


class StateError(GamebusError):
    """Redis refused or could not answer."""


_Error = TypeVar("_Error", bound=GamebusError)


def first_error(group: BaseExceptionGroup[_Error]) -> _Error:
    """What a task group was ended by, as the one error that it is for a caller."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return cast("_Error", error)
