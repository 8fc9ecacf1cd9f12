"""The lines to the brokers that lead the realtime partitions, kept up in the background.

Each broker is dialled by a task of its own. A lost connection, a partition without a leader and the age of what is known make
the cluster be asked again, with back-off, and never by a caller of `publish`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog
from aiokafka.protocol.metadata import MetadataRequest

from gamebus.delivery.leaders import ClusterView, Leaders
from gamebus.delivery.realtime_connection import RealtimeConnection, backoff_s
from gamebus.errors import ConfigurationError, TopicError

_START_TIMEOUT_S: Final = 10.0
# Of start, for brokers that do not answer: one that hangs must not keep a gateway from serving the partitions of the others.
_CONNECT_TIMEOUT_S: Final = 2.0
_DRAIN_TIMEOUT_S: Final = 10.0  # an upper bound; callers have deadlines of their own
_METADATA_MAX_AGE_S: Final = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinesStatistics:
    """State of the lines; counts include lines that were given up."""

    brokers: int
    connected: int
    connects: int
    requests: int
    written_bytes: int
    buffered_bytes: int


class RealtimeLines:
    """Knows the line of every partition's leader.

    Args:
        partitions: partition count by topic, as the catalog says.
        on_ready: called when something may have become writable.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        partitions: Mapping[str, int],
        client_id: str,
        max_in_flight: int,
        stall_timeout_s: float,
        on_ready: Callable[[], None],
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._partitions = dict(partitions)
        self._client_id = client_id
        self._max_in_flight = max_in_flight
        self._stall_timeout_s = stall_timeout_s
        self._on_ready = on_ready
        self._leaders = Leaders(bootstrap_servers=bootstrap_servers, topics=partitions, client_id=client_id)
        self._view = ClusterView({}, {}, {})
        self._lines: dict[int, RealtimeConnection] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        # Set: ask the cluster again.
        self._stale = asyncio.Event()
        # Set: a line became ready, so asking may work now.
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Of lines that were given up.
        self._past = LinesStatistics(0, 0, 0, 0, 0, 0)

    def line(self, topic: str, partition: int) -> RealtimeConnection | None:
        """The line of the partition's leader, connected or not; None when no leader is known."""
        node = self._view.leaders.get((topic, partition))
        return None if node is None else self._lines[node]

    async def start(self) -> None:
        """Find the leaders and connect to them.

        Raises:
            TopicError: a topic is missing or has another partition count than expected.
            ConfigurationError: no broker answered in time.
        """
        view = await self._first_view()
        self._require_topics(view)
        self._task = asyncio.create_task(self._run(view), name="realtime-lines")
        await self._connected()

    async def follow(self, partitions: Mapping[str, int]) -> None:
        """Write to these topics from now on; returns when their leaders are connected, or after a while."""
        self._partitions = dict(partitions)
        self._leaders.follow(partitions)
        self._stale.set()
        await self._connected()

    async def watch(self) -> None:
        """Return when stopped.

        Raises:
            Exception: what ended the lines, which nothing here expects; nothing is written any more.
        """
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def drain(self) -> None:
        """Wait until the brokers have handled what was written so far, where they still answer."""
        question = MetadataRequest([], allow_auto_topic_creation=False)
        lines = [line for line in self._lines.values() if line.connected]
        await asyncio.gather(
            *(line.ask(question, timeout_s=_DRAIN_TIMEOUT_S) for line in lines), return_exceptions=True
        )

    async def stop(self) -> None:
        """Disconnect."""
        if self._task is not None:
            self._task.cancel()
            # What ended it by itself is told by `watch`.
            await asyncio.wait([self._task])

    @property
    def buffered_bytes(self) -> int:
        """Bytes given to transports that the kernel has not taken yet."""
        return sum(line.buffered_bytes for line in self._lines.values())

    def statistics(self) -> LinesStatistics:
        """Counters and gauges of this moment."""
        lines = self._lines.values()
        return LinesStatistics(
            brokers=len(lines),
            connected=sum(line.connected for line in lines),
            connects=self._past.connects + sum(line.connects for line in lines),
            requests=self._past.requests + sum(line.requests for line in lines),
            written_bytes=self._past.written_bytes + sum(line.written_bytes for line in lines),
            buffered_bytes=self.buffered_bytes,
        )

    async def _first_view(self) -> ClusterView:
        failures = 0
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while (view := await self._leaders.fetch()) is None:
                    failures += 1
                    await asyncio.sleep(backoff_s(failures))
        except TimeoutError:
            raise ConfigurationError(
                f"no Kafka broker of {self._bootstrap_servers} answered within {_START_TIMEOUT_S:.0f} s: start Kafka, or set "
                "GAMEBUS_KAFKA__BOOTSTRAP_SERVERS to a broker that runs"
            ) from None
        return view

    def _require_topics(self, view: ClusterView) -> None:
        for topic, expected in self._partitions.items():
            actual = view.partitions.get(topic)
            if actual is None:
                raise TopicError(f"topic {topic!r} does not exist: run `gamebus topics create`")
            if actual != expected:
                raise TopicError(
                    f"topic {topic!r} has {actual} partitions, the catalog says {expected}: rooms would be looked for in the "
                    "wrong partitions; set its partitions in gamebus.toml, and see `gamebus topics check`"
                )

    async def _run(self, view: ClusterView) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._follow(view, tasks)
            await self._keep_leaders(tasks)

    async def _keep_leaders(self, tasks: asyncio.TaskGroup) -> None:
        failures = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_METADATA_MAX_AGE_S):
                    await self._stale.wait()
            self._stale.clear()
            unconfirmed = [line for line in self._lines.values() if not line.confirmed]
            view = await self._leaders.fetch([line for line in self._lines.values() if line.connected])
            if view is not None:
                for line in unconfirmed:
                    line.confirmed = True
                self._follow(view, tasks)
                self._changed.set()
                self._on_ready()
            if self._complete():
                failures = 0
                continue
            failures += 1
            self._stale.set()
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff_s(failures)):
                    await self._changed.wait()

    async def _connected(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                while not self._complete():
                    self._changed.clear()
                    await self._changed.wait()

    def _complete(self) -> bool:
        """Whether every partition can be written."""
        leaders = self._view.leaders
        return len(leaders) == sum(self._partitions.values()) and all(
            (line := self._lines[node]).connected and line.confirmed for node in set(leaders.values())
        )

    def _follow(self, view: ClusterView, tasks: asyncio.TaskGroup) -> None:
        """Keep a line to every leader, and to no one else."""
        wanted = {node: view.brokers[node] for node in set(view.leaders.values())}
        for node, line in list(self._lines.items()):
            if wanted.get(node) != line.broker:
                self._give_up(node)
        for node, broker in wanted.items():
            if node not in self._lines:
                self._lines[node] = RealtimeConnection(
                    broker,
                    client_id=self._client_id,
                    max_in_flight=self._max_in_flight,
                    stall_timeout_s=self._stall_timeout_s,
                    on_ready=self._line_ready,
                    on_lost=self._stale.set,
                )
                self._tasks[node] = tasks.create_task(self._lines[node].run(), name=f"realtime-line-{node}")
        self._view = view

    def _give_up(self, node: int) -> None:
        line = self._lines.pop(node)
        self._tasks.pop(node).cancel()
        self._past = replace(
            self._past,
            connects=self._past.connects + line.connects,
            requests=self._past.requests + line.requests,
            written_bytes=self._past.written_bytes + line.written_bytes,
        )

    def _line_ready(self) -> None:
        self._changed.set()
        self._on_ready()
