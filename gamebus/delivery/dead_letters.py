"""Dead letters: records of at-least-once topics that their handler cannot process, kept with the reason.

A dead letter is a record of the dead-letter topic: the value of the source record as it was, and headers that say where it came
from, which event it is and what was wrong. A replay publishes that value to its source topic again, so the event keeps its id,
and then writes a marker beside the dead letter: a durable note that names it, because records of Kafka cannot be changed. To
discard a letter is to write such a note and nothing else: the letter stays until the topic's retention takes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from gamebus.delivery.durable_publisher import MAX_RECORD_BYTES, DurablePublisher
from gamebus.delivery.partition_work import KafkaRecord
from gamebus.delivery.tail import Tail
from gamebus.delivery.topics import partition_counts
from gamebus.errors import DeliveryError, RecordError
from gamebus.record import DurableRecord, decode_durable

_log = structlog.get_logger(__name__)

_TOPIC: Final = "gamebus.topic"
_PARTITION: Final = "gamebus.partition"
_OFFSET: Final = "gamebus.offset"
_KEY: Final = "gamebus.key"
_ERROR: Final = "gamebus.error"
_EVENT: Final = "gamebus.event"
_TRUNCATED: Final = "gamebus.truncated"
_REPLAYED: Final = "gamebus.replayed"
_DISCARDED: Final = "gamebus.discarded"

_MAX_ERROR_CHARACTERS: Final = 1_000
# Values of gamebus are at most 64 KB; a larger one was written by something else and is kept as far as a record goes.
_MAX_VALUE_BYTES: Final = MAX_RECORD_BYTES - 65_536
_RETRY_S: Final = (0.1, 0.5, 1.0, 5.0)
_SINCE_EVER_MS: Final = 2**53


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as it stands in its topic.

    Attributes:
        partition, offset: of the dead letter itself; together they are its name.
        dead_ms: when it was written.
        event: `publisher/id`, or None when the value is not a record.
        truncated: the value is the beginning of a larger one and cannot be replayed.
        replayed_ms: when it was last replayed, or None.
        discarded_ms: when it was last discarded, or None.
    """

    partition: int
    offset: int
    dead_ms: int
    source_topic: str
    source_partition: int
    source_offset: int
    event: str | None
    error: str
    key: bytes
    value: bytes
    truncated: bool
    replayed_ms: int | None
    discarded_ms: int | None

    @property
    def name(self) -> str:
        """`partition/offset`, as the command line takes it."""
        return f"{self.partition}/{self.offset}"

    @property
    def pending(self) -> bool:
        """Whether nobody has dealt with it: neither replayed nor discarded."""
        return self.replayed_ms is None and self.discarded_ms is None

    @property
    def record(self) -> DurableRecord | None:
        """The event; None when the value is not one, which may be why it is here."""
        try:
            return decode_durable(self.value)
        except RecordError:
            return None


class DeadLetters:
    """Writes dead letters.

    Args:
        publisher: a publisher whose topics include `topic`.
        topic: the dead-letter topic of the catalog.
    """

    def __init__(self, publisher: DurablePublisher, topic: str) -> None:
        self._publisher = publisher
        self._topic = topic

    async def write(self, record: KafkaRecord, error: Exception) -> None:
        """Write a dead letter; returns when all in-sync replicas have it, however long that takes.

        It may be written more than once: after an unknown outcome it is written again.
        """
        value = record.value or b""
        headers = [
            (_TOPIC, record.topic.encode()),
            (_PARTITION, str(record.partition).encode()),
            (_OFFSET, str(record.offset).encode()),
            (_KEY, record.key or b""),
            (_ERROR, f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARACTERS].encode(errors="replace")),
        ]
        event = _event(value)
        if event is not None:
            headers.append((_EVENT, event.encode()))
        if len(value) > _MAX_VALUE_BYTES:
            headers.append((_TRUNCATED, str(len(value)).encode()))
            value = value[:_MAX_VALUE_BYTES]
        failures = 0
        while True:
            try:
                await self._publisher.publish(self._topic, _letter_key(record.topic, record.partition), value, headers)
            except DeliveryError as failure:
                _log.warning("dead_letter.delayed", topic=record.topic, offset=record.offset, error=str(failure))
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
            else:
                _log.error(
                    "record.dead_lettered",
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    event_id=event,
                    error=str(error),
                )
                return


