"""A real Kafka broker in KRaft mode, from its published jars: settings, storage, command."""

from __future__ import annotations

import base64
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from gamebus.errors import StackError
from gamebus.localstack.jars import Java, find_java, kafka_jars
from gamebus.localstack.locks import file_lock
from gamebus.localstack.ports import PortReservations
from gamebus.localstack.probe import live_brokers
from gamebus.localstack.process import ServerProcess

_LOG4J: Final = """\
<Configuration status="WARN">
  <Appenders>
    <Console name="out"><PatternLayout pattern="%d{ISO8601} %p %m (%c{1})%n%throwable"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"""

log = structlog.get_logger(__name__)

# For a developer's machine. Where the value is not Kafka's own default, the reason stands beside it.
_SETTINGS: Final = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # `gamebus topics create` makes topics; one made by a misspelt name would have the wrong contract.
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
    # Kafka waits 3 s for more members before the first rebalance of a group; here nobody else comes.
    "group.initial.rebalance.delay.ms": "0",
    # As low as GAMEBUS_CONSUMER__SESSION_TIMEOUT_MS goes; Kafka refuses less than 6 s.
    "group.min.session.timeout.ms": "1000",
    # Every partition costs files and start-up time; the defaults (50) are for large clusters.
    "offsets.topic.num.partitions": "10",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.num.partitions": "3",
    # The cleaner's buffer (128 MB) would fill a quarter of the heap.
    "log.cleaner.dedupe.buffer.size": "16777216",
    # A broker that was killed is taken back when its old session has run out: 9 s would make every restart slow.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
}


@dataclass(frozen=True, slots=True)
class ProxiedListener:
    """Where a broker listens behind a proxy. Who asks there is told the proxies of all brokers, and so stays behind them.

    Attributes:
        port: where the broker listens: the proxy's target.
        advertised_port: of the proxy.
    """

    port: int
    advertised_port: int


