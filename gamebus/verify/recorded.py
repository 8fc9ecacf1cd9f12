"""A `gamebus` command that is watched: the real process, with a recorder at the places where a promise can be broken.

    python -m gamebus.verify.recorded NAME HISTORY ORDERS gateway --port 8000
    python -m gamebus.verify.recorded NAME HISTORY ORDERS processor durable

The recorder stands outside: before and after `publish` of a gateway's realtime publisher, the handlers of the processors, and aiokafka's
`commit`. It changes nothing of what they do, and writes what it saw to the file HISTORY at once, so that a kill does not take it along.
At SIGUSR1 it reads the file ORDERS (:mod:`gamebus.verify.orders`), and makes the process stand still, be slow, have a wrong clock or die.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer

from gamebus.delivery.partition_work import SourcedRecord
from gamebus.delivery.realtime_publisher import DropReason, RealtimePublisher
from gamebus.processors.durable_effects import DurableEffects
from gamebus.processors.realtime_effects import RealtimeEffects
from gamebus.record import RealtimeRecord
from gamebus.verify.history import Attempt, Commit, Delivery, HistoryWriter, Processed
from gamebus.verify.orders import Orders, Step, read_orders

_POSITION = "position"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Shorter than the way to a broker and back, longer than it takes to write a request.
_UNDER_WAY_S = 0.0005


class Recorder:
    """Writes what a process does to a history.

    Args:
        name: of the process, as the history calls it.
    """

    def __init__(self, name: str, history: HistoryWriter) -> None:
        self._name = name
        self._history = history
        self._attempts = 0
        self._orders = Orders()

    def install(self) -> None:
        """Put the recorder around what is watched, for the rest of this process's life."""
        RealtimePublisher.publish = self._publish(RealtimePublisher.publish)  # type: ignore[method-assign]
        RealtimeEffects.handle = self._realtime(RealtimeEffects.handle)  # type: ignore[method-assign]
        DurableEffects.handle = self._durable(DurableEffects.handle)  # type: ignore[method-assign]
        AIOKafkaConsumer.commit = self._commit(AIOKafkaConsumer.commit)  # type: ignore[method-assign]

    def obey(self, orders: Path) -> None:
        """From now on carry out what is in the file `orders` whenever SIGUSR1 comes. The wall clock is this recorder's from now on."""
        wall, wall_ns = time.time, time.time_ns
        time.time = lambda: wall() + self._orders.clock_s
        time.time_ns = lambda: wall_ns() + int(self._orders.clock_s * 1e9)

        def read(_number: int, _frame: FrameType | None) -> None:
            self._orders = read_orders(orders)
            if self._orders.block_s:
                # Between two callbacks of the loop: within one of them it would be ours that waits.
                asyncio.get_running_loop().call_soon_threadsafe(time.sleep, self._orders.block_s)

        signal.signal(signal.SIGUSR1, read)

    def _come_to(self, step: Step) -> None:
        if self._orders.die_at is step:
            os.kill(os.getpid(), signal.SIGKILL)

    async def _handle(self, handling: Coroutine[Any, Any, None]) -> None:
        self._come_to(Step.BEFORE_HANDLER)
        if self._orders.slow_s:
            await asyncio.sleep(self._orders.slow_s)
        await handling
        self._come_to(Step.AFTER_HANDLER)

    async def _commit_in_steps(self, committing: Coroutine[Any, Any, None]) -> None:
        self._come_to(Step.BEFORE_COMMIT)
        if self._orders.die_at is Step.DURING_COMMIT:
            asyncio.get_running_loop().call_later(_UNDER_WAY_S, self._come_to, Step.DURING_COMMIT)
        await committing
        # An answer that was quicker counts as one that was not there yet.
        self._come_to(Step.DURING_COMMIT)
        self._come_to(Step.AFTER_COMMIT)

    def _publish(self, publish: Callable[..., DropReason | None]) -> Callable[..., DropReason | None]:
        @functools.wraps(publish)
        def recorded(
            publisher: RealtimePublisher, event_type: str, room: str, player: str, server_ms: int, data: Any
        ) -> DropReason | None:
            # The clock inside: to ask the kernel may wait itself, which is no wait of the call.
            ran = _ran_s()
            at = time.monotonic()
            dropped = publish(publisher, event_type, room, player, server_ms, data)
            took_s = time.monotonic() - at
            ran_s = _ran_s() - ran
            self._attempts += 1
            # A heartbeat is an attempt too; its number would be one of a position, so it is told apart.
            number = str(data[0]) if event_type == _POSITION else f"{event_type}-{self._attempts}"
            outcome: Literal["accepted", "dropped"] = "accepted" if dropped is None else "dropped"
            self._history.write(
                Attempt(
                    "realtime",
                    player,
                    publisher._boot,  # noqa: SLF001 - names the streams of this process
                    event_type,
                    room,
                    number,
                    self._attempts,
                    at,
                    took_s,
                    ran_s,
                    outcome,
                )
            )
            return dropped

        return recorded

    def _realtime(self, handle: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
        @functools.wraps(handle)
        async def recorded(effects: RealtimeEffects, records: Sequence[RealtimeRecord]) -> None:
            at = time.monotonic()
            for record in records:
                if record.type == _POSITION:
                    # Where it stands is looked up in the topic afterwards: the handler is not told.
                    self._history.write(
                        Processed(
                            "realtime", self._name, "", -1, -1, record.room, record.player, str(record.data[0]), at
                        )
                    )
            await self._handle(handle(effects, records))

        return recorded

    def _durable(self, handle: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
        @functools.wraps(handle)
        async def recorded(effects: DurableEffects, room: str, records: Sequence[SourcedRecord]) -> None:
            await self._handle(handle(effects, room, records))
            at = time.monotonic()
            for source in records:
                event = source.record
                self._history.write(
                    Processed(
                        "durable",
                        self._name,
                        source.topic,
                        source.partition,
                        source.offset,
                        event.room,
                        event.publisher,
                        event.id,
                        at,
                    )
                )

        return recorded

    def _commit(self, commit: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
        @functools.wraps(commit)
        async def recorded(consumer: AIOKafkaConsumer, offsets: Any = None) -> None:
            coordinator = consumer._coordinator  # noqa: SLF001 - the generation has no public name
            generation = -1 if coordinator is None else coordinator.generation
            began_at, ok = time.monotonic(), False
            try:
                await self._commit_in_steps(commit(consumer, offsets))
                ok = True
            finally:
                ended_at = time.monotonic()
                delivery: Delivery = "realtime" if "realtime" in consumer._client._client_id else "durable"  # noqa: SLF001
                for tp, offset in offsets.items():
                    position = offset if isinstance(offset, int) else offset.offset
                    self._history.write(
                        Commit(
                            delivery,
                            self._name,
                            generation,
                            tp.topic,
                            tp.partition,
                            position,
                            began_at,
                            ended_at,
                            ok,
                        )
                    )

        return recorded


def _ran_s() -> float:
    """Seconds that this thread has run or waited for its turn to run, and that the host took from this machine.

    The CPU time is asked for itself: in `schedstat` that of a running thread is as old as the last tick of the kernel.
    """
    _, waited_ns, _ = Path("/proc/thread-self/schedstat").read_bytes().split()
    stolen = int(Path("/proc/stat").read_bytes().split(b"\n", 1)[0].split()[8]) / _TICKS_PER_S
    return time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) + int(waited_ns) / 1e9 + stolen


def main() -> None:
    """Watch a command; its arguments are those of `gamebus`."""
    name, history, orders, *arguments = sys.argv[1:]
    mutations = os.environ.get("GAMEBUS_TEST_MUTATIONS")
    if mutations:
        # Of the tests: wrong versions of our own code, which a run has to find.
        importlib.import_module(mutations).apply()
    recorder = Recorder(name, HistoryWriter(Path(history)))
    recorder.install()
    recorder.obey(Path(orders))
    sys.argv = ["gamebus", *arguments]
    # As `python -m gamebus`, not imported: the command line stands above this package.
    runpy.run_module("gamebus", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
