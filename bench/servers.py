"""Servers and contestants of a bench: a real Kafka and Redis in a folder of their own, and child processes that measure themselves."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Collection, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import psutil
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from gamebus.catalog import Catalog
from gamebus.catalog_file import parse_catalog
from gamebus.delivery.topics import create_topics
from gamebus.localstack.stack import Stack, StackAddresses
from gamebus.telemetry.logs import configure_logging

SECRET: Final = "bench-" * 8
"""Of the tokens that a gateway under test takes."""


@contextmanager
def servers(*, brokers: int = 1) -> Iterator[StackAddresses]:
    """Kafka and Redis until the block ends; they die with this process."""
    with tempfile.TemporaryDirectory(prefix="gamebus-bench-") as folder:
        stack = Stack(Path(folder) / "stack", brokers=brokers, kafka_ports=(0, 0, 0), redis_port=0)
        try:
            yield stack.up(foreground=True)
        finally:
            stack.wipe()


def environment(addresses: StackAddresses, prefix: str) -> dict[str, str]:
    """Settings of a gateway with topics of its own, which lets clients in as fast as they come: that is no part of most benches."""
    return os.environ | {
        "GAMEBUS_KAFKA__BOOTSTRAP_SERVERS": addresses.kafka,
        "GAMEBUS_KAFKA__TOPIC_PREFIX": prefix,
        "GAMEBUS_REDIS__URL": addresses.redis,
        "GAMEBUS_AUTH__SECRET": SECRET,
        "GAMEBUS_GATEWAY__HELLO_PER_SECOND": "1e6",
        "GAMEBUS_GATEWAY__HELLO_BURST": "1000000",
        "GAMEBUS_LOG__LEVEL": "warning",
    }


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module."""
    return [sys.executable, "-m", name, *arguments]


@contextmanager
def running(
    command: list[str], env: Mapping[str, str], *, cpus: Collection[int] | None = None
) -> Iterator[tuple[psutil.Process, str]]:
    """A server until the block ends; its process and the first line that it prints.

    Args:
        cpus: that it may use, and nothing else of it.
    """
    with ExitStack() as stack:
        with on_cpus(cpus):
            process = stack.enter_context(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
        stack.callback(process.terminate)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(command)} ended before it was ready")
        yield psutil.Process(process.pid), line


@contextmanager
def on_cpus(cpus: Collection[int] | None) -> Iterator[None]:
    """What is started within the block runs on these CPUs only; None: wherever this process may."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if cpus is None else cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def contestant(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a module of this package as a process; what it printed as JSON in its last line."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], env=env, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_contestant(work: Coroutine[Any, Any, None]) -> None:
    """The main program of such a process: what it prints is its result, its logs go to standard error."""
    configure_logging(level="warning", format_="json", role="bench")
    uvloop.run(work)


def new_prefix() -> str:
    """A prefix of topics that nobody used before, so that a contestant's records can be counted."""
    return f"b{secrets.token_hex(4)}."


def catalog_of(prefix: str, *types: str) -> Catalog:
    """The built-in catalog with these types only, and its own topics."""
    catalog = parse_catalog(topic_prefix=prefix)
    kept = {name: catalog.types[name] for name in types}
    topics = {event_type.topic for event_type in kept.values()} | {catalog.reports_topic, catalog.dead_letter_topic}
    return replace(
        catalog,
        types=MappingProxyType(kept),
        topics=MappingProxyType({name: catalog.topics[name] for name in sorted(topics)}),
    )


async def create(bootstrap_servers: str, catalog: Catalog) -> None:
    """Create the topics and wait until their leaders know that they lead: before that, acks=0 records are lost."""
    await create_topics(bootstrap_servers, catalog)
    await end_offsets(bootstrap_servers, {name: topic.partitions for name, topic in catalog.topics.items()})


async def end_offsets(bootstrap_servers: str, partitions: Mapping[str, int]) -> dict[TopicPartition, int]:
    """Where the partitions end, as their leaders say."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        wanted = [TopicPartition(topic, index) for topic, count in partitions.items() for index in range(count)]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(wanted)
        return ends
    finally:
        await consumer.stop()
