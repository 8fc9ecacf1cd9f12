"""Wrong versions of our own code, one for each promise: a verification run has to find every one of them.

Applied in the watched processes of a run only (`GAMEBUS_TEST_MUTATIONS=tests.verify.mutations`), before the recorder is put around them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from gamebus.delivery import realtime_publisher
from gamebus.delivery.accounting import PartitionLedger
from gamebus.delivery.committer import Committer
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.realtime_assignment import RealtimeAssignment
from gamebus.delivery.realtime_committer import RealtimeCommitter
from gamebus.delivery.realtime_connection import RealtimeConnection
from gamebus.delivery.realtime_consumer import RealtimeConsumer
from gamebus.delivery.realtime_publisher import RealtimePublisher
from gamebus.delivery.watermark import Watermark
from gamebus.errors import PublishFailed
from gamebus.gateway.hub import Hub
from gamebus.gateway.room import Room
from gamebus.processors.durable_effects import DurableEffects
from gamebus.record import DurableRecord, encode_durable, encode_realtime
from gamebus.state.effects import Effect, EffectState

_OLD_S = 3.0
_REWIND = 200


class _Every:
    """True at every n-th call."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._calls = count(1)

    def __call__(self) -> bool:
        return next(self._calls) % self._n == 0


def _put(owner: Any, name: str, wrong: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: mutate what took its place"
    setattr(owner, name, wrong)


def duplicate_and_reordered() -> None:
    """Requests are written twice, and the consumer takes what it has seen, in the wrong order."""
    write, receive, take, again = RealtimeConnection.write, PartitionLedger.receive, RealtimeAssignment.take, _Every(10)

    def write_twice(self: RealtimeConnection, batches: Any) -> None:
        write(self, batches)
        if again():
            write(self, batches)

    def receive_all(self: PartitionLedger, records: Any, *, stale_before_ms: int) -> Any:
        receive(self, records, stale_before_ms=stale_before_ms)
        return list(records)

    def take_reversed(self: RealtimeAssignment, *arguments: Any, **options: Any) -> Any:
        batch = take(self, *arguments, **options)
        batch.records.reverse()
        return batch

    _put(RealtimeConnection, "write", write_twice)
    _put(PartitionLedger, "receive", receive_all)
    _put(RealtimeAssignment, "take", take_reversed)


def processed_before_committed() -> None:
    """Some batches are processed without their commit."""
    commit, skipped = RealtimeCommitter.commit, _Every(10)

    async def commit_most(self: RealtimeCommitter, consumer: Any, offsets: Any) -> bool:
        return True if skipped() else await commit(self, consumer, offsets)

    _put(RealtimeCommitter, "commit", commit_most)


def redelivered_after_commit() -> None:
    """A new owner of a partition begins before the committed offset."""
    load = RealtimeConsumer._load

    async def load_earlier(self: RealtimeConsumer, consumer: Any, assigned: Any) -> RealtimeAssignment:
        assignment = await load(self, consumer, assigned)
        for tp in assigned:
            partition = assignment._partitions[tp]
            partition.position = max(0, partition.position - _REWIND)
            consumer.seek(tp, partition.position)
        return assignment

    _put(RealtimeConsumer, "_load", load_earlier)


def stale_delivered() -> None:
    """A gateway shows positions of some seconds ago."""
    on_realtime, replayed = Hub.on_realtime, _Every(20)
    kept: list[tuple[float, str, int, Any]] = []

    def show_old(self: Hub, topic: str, partition: int, records: Any) -> None:
        now = time.monotonic()
        kept.append((now, topic, partition, records))
        on_realtime(self, topic, partition, records)
        if replayed() and now - kept[0][0] > _OLD_S:
            self._max_age_ms = 3_600_000
            on_realtime(self, *kept.pop(0)[1:])

    _put(Hub, "on_realtime", show_old)


def blocked_publish() -> None:
    """Some calls of publish wait."""
    publish, waits = RealtimePublisher.publish, _Every(200)

    def publish_slowly(self: RealtimePublisher, *arguments: Any) -> Any:
        if waits():
            time.sleep(0.15)
        return publish(self, *arguments)

    _put(RealtimePublisher, "publish", publish_slowly)


def unaccounted() -> None:
    """The publisher reports less than it attempted."""
    stream_reports = RealtimePublisher.stream_reports

    def report_less(self: RealtimePublisher) -> Any:
        return [replace(report, seq=report.seq - 1) for report in stream_reports(self) if report.seq > 1]

    _put(RealtimePublisher, "stream_reports", report_less)


def mixed_class() -> None:
    """Some durable events go into a topic of the other class."""
    encode, mixed = encode_realtime, _Every(50)

    def encode_either(type_: str, room: str, player: str, server_ms: int, boot: str, seq: int, data: Any) -> bytes:
        if mixed():
            return encode_durable(DurableRecord("chat", room, player, server_ms, player, f"mixed-{seq}", {"text": "x"}))
        return encode(type_, room, player, server_ms, boot, seq, data)

    _put(realtime_publisher, "encode_realtime", encode_either)


def lost_acked_and_committed_before_processed() -> None:
    """Some events have no effect; some take long, and the watermark does not wait for them."""
    handle, lost, slow = DurableEffects.handle, _Every(40), _Every(15)

    async def handle_most(self: DurableEffects, room: str, records: Any) -> None:
        if slow():
            await asyncio.sleep(2.5)
        if not lost():
            await handle(self, room, records)

    _put(DurableEffects, "handle", handle_most)
    _put(Watermark, "committable", property(lambda self: self.next))


def applied_twice_and_phantom() -> None:
    """Some effects happen again, under a name that nobody used."""
    apply, again = EffectState.apply, _Every(20)

    async def apply_twice(
        self: EffectState, room: str, topic: str, partition: int, effects: Sequence[Effect]
    ) -> list[bool]:
        outcome = await apply(self, room, topic, partition, effects)
        if again():
            effect = effects[-1]
            other = replace(effect.record, id=f"{effect.record.id}-again")
            await apply(
                self, room, topic, partition, [replace(effect, record=other, offset=effect.offset + 10_000_000)]
            )
        return outcome

    _put(EffectState, "apply", apply_twice)


def failed_but_applied_and_reordered_in_room() -> None:
    """Some publishes are reported as failed after they were written; some are held back while later ones pass."""
    publish, fails, held = DurablePublisher.publish, _Every(40), _Every(7)

    def publish_wrongly(self: DurablePublisher, topic: str, key: bytes, value: bytes, headers: Any = ()) -> Any:
        if topic.endswith(("reports", "dlq")):
            return publish(self, topic, key, value, headers)
        return asyncio.ensure_future(later(self, topic, key, value, fail=fails(), hold=held()))

    async def later(self: DurablePublisher, topic: str, key: bytes, value: bytes, *, fail: bool, hold: bool) -> Any:
        if hold:
            await asyncio.sleep(1.2)
        written = await publish(self, topic, key, value)
        if fail:
            raise PublishFailed("unavailable", "mutation", retry_ms=None)
        return written

    _put(DurablePublisher, "publish", publish_wrongly)


def delivered_twice_and_gap_delivered() -> None:
    """Some events go to the clients of a room twice, some not at all."""
    publish, twice, never = Room.publish, _Every(25), _Every(30)

    def publish_unevenly(self: Room, event: Any) -> int:
        if never():
            return 0
        frames = publish(self, event)
        return frames + publish(self, event) if twice() else frames

    _put(Room, "publish", publish_unevenly)


def commit_moved_back() -> None:
    """Some commits are followed by one of an earlier offset."""
    commit, back = Committer._commit, _Every(4)

    async def commit_back(self: Committer, due: dict[Any, int]) -> None:
        await commit(self, due)
        if back():
            await self._consumer.commit({tp: max(0, offset - 3) for tp, offset in due.items()})

    _put(Committer, "_commit", commit_back)


def apply() -> None:
    """All of them at once: those of one class do not hide those of the other."""
    duplicate_and_reordered()
    processed_before_committed()
    redelivered_after_commit()
    stale_delivered()
    blocked_publish()
    unaccounted()
    mixed_class()
    lost_acked_and_committed_before_processed()
    applied_twice_and_phantom()
    failed_but_applied_and_reordered_in_room()
    delivered_twice_and_gap_delivered()
    commit_moved_back()
