"""Vitals and the timeline against a real server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from gamebus.settings import RedisSettings
from gamebus.state.connection import Connection, connect
from gamebus.state.timeline import TimelineState
from gamebus.state.vitals import TTL_MS, Vitals, VitalsState
from gamebus.state.vitals_reporter import VitalsReporter
from gamebus.telemetry.histogram import Distribution, Histogram
from gamebus.telemetry.metrics import Sample, StatisticsCollector, counter, histogram
from tests.redis_server import RedisServer

SAMPLES: dict[str, Sample] = {
    "gateway_connections": 3,
    "gateway_ack_seconds": Distribution(sum_s=1.5),
    "process_cpu_seconds_total": 0.5,
}
GATEWAY = Vitals(
    id="a1",
    role="gateway",
    host="here",
    pid=1,
    version="0",
    started_ms=1_000,
    at_ms=2_000_000,
    url="ws://here/v1",
    ops="http://here",
    samples=SAMPLES,
)


@dataclass(frozen=True, slots=True)
class GatewaySample:
    messages: int = counter("Messages.")
    ack_seconds: Distribution = histogram("Acks.")


class TestVitalsState:
    async def test_what_is_written_is_read(self, connection: Connection) -> None:
        """Numbers and distributions come back as they were, of every process."""
        state = VitalsState(connection)
        other = replace(GATEWAY, id="b2", role="processor-durable", samples={})
        await state.write(GATEWAY)
        await state.write(other)
        newer = replace(GATEWAY, at_ms=2_001_000)
        await state.write(newer)

        assert sorted(await state.read(), key=lambda vitals: vitals.id) == [newer, other]

    async def test_a_process_that_ends_in_order_is_gone_at_once(self, connection: Connection) -> None:
        """Nobody takes a planned stop for a death."""
        state = VitalsState(connection)
        await state.write(GATEWAY)
        await state.forget(GATEWAY.id)

        assert await state.read() == []

    async def test_the_dead_are_forgotten(self, connection: Connection) -> None:
        """The vitals expire, and their place in the index goes with the next ones of anybody."""
        state = VitalsState(connection)
        await state.write(GATEWAY)
        ttl_ms = await connection.execute("PTTL", connection.keys.shared("vitals", GATEWAY.id))
        assert 0 < ttl_ms <= TTL_MS
        await state.write(replace(GATEWAY, id="b2", at_ms=GATEWAY.at_ms + TTL_MS + 1))

        assert await connection.execute("ZRANGE", connection.keys.shared("vitals", "index"), 0, -1) == [b"b2"]


class TestTimeline:
    async def test_processes_add_up(self, connection: Connection) -> None:
        """A second is the sum of what all processes did in it, a minute that of its seconds."""
        timeline = TimelineState(connection)
        await timeline.add(600, {"messages": 5, "ack:3": 1})
        await timeline.add(600, {"messages": 2.5})
        await timeline.add(601, {"messages": 1})

        assert await timeline.seconds(599, 3) == [{}, {"messages": 7.5, "ack:3": 1}, {"messages": 1}]
        assert await timeline.minutes(10, 1) == [{"messages": 8.5, "ack:3": 1}]

    async def test_buckets_expire(self, connection: Connection) -> None:
        """Charts do not fill Redis."""
        timeline = TimelineState(connection)
        await timeline.add(600, {"messages": 5})

        for name in ("second", "minute"):
            key = connection.keys.shared(name, "600" if name == "second" else "10")
            assert 0 < await connection.execute("TTL", key) <= 3720


class TestVitalsReporter:
    async def test_it_reports_and_goes_on_after_an_outage(self, server: RedisServer) -> None:
        """Vitals and the share of the timeline are there within seconds, and again when Redis is back."""
        connection = connect(RedisSettings(url=server.url))
        acks = Histogram()
        collector = StatisticsCollector()
        collector.add("gateway", lambda: GatewaySample(messages=acks.snapshot().count, ack_seconds=acks.snapshot()))
        reporter = VitalsReporter(connection, id_="a1", role="gateway", ops="http://here", collector=collector)
        state = VitalsState(connection)
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(reporter.run())
            await asyncio.sleep(0)
            acks.observe(0.004)
            (vitals,) = await self.reported(state)
            assert vitals.samples["gateway_messages_total"] == 1
            assert isinstance(vitals.samples["process_resident_memory_bytes"], int)

            server.kill()
            server.start()
            minute = vitals.at_ms // 60_000
            buckets = await TimelineState(connection).minutes(minute, 2)
            assert {name: amount for bucket in buckets for name, amount in bucket.items()} == {
                "messages": 1,
                "ack:5": 1,
            }
            await connection.execute("FLUSHALL")
            assert await self.reported(state)
            running.cancel()
        await reporter.forget()
        assert await state.read() == []
        await connection.close()

    async def reported(self, state: VitalsState) -> list[Vitals]:
        while not (found := await state.read()):  # noqa: ASYNC110 - Redis sets no event of ours
            await asyncio.sleep(0.05)
        return found
