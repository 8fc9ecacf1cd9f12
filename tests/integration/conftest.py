"""A real Kafka and a real Redis for the whole run: no test of what the bus promises stands on a stand-in.

One stack is started for a session and stopped at its end; its servers die with the test runner, even when that is killed. Tests share it, so
each takes names of its own (`topic_prefix`). Who kills or stops a broker takes the stack that is there for it (`fault_stack`), or one of
its own (`new_stack`).
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from gamebus.localstack.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The shared servers, running."""
    stack = Stack(tmp_path_factory.mktemp("stack"), brokers=1, kafka_ports=(0,), redis_port=0)
    try:
        stack.up(foreground=True)
        yield stack
    finally:
        stack.wipe()


@pytest.fixture(scope="session")
def bootstrap_servers(request: pytest.FixtureRequest) -> str:
    """`host:port` of the shared broker; GAMEBUS_TEST_KAFKA names one that runs already, for quick rounds of development."""
    return os.environ.get("GAMEBUS_TEST_KAFKA") or request.getfixturevalue("stack").addresses().kafka


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """URL of the shared Redis, or GAMEBUS_TEST_REDIS. Its keys are everybody's: use rooms or a key prefix of your own."""
    return os.environ.get("GAMEBUS_TEST_REDIS") or request.getfixturevalue("stack").addresses().redis


@pytest.fixture(scope="session")
def fault_link_port() -> int:
    """Where a test may put a proxy before the broker of the fault stack: clients that come by it are told to stay with it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def _fault_stack(tmp_path_factory: pytest.TempPathFactory, fault_link_port: int) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("fault-stack")
    stack = Stack(folder, brokers=1, kafka_ports=(0,), redis_port=0, proxied_ports=(fault_link_port,))
    try:
        stack.up(foreground=True)
        yield stack
    finally:
        stack.wipe()


@pytest.fixture
def fault_stack(_fault_stack: Stack) -> Iterator[Stack]:
    """A stack whose servers a test may kill and stop; whole again after each test."""
    yield _fault_stack
    for status in _fault_stack.status():
        _fault_stack.process(status.name).kill(signal.SIGCONT)
    _fault_stack.up(foreground=True)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix of topics that no other test uses."""
    return f"t{secrets.token_hex(4)}."


@pytest.fixture
def new_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """Makes stacks that belong to one test; none of them outlives it. Any free ports, unless the test names some."""
    stacks: list[Stack] = []

    def make(*, brokers: int = 1, kafka_ports: tuple[int, ...] = (0, 0, 0), redis_port: int = 0) -> Stack:
        folder = tmp_path_factory.mktemp("stack")
        stacks.append(Stack(folder, brokers=brokers, kafka_ports=kafka_ports, redis_port=redis_port))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.wipe()
