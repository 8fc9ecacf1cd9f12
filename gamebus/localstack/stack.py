"""The servers that gamebus needs, on this machine: one folder, one stack.

Guarantees: a second `up` changes nothing; an `up` after a crash brings back what died with its data, and with its port where that is still
free; `down` leaves no process; stacks in different folders never share a port, a process or data.
Not guaranteed: safety (everything listens on loopback, without passwords), or durability beyond one disk.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from gamebus.errors import StackError
from gamebus.localstack.kafka import Broker, Cluster, ProxiedListener, broker_process, new_cluster_id, wait_complete
from gamebus.localstack.locks import file_lock
from gamebus.localstack.ports import PortReservations
from gamebus.localstack.process import ProcessStatus, ServerProcess
from gamebus.localstack.redis import redis_process

_STATE: Final = "stack.json"
_LOCK: Final = "stack.lock"
# What may stand in a folder before its first `up`: the secret of a development run, logs, and what another process writes that starts
# the same stack at this moment.
_MAY_EXIST: Final = (_LOCK, f"{_STATE}.new", "secret", "*.log")


@dataclass(frozen=True, slots=True)
class StackAddresses:
    """Where the servers listen.

    Attributes:
        kafka: bootstrap servers, `host:port`, comma separated.
        redis: URL with the database's number.
        folder: of the stack.
        brokers: how many the stack runs; 0 when Kafka is external.
        proxied: where each broker listens for its proxy; empty without proxies.
    """

    kafka: str
    redis: str
    folder: Path
    brokers: int
    proxied: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _State:
    """What must outlive the processes; kept in the folder's stack.json, which also marks the folder as a stack's.

    Attributes:
        brokers: how many; fixed at the first start of a broker, because the voters of the quorum are.
        ports: by name: "redis", "kafka-1", "kafka-1-controller", ...; with proxies also "kafka-1-proxied" (the broker's), "kafka-1-proxy".
    """

    cluster_id: str
    brokers: int
    ports: dict[str, int]


class Stack:
    """One stack: brokers and Redis, or what of both is not external.

    Safe to use from several processes at once: `up`, `down` and `wipe` hold a lock in the folder.

    Args:
        folder: of the stack; made at the first `up`.
        brokers: 1 or 3; None takes what the folder has, else 1.
        kafka_ports: usual ports of the brokers; the controllers' are one above. A port that is taken is replaced; 0 is any.
        redis_port: usual port of Redis, in the same way.
        external_kafka: bootstrap servers to use instead of starting brokers.
        external_redis: URL to use instead of starting Redis.
        proxied_ports: of a proxy before each broker, which the caller runs. Brokers then have one more listener for it
            (:attr:`StackAddresses.proxied`); who asks there is told the ports of the proxies.
    """

    def __init__(
        self,
        folder: Path,
        *,
        brokers: int | None = None,
        kafka_ports: tuple[int, ...] = (9092, 19092, 29092),
        redis_port: int = 6379,
        external_kafka: str | None = None,
        external_redis: str | None = None,
        proxied_ports: tuple[int, ...] = (),
    ) -> None:
        if brokers not in {None, 1, 3}:
            raise StackError(f"a stack has 1 broker, or 3 for a majority that survives the loss of one, not {brokers}")
        if len(proxied_ports) not in {0, brokers or 1}:
            raise StackError(f"{len(proxied_ports)} proxies for {brokers or 1} broker(s): each broker has its own")
        self.folder = folder.absolute()
        self._brokers = brokers
        self._kafka_ports = kafka_ports
        self._redis_port = redis_port
        self._external_kafka = external_kafka
        self._external_redis = external_redis
        self._proxied_ports = proxied_ports
        self._foreground = False

    def up(self, *, foreground: bool = False) -> StackAddresses:
        """Start what does not run and wait until everything serves.

        Args:
            foreground: what this call starts dies with this process, even when this process is killed (Linux only).
                What runs already keeps its own parent.

        Raises:
            StackError: something is missing on this machine, or a server does not start; what this call started is stopped.
        """
        self._foreground = foreground
        self._refuse_foreign_folder()
        with file_lock(self.folder / _LOCK), PortReservations() as ports:
            state = self._with_ports(self._claim(), ports)
            self._save(state)
            processes = self._wanted(state)
            _start([process for process in processes.values() if process.pid is None])
            for process in processes.values():
                process.wait_ready()
            if self._external_kafka is None:
                wait_complete(_cluster(state))
        return self._addresses(state)

    def status(self) -> tuple[ProcessStatus, ...]:
        """Of every server of this stack, running or not; empty before the first `up`."""
        state = self._state()
        return () if state is None else tuple(process.status() for process in self._processes(state).values())

    def addresses(self) -> StackAddresses | None:
        """Where the servers listen when they run; None before the first `up`."""
        state = self._state()
        return None if state is None else self._addresses(state)

    def process(self, name: str) -> ServerProcess:
        """One server ("kafka-1", "redis"), to look at it, or to kill and restart it in a test of faults.

        Raises:
            StackError: the stack has no server of this name.
        """
        state = self._state()
        processes = {} if state is None else self._processes(state)
        if name not in processes:
            raise StackError(f"the stack in {self.folder} has no {name!r}, only {sorted(processes)}")
        return processes[name]

    def down(self) -> int:
        """Stop everything, brokers first, and return how many servers ran."""
        if self._state() is None:
            return 0
        with file_lock(self.folder / _LOCK):
            return self._stop()

    def wipe(self) -> None:
        """Stop everything and remove the folder with all data; nothing happens when there is no folder.

        Raises:
            StackError: the folder is not a stack's.
        """
        if not self.folder.exists():
            return
        state = self._state()
        if state is None:
            raise StackError(f"{self.folder} is not the folder of a stack (no {_STATE} in it): nothing was removed")
        with file_lock(self.folder / _LOCK):
            for process in self._processes(state).values():
                # Nothing needs to end in order: the data goes too.
                process.kill()
            self._stop()
            # Moved away first: an `up` that waits for the lock then finds no folder, and not half of one.
            wiped = self.folder.with_name(f".{self.folder.name}.wiped")
            if wiped.exists():
                shutil.rmtree(wiped)
            self.folder.rename(wiped)
            shutil.rmtree(wiped)

    def _state(self) -> _State | None:
        try:
            return _State(**json.loads((self.folder / _STATE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise StackError(f"{self.folder / _STATE} cannot be read ({error}); remove {self.folder}") from error

    def _save(self, state: _State) -> None:
        draft = self.folder / f"{_STATE}.new"
        draft.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
        draft.replace(self.folder / _STATE)

    def _refuse_foreign_folder(self) -> None:
        """A stack moves into an empty folder only, so that `wipe` can only ever remove what a stack made."""
        if self._state() is not None or not self.folder.exists():
            return
        foreign = [path.name for path in self.folder.iterdir() if not any(map(path.match, _MAY_EXIST))]
        if foreign:
            raise StackError(f"{self.folder} holds other files ({min(foreign)}); name an empty or a new folder")

    def _claim(self) -> _State:
        """The folder's state, with the number of brokers that is wanted now."""
        state = self._state() or _State(cluster_id=new_cluster_id(), brokers=0, ports={})
        if self._external_kafka is not None:
            return state
        brokers = self._brokers or state.brokers or 1
        if state.brokers not in {0, brokers}:
            raise StackError(
                f"the stack in {self.folder} was made with {state.brokers} broker(s) and cannot become one with {brokers}; "
                f"use another folder, or wipe this one"
            )
        return replace(state, brokers=brokers)

    def _with_ports(self, state: _State, ports: PortReservations) -> _State:
        """The state with a port for everything: that of the last time, at first the usual one; where it is taken, another.

        Brokers know each other's ports, so while one of them runs all keep theirs.
        """
        running = {name for name, process in self._processes(state).items() if process.pid is not None}
        chosen = dict(state.ports)
        usual: dict[str, int] = {}
        if self._external_kafka is None and not any(name.startswith("kafka") for name in running):
            for node_id in range(1, state.brokers + 1):
                port = self._kafka_ports[node_id - 1] if node_id <= len(self._kafka_ports) else 0
                usual |= {f"kafka-{node_id}": port, f"kafka-{node_id}-controller": port and port + 1}
            for node_id, port in enumerate(self._proxied_ports, start=1):
                usual[f"kafka-{node_id}-proxied"] = 0
                # The proxy listens there already.
                chosen[f"kafka-{node_id}-proxy"] = port
        if self._external_redis is None and "redis" not in running:
            usual["redis"] = self._redis_port
        for name, port in usual.items():
            chosen[name] = ports.take(state.ports.get(name, port))
        return replace(state, ports=chosen)

    def _processes(self, state: _State) -> dict[str, ServerProcess]:
        """Every server that this folder ever had a port for, in the order in which they are stopped."""
        processes = {}
        if "kafka-1" in state.ports:
            cluster = _cluster(state)
            for broker in cluster.brokers:
                process = broker_process(broker, cluster, folder=self.folder, foreground=self._foreground)
                processes[process.name] = process
        if "redis" in state.ports:
            processes["redis"] = redis_process(state.ports["redis"], folder=self.folder, foreground=self._foreground)
        return processes

    def _wanted(self, state: _State) -> dict[str, ServerProcess]:
        """The servers that are not replaced by external ones."""
        return {
            name: process
            for name, process in self._processes(state).items()
            if (self._external_redis if name == "redis" else self._external_kafka) is None
        }

    def _addresses(self, state: _State) -> StackAddresses:
        return StackAddresses(
            kafka=self._external_kafka or _cluster(state).bootstrap_servers,
            redis=self._external_redis or f"redis://127.0.0.1:{state.ports['redis']}/0",
            folder=self.folder,
            brokers=0 if self._external_kafka else state.brokers,
            proxied=tuple(port for name, port in state.ports.items() if name.endswith("-proxied")),
        )

    def _stop(self) -> int:
        """Brokers first, all at once, because the last ones of a quorum cannot leave it in order one by one; then Redis."""
        state = self._state()
        processes = [] if state is None else list(self._processes(state).values())
        brokers = [process for process in processes if process.name != "redis"]
        with ThreadPoolExecutor(max_workers=max(len(brokers), 1)) as pool:
            stopped = sum(pool.map(ServerProcess.stop, brokers))
        return stopped + sum(process.stop() for process in processes if process not in brokers)


def _cluster(state: _State) -> Cluster:
    return Cluster(
        id=state.cluster_id,
        brokers=tuple(
            Broker(
                node_id=node_id,
                port=state.ports[f"kafka-{node_id}"],
                controller_port=state.ports[f"kafka-{node_id}-controller"],
                proxied=_proxied(state, node_id),
            )
            for node_id in range(1, state.brokers + 1)
        ),
    )


def _proxied(state: _State, node_id: int) -> ProxiedListener | None:
    name = f"kafka-{node_id}-proxied"
    if name not in state.ports:
        return None
    return ProxiedListener(port=state.ports[name], advertised_port=state.ports[f"kafka-{node_id}-proxy"])


def _start(processes: Sequence[ServerProcess]) -> None:
    """Start all at once and wait until each serves; when one fails, or on Ctrl-C, stop them all again."""
    if not processes:
        return

    def start(process: ServerProcess) -> None:
        process.start()
        process.wait_ready()

    with (
        # For a server that was only being prepared when the first one failed.
        _stopped_on_failure(processes),
        ThreadPoolExecutor(max_workers=len(processes)) as pool,
        # At once: the others would wait for a cluster that cannot come up.
        _stopped_on_failure(processes),
    ):
        for started in as_completed([pool.submit(start, process) for process in processes]):
            started.result()


@contextmanager
def _stopped_on_failure(processes: Sequence[ServerProcess]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for process in processes:
            process.stop()
        raise
