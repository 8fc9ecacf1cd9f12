"""The log of the catalog's generations: one partition of Kafka, written with acks=all, kept for ever.

Guarantees: a generation that :func:`append` returned from is in the log, and of two writers at once one is told that it lost; a
:class:`GenerationFollower` tells its process of every generation, in order, as long as Kafka answers.

Not guaranteed: that processes follow at the same moment. Who must know that all have followed asks for their reports
(:mod:`gamebus.delivery.reports` carries the generation of each gateway).

Kafka and not Redis: a Redis that comes back older would take a switch back, and events of both classes would meet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from aiokafka import ConsumerRecord

from gamebus.catalog import Catalog
from gamebus.delivery.durable_publisher import DurablePublisher
from gamebus.delivery.tail import Tail
from gamebus.delivery.topics import partition_counts
from gamebus.errors import CatalogError, ConfigurationError, DeliveryError, RecordError, TopicError
from gamebus.generations import Generation, Log, decode_generation, encode_generation, overlay
from gamebus.settings import DurableProducerSettings

_KEY: Final = b"catalog"
_SINCE_EVER_MS: Final = 1 << 60
_START_TIMEOUT_S: Final = 30.0
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)

log = structlog.get_logger(__name__)

Follow = Callable[[Catalog], Awaitable[None]]
"""Brings a process to a generation of the catalog. Called again until it returns: it may stop half-way and raise."""


class _Reader:
    """Reads the log from its beginning, as far as it can be read."""

    def __init__(self, bootstrap_servers: str, topic: str, *, client_id: str) -> None:
        self.log = Log()
        self.fault: ConfigurationError | None = None
        """Why nothing more can be read: what follows may build on what was not understood."""

        self.grown = asyncio.Event()
        self.tail = Tail(
            bootstrap_servers=bootstrap_servers,
            partitions={topic: 1},
            on_records=self._on_records,
            start_back_ms=_SINCE_EVER_MS,
            client_id=client_id,
        )

    def _on_records(self, topic: str, _partition: int, records: Sequence[ConsumerRecord[bytes, bytes]]) -> None:
        for record in records:
            if self.fault is not None:
                return
            try:
                self.log = self.log.take(decode_generation(record.value))
            except RecordError as error:
                self.fault = ConfigurationError(
                    f"topic {topic}, offset {record.offset}: {error}; where events go cannot be known"
                )
        if self.fault is not None:
            log.error("generations.unreadable", error=str(self.fault))
        self.grown.set()


async def read_log(bootstrap_servers: str, topic: str, *, patient: bool = True) -> Log:
    """The log as it stands.

    Args:
        patient: whether brokers that are down are waited for; a command with a person in front of it rather says so at once.
    Raises:
        TopicError: the topic does not exist.
        ConfigurationError: no broker answered in time, or the log cannot be read.
    """
    reader = _Reader(bootstrap_servers, topic, client_id="gamebus-generations")
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            await _wait_for_topic(bootstrap_servers, topic, patient=patient)
            await _read(reader)
    except TimeoutError:
        raise ConfigurationError(
            f"no Kafka broker at {bootstrap_servers} answered within {_START_TIMEOUT_S:g} s: start it, or set "
            "GAMEBUS_KAFKA__BOOTSTRAP_SERVERS"
        ) from None
    if reader.fault is not None:
        raise reader.fault
    return reader.log


async def _read(reader: _Reader) -> None:
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(reader.tail.run())
        await reader.tail.caught_up.wait()
        reading.cancel()


async def current_catalog(bootstrap_servers: str, base: Catalog, *, command: bool = False) -> Catalog:
    """The catalog of a file at the last generation: what a process must begin with.

    Args:
        command: for a command that answers and ends: it does not wait for brokers, and a log that is missing is empty to it.
    Raises:
        CatalogError: the file contradicts the log.
        TopicError: there is no log.
        ConfigurationError: the log cannot be read.
    """
    try:
        return overlay(base, await read_log(bootstrap_servers, base.log_topic, patient=not command))
    except TopicError:
        if not command:
            raise
        return base


async def append(bootstrap_servers: str, topic: str, generation: Generation) -> Log:
    """Write a generation; returns the log with it.

    Raises:
        ConfigurationError: another writer was faster, or the log could not be written.
    """
    publisher = DurablePublisher(
        bootstrap_servers=bootstrap_servers,
        settings=DurableProducerSettings(),
        topics=[topic],
        client_id="gamebus-generations",
    )
    await publisher.start()
    try:
        await publisher.publish(topic, _KEY, encode_generation(generation))
    except DeliveryError as error:
        raise ConfigurationError(
            f"the step {generation.step!s} may or may not be in the log of generations ({error}): run the command again"
        ) from error
    finally:
        await publisher.stop()
    now = await read_log(bootstrap_servers, topic)
    taken = now.migrations.get(generation.event_type)
    if taken is None or (taken.number, taken.step, taken.at_ms) != (
        generation.number,
        generation.step,
        generation.at_ms,
    ):
        raise ConfigurationError("somebody else migrates at this moment: see `gamebus migrate --status`")
    return now


class GenerationFollower:
    """Keeps a running process at the last generation.

    A generation that contradicts the process's file is not followed, and a log that cannot be read is followed no further. The
    process goes on as it is and says so in its log. That is safe: no step that needs it is taken before it has followed, and the
    topic that it publishes to is read until it has. It could not start again, though.

    Args:
        base: the catalog of the file.
        generation: at which the process was started.
        follow: brings the process to a later one.
    """

    def __init__(self, *, bootstrap_servers: str, base: Catalog, generation: int, follow: Follow) -> None:
        self._base = base
        self._follow = follow
        self._reader = _Reader(bootstrap_servers, base.log_topic, client_id="gamebus-generations")
        self.generation = generation
        """To which the process was brought."""
        self.current = asyncio.Event()
        """Set when the process is at the last generation that the log held when this began."""

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reader.tail.run(), name="generations-tail")
            await self._reader.tail.caught_up.wait()
            while True:
                self._reader.grown.clear()
                if self._reader.log.number > self.generation:
                    await self._bring()
                self.current.set()
                await self._reader.grown.wait()

    async def _bring(self) -> None:
        failures = 0
        while True:
            generation = self._reader.log.number
            try:
                await self._follow(overlay(self._base, self._reader.log))
            except CatalogError as error:
                log.warning("generation.refused", generation=generation, error=str(error))
                return
            except ConfigurationError as error:
                log.warning("generation.delayed", generation=generation, error=str(error))
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
            else:
                self.generation = generation
                log.info("generation.followed", generation=generation)
                return


async def _wait_for_topic(bootstrap_servers: str, topic: str, *, patient: bool) -> None:
    failures = 0
    while True:
        try:
            await partition_counts(bootstrap_servers, [topic])
        except TopicError:
            raise
        except ConfigurationError:
            if not patient:
                raise
            await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
            failures += 1
        else:
            return
