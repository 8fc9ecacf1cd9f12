"""The idempotent producer that is in use, and its replacement when a partition is poisoned.

Guarantees: there is a producer from the start to the end; one that was replaced is ended once its batches have landed, or after
`request_timeout_ms`, and writes nothing afterwards. Not guaranteed: that a producer lives for long. Whoever sends with it looks at its
number, see :class:`~gamebus.delivery.durable_publisher.DurablePublisher`.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from gamebus.delivery.idempotent_producer import IdempotentProducer
from gamebus.errors import TopicError

_log = structlog.get_logger(__name__)

RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses after failures in a row, the last one for all that follow."""

_Refusals = tuple[type[Exception], ...]


class ProducerSupervisor:
    """Builds producers, one after the other.

    Args:
        topics: that a producer must find; may be set anew.
        batch_bytes: as :class:`IdempotentProducer`.
    """

    def __init__(
        self,
        topics: tuple[str, ...],
        *,
        bootstrap_servers: str,
        client_id: str,
        request_timeout_ms: int,
        batch_bytes: int,
    ) -> None:
        self.topics = topics
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._request_timeout_ms = request_timeout_ms
        self._batch_bytes = batch_bytes
        self._built = 0
        self._current: IdempotentProducer | None = None
        self._wanted = asyncio.Event()
        # Set, and made anew, whenever a producer takes over.
        self._replaced = asyncio.Event()

    @property
    def current(self) -> IdempotentProducer:
        """The producer in use, after :meth:`start`."""
        assert self._current is not None, "start() builds the first one"
        return self._current

    @property
    def rebuilds(self) -> int:
        """Producers that replaced a failed one."""
        return max(0, self._built - 1)

    async def start(self) -> dict[str, int]:
        """Build the first one, waiting for brokers that are down; the number of partitions of each topic.

        Raises:
            TopicError: a topic does not exist.
        """
        self._current, counts = await self._build(retry_on=(KafkaError, TimeoutError))
        return counts

    def replace(self) -> None:
        """The current producer failed a partition: build another."""
        self._wanted.set()

    async def replaced(self) -> None:
        """Wait until the current producer is another."""
        await self._replaced.wait()

    async def refresh_metadata(self) -> None:
        """Ask the brokers who leads which partition of the topics; nothing before the start.

        Raises:
            KafkaError: none of them answered.
        """
        if self._current is not None:
            await self._current.refresh_metadata(self.topics)

    async def run(self) -> None:
        """Replace the producer when that is asked for, until cancelled."""
        async with asyncio.TaskGroup() as retirements:
            while True:
                await self._wanted.wait()
                old = self.current
                producer, _ = await self._build(retry_on=(KafkaError, TimeoutError, TopicError))
                # What failed meanwhile failed on the old one.
                self._wanted.clear()
                self._current = producer
                replaced, self._replaced = self._replaced, asyncio.Event()
                replaced.set()
                _log.info("producer.replaced", number=producer.number)
                retirements.create_task(self._retire(old))

    async def abort(self) -> None:
        """End the current producer now: nothing is written after this returns."""
        if self._current is not None:
            await self._current.abort()

    async def _retire(self, producer: IdempotentProducer) -> None:
        try:
            async with asyncio.timeout(self._request_timeout_ms / 1000):
                await producer.idle()
        except TimeoutError:
            pass
        finally:
            await producer.abort()

    async def _build(self, *, retry_on: _Refusals) -> tuple[IdempotentProducer, dict[str, int]]:
        failures = 0
        while True:
            self._built += 1
            producer = IdempotentProducer(
                number=self._built,
                bootstrap_servers=self._bootstrap_servers,
                client_id=self._client_id,
                request_timeout_ms=self._request_timeout_ms,
                batch_bytes=self._batch_bytes,
            )
            started = False
            try:
                async with asyncio.timeout(self._request_timeout_ms / 1000 * 3):
                    counts = await producer.start(self.topics)
                started = True
            except retry_on as error:
                failures += 1
                _log.warning("producer.start_failed", error=str(error), failures=failures)
            else:
                return producer, counts
            finally:
                if not started:
                    await producer.abort()
            await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S)) - 1])
