"""What it costs a busy gateway to tell how it is: vitals, timeline and directory to Redis, and a scrape of `/metrics` each second.

    python -m bench.metrics_export          about a minute

One gateway under one load that does not end. All of it is switched off and on again, a few seconds at a time, and what the gateway's CPU time is
for each megabyte that it writes is compared between the two: by work and not by time, since a load that is held up for a moment asks for less
of it. A gateway cannot switch these off; this one is built here with reporters that can.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final
from urllib.request import urlopen

import psutil

from bench import report
from bench.servers import create, environment, module, new_prefix, on_cpus, run_contestant, running, servers
from gamebus.catalog_file import parse_catalog
from gamebus.gateway.gateway import Addresses, Gateway
from gamebus.settings import load_catalog, load_settings
from gamebus.signals import stopping

_PLAYERS: Final = 1_200
_ROOMS: Final = 24
# Two intervals of the slowest reporter, the directory.
_WINDOW_S: Final = 4.0
_SHARE: Final = 0.02


class Switched:
    """A component of a gateway that runs only while it is switched on."""

    def __init__(self, component: Any, switches: list[Switched]) -> None:
        self._component = component
        self._on = asyncio.Event()
        self._off = asyncio.Event()
        self._on.set()
        switches.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._component, name)

    def switch(self, on: bool) -> None:
        """Begin, or end what is at hand and begin no more."""
        (self._on if on else self._off).set()
        (self._off if on else self._on).clear()

    async def run(self) -> None:
        """Run the component whenever it is on."""
        while True:
            await self._on.wait()
            task = asyncio.create_task(self._component.run())
            await self._off.wait()
            task.cancel()
            await asyncio.wait((task,))


async def gateway() -> None:
    """A gateway that exports after SIGUSR1 and stops doing so after SIGUSR2."""
    settings = load_settings()
    catalog = load_catalog(settings)
    process: Any = Gateway(settings, catalog, catalog)
    switches: list[Switched] = []
    process._vitals = Switched(process._vitals, switches)
    process._directory = Switched(process._directory, switches)

    def switch(on: bool) -> None:
        for component in switches:
            component.switch(on)

    for number, on in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
        asyncio.get_running_loop().add_signal_handler(number, switch, on)

    def ready(addresses: Addresses) -> None:
        print(json.dumps({"gateway": addresses.gateway, "ops": addresses.ops}), flush=True)

    with stopping(process.stop):
        await process.run(ready)


def measured(process: psutil.Process, ops: str, *, exporting: bool) -> float:
    """CPU time of the gateway for each megabyte that it wrote in a window, ms."""
    process.send_signal(signal.SIGUSR1 if exporting else signal.SIGUSR2)
    cpu_s, written, start = _cpu_s(process), process.io_counters().write_chars, time.monotonic()
    for second in range(int(_WINDOW_S)):
        if exporting:
            with urlopen(f"{ops}/metrics", timeout=10) as answer:
                answer.read()
        time.sleep(max(0.0, start + second + 1 - time.monotonic()))
    return (_cpu_s(process) - cpu_s) / (process.io_counters().write_chars - written) * 1e9


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def pairs(rounds: int, measure: Callable[..., float]) -> tuple[float, float]:
    """Without and with, each the median of its windows; in turn, and the first pair is thrown away."""
    found: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        # Which comes first changes, so that a load that drifts favours none.
        order = (False, True) if number % 2 else (True, False)
        cost = {exporting: measure(exporting=exporting) for exporting in order}
        found.append((cost[False], cost[True]))
    without, with_ = zip(*found[1:], strict=True)
    return statistics.median(without), statistics.median(with_)


def main() -> None:
    """Run the bench."""
    parser = report.arguments(__doc__)
    parser.set_defaults(rounds=6)
    given = parser.parse_args()
    first, *others = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        stack.enter_context(on_cpus(others or [first]))
        addresses = stack.enter_context(servers())
        prefix = new_prefix()
        asyncio.run(create(addresses.kafka, parse_catalog(topic_prefix=prefix)))
        env = environment(addresses, prefix)
        process, line = stack.enter_context(running(module("bench.metrics_export", "gateway"), env, cpus=[first]))
        told = json.loads(line)
        seconds = str(_WINDOW_S * 2 * (given.rounds + 2))
        command = module("bench.room_load", told["gateway"], "--seconds", seconds)
        command += ["--players", str(_PLAYERS), "--rooms", str(_ROOMS)]
        load = stack.enter_context(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
        stack.callback(load.terminate)
        _until_all_play(told["ops"])
        without, with_ = pairs(given.rounds, lambda *, exporting: measured(process, told["ops"], exporting=exporting))
        assert load.poll() is None, "the load ended too soon"
    name = f"{_PLAYERS} players in rooms of {_PLAYERS // _ROOMS}"
    row = report.compare(
        name, "CPU ms/MB written", with_, without, "without export", target=1 / (1 + _SHARE), lower_is_better=True
    )
    report.publish("metrics_export", [row], given.json)
    print(f"exporting costs {(with_ - without) / without:.2%} of the gateway's CPU")


def _until_all_play(ops: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urlopen(f"{ops}/metrics", timeout=10) as answer:
            if f"gamebus_hub_clients {_PLAYERS:.1f}" in answer.read().decode():
                return
        time.sleep(0.2)
    raise RuntimeError("the players did not come")


if __name__ == "__main__":
    if sys.argv[1:] == ["gateway"]:
        run_contestant(gateway())
    else:
        main()
