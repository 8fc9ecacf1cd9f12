"""The local stack with its real servers: `gamebus stack` and what the tests of faults count on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from gamebus.localstack.process import identify
from gamebus.localstack.stack import Stack
from tests.integration.topics_kit import create_topic

NewStack = Callable[..., Stack]


def servers_of(folder: Path) -> list[psutil.Process]:
    """Processes of this machine that work in the stack's folder: a broker names it on its command line, Redis runs in it."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in word for word in (process.cwd(), *process.cmdline())):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_gone(pid: int) -> None:
    """Wait until the process has ended."""
    deadline = time.monotonic() + 30
    while identify(pid) is not None:
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.05)


async def publish(bootstrap_servers: str, topic: str, value: bytes) -> None:
    """One record, acknowledged."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer:
        await producer.send_and_wait(topic, value)


async def first_value(bootstrap_servers: str, topic: str) -> bytes | None:
    """Value of the first record."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        value: bytes | None = (await consumer.getone()).value
        return value


class TestOneStack:
    async def test_survives_a_killed_broker_and_leaves_nothing_behind(self, new_stack: NewStack) -> None:
        """Up, up again, SIGKILL of both servers, up with the same data and ports, down: the life of a stack."""
        stack = new_stack()
        # Two at once: one starts everything, the other waits for it and finds it done.
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda _: stack.up(foreground=True), range(2))
        before = {server.name: server.pid for server in stack.status()}

        assert first == second == stack.up()
        assert {server.name: server.pid for server in stack.status()} == before
        assert sorted(before) == ["kafka-1", "redis"]
        assert len(servers_of(stack.folder)) == 2

        await create_topic(first.kafka, "survives")
        await publish(first.kafka, "survives", b"acknowledged")
        async with Redis.from_url(first.redis) as redis:
            await redis.set("survives", "acknowledged")
        for name in before:
            stack.process(name).kill(signal.SIGKILL)
            assert stack.process(name).wait_stopped()

        assert [server.running for server in stack.status()] == [False, False]
        assert stack.up(foreground=True) == first
        assert await first_value(first.kafka, "survives") == b"acknowledged"
        async with Redis.from_url(first.redis) as redis:
            assert await redis.get("survives") == b"acknowledged"

        assert stack.down() == 2
        assert stack.down() == 0
        assert servers_of(stack.folder) == []

    def test_beside_another_one(self, stack: Stack, new_stack: NewStack) -> None:
        """Where the usual ports are taken, by another stack or by anything else, a stack takes others and disturbs nobody."""
        taken = {server.name: server.port for server in stack.status()}
        pids = {server.pid for server in stack.status()}
        other = new_stack(kafka_ports=(taken["kafka-1"],), redis_port=taken["redis"])
        other.up(foreground=True)

        assert {server.port for server in other.status()}.isdisjoint(taken.values())
        assert other.down() == 2
        assert {server.pid for server in stack.status()} == pids
        assert all(server.running for server in stack.status())


class TestThreeBrokers:
    async def test_form_one_cluster_that_survives_the_loss_of_one(self, new_stack: NewStack) -> None:
        """`--brokers 3` is a cluster, not three brokers: an acknowledged record outlives the broker that led its partition."""
        stack = new_stack(brokers=3)
        addresses = stack.up(foreground=True)
        admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
        await admin.start()
        try:
            cluster = await admin.describe_cluster()
            assert {f"{broker['host']}:{broker['port']}" for broker in cluster["brokers"]} == set(
                addresses.kafka.split(",")
            )
            await create_topic(addresses.kafka, "replicated", replicas=3)
            await publish(addresses.kafka, "replicated", b"acknowledged")
            (topic,) = await admin.describe_topics(["replicated"])
        finally:
            await admin.close()
        (partition,) = topic["partitions"]
        assert sorted(partition["isr"]) == [1, 2, 3]

        leader = stack.process(f"kafka-{partition['leader']}")
        leader.kill(signal.SIGKILL)
        assert leader.wait_stopped()

        assert await first_value(addresses.kafka, "replicated") == b"acknowledged"


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Iterator[Path]:
        """Of a stack that no process outlives."""
        yield tmp_path / "stack"
        Stack(tmp_path / "stack").down()

    def test_a_killed_foreground_parent_leaves_no_orphan(self, folder: Path) -> None:
        """`gamebus stack up --foreground` killed by SIGKILL takes its servers along, and the next `up` starts anew."""
        with subprocess.Popen(
            gamebus("stack", "up", "--foreground", "--json", "--folder", str(folder)),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as parent:
            assert parent.stdout is not None
            addresses = json.loads(parent.stdout.readline())
            pids = [server.pid for server in Stack(folder).status()]
            parent.kill()

        assert addresses["brokers"] == 1
        assert len(pids) == 2
        for pid in pids:
            assert pid is not None
            wait_gone(pid)
        assert servers_of(folder) == []
        assert not any(server.running for server in Stack(folder).status())

    def test_without_java_says_how_to_get_it(self, folder: Path, tmp_path: Path) -> None:
        """One clear error with the command that installs it, exit code 1, and no half of a stack left running."""
        empty = tmp_path / "empty"
        empty.mkdir()
        done = subprocess.run(
            gamebus("stack", "up", "--folder", str(folder)),
            env={**environment(), "PATH": str(empty), "JAVA_HOME": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

        assert done.returncode == 1
        assert done.stdout == ""
        assert "Java 17 or newer" in done.stderr
        assert "apt-get install -y maven" in done.stderr
        assert "Traceback" not in done.stderr
        assert servers_of(folder) == []

    def test_uses_external_servers(self, folder: Path) -> None:
        """With both addresses in the environment nothing is started."""
        named = {
            "GAMEBUS_KAFKA__BOOTSTRAP_SERVERS": "kafka.example:9092",
            "GAMEBUS_REDIS__URL": "redis://redis.example/1",
        }
        done = subprocess.run(
            gamebus("stack", "up", "--json", "--folder", str(folder)),
            env={**environment(), **named},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )

        assert json.loads(done.stdout) == {
            "kafka": "kafka.example:9092",
            "redis": "redis://redis.example/1",
            "folder": str(folder),
            "brokers": 0,
            "proxied": [],
        }
        assert servers_of(folder) == []


def gamebus(*arguments: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "gamebus", *arguments]


def environment() -> dict[str, str]:
    """This one, without settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GAMEBUS_")}