@dataclass(frozen=True, slots=True)
class Broker:
    """One node, broker and controller at once.

    Attributes:
        port: where clients connect; also advertised.
        controller_port: where the nodes elect and follow their controller.
        proxied: a second listener for clients that come through a proxy, if any.
    """

    node_id: int
    port: int
    controller_port: int
    proxied: ProxiedListener | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """The brokers of one stack, all on this machine."""

    id: str
    brokers: tuple[Broker, ...]

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` of every broker, comma separated."""
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    def properties(self, broker: Broker, *, data: Path) -> dict[str, str]:
        """The broker's server.properties."""
        factor = len(self.brokers)
        in_sync = factor // 2 + 1
        clients = advertised = f"PLAINTEXT://127.0.0.1:{broker.port}"
        protocols = _SETTINGS["listener.security.protocol.map"]
        if broker.proxied is not None:
            protocols += ",PROXIED:PLAINTEXT"
            clients += f",PROXIED://127.0.0.1:{broker.proxied.port}"
            advertised += f",PROXIED://127.0.0.1:{broker.proxied.advertised_port}"
        return {
            **_SETTINGS,
            "listener.security.protocol.map": protocols,
            "node.id": str(broker.node_id),
            "controller.quorum.voters": ",".join(
                f"{voter.node_id}@127.0.0.1:{voter.controller_port}" for voter in self.brokers
            ),
            "listeners": f"{clients},CONTROLLER://127.0.0.1:{broker.controller_port}",
            "advertised.listeners": advertised,
            "log.dirs": str(data),
            "default.replication.factor": str(factor),
            "min.insync.replicas": str(in_sync),
            "offsets.topic.replication.factor": str(factor),
            "transaction.state.log.replication.factor": str(factor),
            "transaction.state.log.min.isr": str(in_sync),
            "share.coordinator.state.topic.replication.factor": str(factor),
            "share.coordinator.state.topic.min.isr": str(in_sync),
        }


def new_cluster_id() -> str:
    """A random id in Kafka's form: a UUID in 22 characters of URL-safe base64."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # As Kafka's own generator: command-line tools take a leading dash for an option.
        if not text.startswith("-"):
            return text


def broker_process(
    broker: Broker, cluster: Cluster, *, folder: Path, foreground: bool, leave_classes: Path | None = None
) -> ServerProcess:
    """The broker as a process of the stack in `folder`; its data stay in `folder/kafka-N/data`.

    Args:
        leave_classes: where the broker leaves an archive of its classes when it stops, instead of starting from one.
    """
    name = f"kafka-{broker.node_id}"
    return ServerProcess(
        name,
        port=broker.port,
        folder=folder / name,
        prepare=partial(_prepare, broker, cluster, folder=folder / name, leave_classes=leave_classes),
        # A broker that lists itself has joined its cluster and may lead partitions.
        is_ready=lambda _: broker.node_id in live_brokers(broker.port, cluster_id=cluster.id),
        foreground=foreground,
        ready_timeout_s=90.0,
        stop_timeout_s=15.0 if leave_classes is None else 60.0,
    )


def wait_complete(cluster: Cluster, *, timeout_s: float = 30.0) -> None:
    """Wait until every broker knows every other one as live: only then does a client see the whole cluster wherever it asks.

    Raises:
        StackError: that took too long.
    """
    everyone = frozenset(broker.node_id for broker in cluster.brokers)
    deadline = time.monotonic() + timeout_s
    for broker in cluster.brokers:
        while (seen := live_brokers(broker.port, cluster_id=cluster.id)) != everyone:
            if time.monotonic() > deadline:
                raise StackError(
                    f"kafka-{broker.node_id} sees the brokers {sorted(seen)} and not {sorted(everyone)} after {timeout_s:.0f} s"
                )
            time.sleep(0.05)


def _prepare(broker: Broker, cluster: Cluster, *, folder: Path, leave_classes: Path | None) -> list[str]:
    """Write the settings, format the storage once; the command that runs the broker."""
    data, settings, logging = folder / "data", folder / "server.properties", folder / "log4j2.xml"
    if "," in str(data):
        raise StackError(f"Kafka takes the comma in {data} for the end of a path; name a folder without one")
    settings.write_bytes(_java_properties(cluster.properties(broker, data=data)))
    logging.write_text(_LOG4J, encoding="utf-8")

    java, jars = find_java(), kafka_jars()
    program = [java.program, "-cp", f"{jars}/*"]
    if leave_classes is None:
        program.append(f"-XX:SharedArchiveFile={_class_archive(java, jars)}")
    if not (data / "meta.properties").exists():
        _format(program, cluster.id, settings)
    if leave_classes is not None:
        # Without the optimizing compiler, which does not change the classes.
        program += [f"-XX:ArchiveClassesAtExit={leave_classes}", "-XX:TieredStopAtLevel=1"]
    # Three brokers share the machine: less heap each, and a collector that starts no threads.
    memory = ["-Xms256m", "-Xmx512m"] if len(cluster.brokers) == 1 else ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC"]
    return [
        *program,
        *memory,
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={folder / 'jvm-crash.log'}",
        f"-Dlog4j2.configurationFile={logging}",
        "kafka.Kafka",
        str(settings),
    ]


def _java_properties(properties: Mapping[str, str]) -> bytes:
    """In the format of java.util.Properties: Latin-1, everything else escaped, as a folder's name may need."""
    lines = (f"{key}={value}\n".replace("\\", r"\\") for key, value in properties.items())
    return "".join(lines).encode("latin-1", errors="backslashreplace")


def _format(program: list[str], cluster_id: str, settings: Path) -> None:
    """Write the cluster's id into the empty storage; without it a broker refuses to start."""
    # --ignore-formatted: done again after an interruption, it completes what is missing.
    arguments = ["format", "--ignore-formatted", "-t", cluster_id, "-c", str(settings)]
    done = subprocess.run(
        [*program, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "kafka.tools.StorageTool", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(f"Kafka's storage for {settings} could not be formatted:\n{done.stdout.strip()}")


def _class_archive(java: Java, jars: Path) -> Path:
    """Kafka's classes as Java lays them out in memory, made once per user and Java.

    A broker that starts from it takes half the processor time (7 s instead of 14 s on two busy cores). A first broker, which starts, stops
    and is thrown away, leaves it behind. Source: JEP 350, dynamic class-data sharing; Kafka's own image is built in the same way.
    """
    archive = jars.with_name(f"{jars.name}-java-{java.version}.jsa")
    if archive.exists():
        return archive
    with file_lock(archive.with_name(f"{archive.name}.lock")):
        if not archive.exists():
            log.info("classes.archiving", archive=str(archive))
            with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".classes-") as scratch:
                draft = Path(scratch) / archive.name
                _leave_classes(draft)
                if not draft.exists():
                    # A Java without class-data sharing makes none, and ignores an empty one. Do not try again.
                    draft.touch()
                draft.rename(archive)
    return archive


def _leave_classes(archive: Path) -> None:
    with PortReservations() as ports:
        broker = Broker(node_id=1, port=ports.take(), controller_port=ports.take())
        cluster = Cluster(id=new_cluster_id(), brokers=(broker,))
        process = broker_process(broker, cluster, folder=archive.parent, foreground=True, leave_classes=archive)
        process.start()
        try:
            process.wait_ready()
        finally:
            process.stop()