async def read_dead_letters(bootstrap_servers: str, topic: str) -> list[DeadLetter]:
    """All dead letters that the topic keeps, oldest first, each with what its markers say.

    Raises:
        TopicError: the topic does not exist.
        ConfigurationError: no broker answers.
    """
    letters: dict[tuple[int, int], KafkaRecord] = {}
    marks: dict[str, dict[str, int]] = {_REPLAYED: {}, _DISCARDED: {}}

    def on_records(_: str, partition: int, records: Sequence[KafkaRecord]) -> None:
        for record in records:
            headers = dict(record.headers)
            marker = next((marker for marker in marks if marker in headers), None)
            if marker is None:
                letters[partition, record.offset] = record
            else:
                marks[marker][headers[marker].decode(errors="replace")] = record.timestamp

    counts = await partition_counts(bootstrap_servers, [topic])
    tail = Tail(
        bootstrap_servers=bootstrap_servers, partitions=counts, on_records=on_records, start_back_ms=_SINCE_EVER_MS
    )
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(tail.run())
        await tail.caught_up.wait()
        reading.cancel()
    found = [_letter(record, marks[_REPLAYED], marks[_DISCARDED]) for record in letters.values()]
    return sorted(found, key=lambda letter: (letter.dead_ms, letter.partition, letter.offset))


async def replay(publisher: DurablePublisher, topic: str, letter: DeadLetter, *, force: bool = False) -> None:
    """Publish the event of a dead letter to its source topic again, and mark the letter replayed.

    After a crash in between the letter is unmarked and may be replayed again: the event keeps its id, so its effect does not
    happen twice, unless the event is older than the window of ids (an hour).

    Raises:
        DeliveryError: :func:`why_not_replayed` says why not, or publishing did not end with an acknowledgement; the letter
            stays unmarked.
    """
    refusal = why_not_replayed(letter, force=force)
    if refusal is not None:
        raise DeliveryError(refusal)
    await publisher.publish(letter.source_topic, letter.key, letter.value)
    await _mark(publisher, topic, letter, _REPLAYED)


async def discard(publisher: DurablePublisher, topic: str, letter: DeadLetter) -> None:
    """Mark a dead letter discarded: somebody has decided that its event shall not have its effect.

    Nothing is deleted: the letter is kept as long as its topic keeps it, can be shown, and can be replayed by force.

    Raises:
        DeliveryError: :func:`why_not_discarded` says why not, or the marker was not acknowledged; it may be written then.
    """
    refusal = why_not_discarded(letter)
    if refusal is not None:
        raise DeliveryError(refusal)
    await _mark(publisher, topic, letter, _DISCARDED)


def why_not_replayed(letter: DeadLetter, *, force: bool) -> str | None:
    """Why this letter is not replayed, in words for an operator; None when it can be."""
    if letter.truncated:
        return f"dead letter {letter.name} holds only a part of its record"
    if letter.replayed_ms is not None and not force:
        return f"dead letter {letter.name} was replayed before; --force does it again"
    if letter.discarded_ms is not None and not force:
        return f"dead letter {letter.name} was discarded; --force replays it all the same"
    return None


def why_not_discarded(letter: DeadLetter) -> str | None:
    """Why there is nothing to discard, in words for an operator; None when there is."""
    if letter.discarded_ms is not None:
        return f"dead letter {letter.name} was discarded before"
    if letter.replayed_ms is not None:
        return f"dead letter {letter.name} was replayed: its event is back in its topic, there is nothing to discard"
    return None


async def _mark(publisher: DurablePublisher, topic: str, letter: DeadLetter, marker: str) -> None:
    key = _letter_key(letter.source_topic, letter.source_partition)
    text = f"{marker} {letter.name} at {int(time.time() * 1000)}"
    await publisher.publish(topic, key, text.encode(), [(marker, letter.name.encode())])


def _letter_key(topic: str, partition: int) -> bytes:
    # Letters of one source partition stay in order, and retention, which goes by partition, takes a marker after its letter.
    return f"{topic}/{partition}".encode()


def _letter(record: KafkaRecord, replays: Mapping[str, int], discards: Mapping[str, int]) -> DeadLetter:
    headers = dict(record.headers)
    name = f"{record.partition}/{record.offset}"
    event = headers.get(_EVENT)
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        dead_ms=record.timestamp,
        source_topic=headers.get(_TOPIC, b"").decode(errors="replace"),
        source_partition=int(headers.get(_PARTITION, b"-1")),
        source_offset=int(headers.get(_OFFSET, b"-1")),
        event=None if event is None else event.decode(errors="replace"),
        error=headers.get(_ERROR, b"").decode(errors="replace"),
        key=headers.get(_KEY, b""),
        value=record.value or b"",
        truncated=_TRUNCATED in headers,
        replayed_ms=replays.get(name),
        discarded_ms=discards.get(name),
    )


def _event(value: bytes) -> str | None:
    try:
        return decode_durable(value).identity
    except RecordError:
        return None
