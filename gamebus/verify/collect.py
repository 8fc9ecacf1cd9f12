"""What a run left behind: every record in Kafka, every effect in Redis, every account; for the end of a history.

Read with aiokafka and plain msgpack, not with the decoders of the code under test: a record counts as what its bytes say.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import msgpack
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.settings import RedisSettings
from gamebus.state.audit import AuditState
from gamebus.state.combat import CombatState
from gamebus.state.connection import connect
from gamebus.state.ledger import LedgerState
from gamebus.verify import footsteps
from gamebus.verify.history import Effect, Event, Ledger, Logged, Processed

_READ_TIMEOUT_S: Final = 60.0


Aliases = Mapping[tuple[str, str], str]
"""`(publisher, id in Kafka)` of a footstep to which a gateway gave an id, and by what it is known here."""


async def collect_records(bootstrap_servers: str, *catalogs: Catalog) -> tuple[list[Logged], Aliases]:
    """Every record of the event topics of all these catalogs, from the beginning to the end of this moment."""
    topics = {
        topic.name: topic.partitions
        for catalog in catalogs
        for delivery in DeliveryClass
        for topic in catalog.event_topics(delivery)
    }
    partitions = [TopicPartition(name, index) for name, count in topics.items() for index in range(count)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign(partitions)
        beginnings = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        unread = {tp for tp in partitions if beginnings[tp] < ends[tp]}
        logged: list[Logged] = []
        aliases: dict[tuple[str, str], str] = {}
        async with asyncio.timeout(_READ_TIMEOUT_S):
            while unread:
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    logged += (event for record in records if (event := _logged(record, aliases)) is not None)
                    if records[-1].offset + 1 >= ends[tp]:
                        unread.discard(tp)
        return logged, aliases
    finally:
        await consumer.stop()


def _logged(record: ConsumerRecord[bytes, bytes], aliases: dict[tuple[str, str], str]) -> Logged | None:
    """An event by its bytes: the seventh field of a realtime record is a number, that of a durable one an id."""
    try:
        _, type_, room, player, _, publisher, name, data = msgpack.unpackb(record.value or b"")
    except (ValueError, TypeError):
        return None
    place = (record.topic, record.partition, record.offset)
    if isinstance(name, str):
        if type_ == footsteps.TYPE:
            aliases[publisher, name] = name = footsteps.footstep_id(publisher, data)
        return Logged(*place, "durable", room, publisher, name)
    if type_ == footsteps.TYPE:
        return Logged(*place, "realtime", room, player, footsteps.footstep_id(player, data))
    if type_ != "position":
        return None
    return Logged(*place, "realtime", room, player, str(data[0]))


async def collect_effects(
    settings: RedisSettings, catalog: Catalog, rooms: Iterable[str], aliases: Aliases = MappingProxyType({})
) -> list[Effect]:
    """What Redis holds of every durable event of `rooms`.

    A kill names a killer of its own, so its row in the score table counts its effects. For the other types the number of all
    effects of a room is compared with that of its identities; what is above is laid to one of them.
    """
    connection = connect(settings)
    try:
        audits, combat = AuditState(connection, catalog), CombatState(connection)
        effects: list[Effect] = []
        for room in rooms:
            audit, scores = await audits.read(room), await combat.scores(room)
            counts = Counter(dict.fromkeys(audit.identities, 1))
            surplus = audit.duplicates_applied
            for identity in audit.identities:
                killer = scores.get(killer_of(identity.partition("/")[2]))
                if killer is not None and killer.kills != 1:
                    counts[identity] = killer.kills
                    surplus -= killer.kills - 1
            if surplus > 0:
                counts[min(audit.identities)] += surplus
            known: Counter[tuple[str, str]] = Counter()
            for identity, count in counts.items():
                client, _, id_ = identity.partition("/")
                known[client, aliases.get((client, id_), id_)] += count
            effects += (Effect(room, client, id_, count) for (client, id_), count in known.items())
        return effects
    finally:
        await connection.close()


def killer_of(id_: str) -> str:
    """The killer that the kill with this id names."""
    return f"k-{id_}"


async def collect_ledgers(settings: RedisSettings, catalog: Catalog, boots: Sequence[str]) -> list[Ledger]:
    """The account of every stream of these processes, as operators are shown it."""
    connection = connect(settings)
    try:
        topics = {topic.name: topic.partitions for topic in catalog.event_topics(DeliveryClass.AT_MOST_ONCE)}
        rows = await LedgerState(connection).read(topics)
    finally:
        await connection.close()
    at = time.monotonic()
    return [
        Ledger(
            row.boot,
            row.topic,
            row.partition,
            row.attempted,
            row.processed,
            sum(row.dropped.values()),
            row.lost_on_wire,
            row.dropped_on_failed_commit,
            row.lost_in_crash,
            row.skipped,
            row.unknown,
            row.ended,
            at,
        )
        for row in rows
        if row.boot in boots
    ]


def place(events: Iterable[Event], logged: Sequence[Logged]) -> Iterator[Event]:
    """The events with the place of each processed position filled in, which its handler was not told."""
    places: Mapping[tuple[str, str], Logged] = {
        (record.client, record.id): record for record in logged if record.delivery == "realtime"
    }
    for event in events:
        if isinstance(event, Processed) and event.delivery == "realtime":
            found: Any = places.get((event.client, event.id))
            if found is not None:
                yield replace(event, topic=found.topic, partition=found.partition, offset=found.offset)
                continue
        yield event
