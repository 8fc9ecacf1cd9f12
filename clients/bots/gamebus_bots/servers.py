"""CPU and memory of the servers, where they run on this machine: once a second, by process.

The gateway is whoever listens on the port that the bots dial, with its children; beside it, what its parent started (`gamebus dev`
starts Kafka, Redis and the processors). Behind a proxy, or in containers, that may not be found: then there are no such figures.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

_SAMPLE_S: Final = 1.0
_MIB: Final = 1 << 20
_KINDS: Final = (
    ("kafka.Kafka", "kafka"),
    ("redis-server", "redis"),
    ("valkey-server", "redis"),
    ("processor realtime", "realtime processor"),
    ("processor durable", "durable processor"),
    (" dashboard", "dashboard"),
    ("gamebus_arena", "arena"),
    (" gateway", "gateway"),
    (" dev", "gamebus dev"),
    (" demo", "gamebus demo"),
)

GATEWAY: Final = "gateway"
BOTS: Final = "bots"
OTHERS: Final = "everything else"
"""What else was busy on this machine: it takes from servers and bots alike."""


class ServerMonitor:
    """Samples until it is cancelled.

    Args:
        url: that the bots dial.
        bots: processes that play, beside this one.
    """

    def __init__(self, url: str, bots: Iterable[int]) -> None:
        self._url = url
        self._processes = _servers(url)
        self._bots = [(BOTS, process) for pid in (os.getpid(), *bots) if (process := _process(pid)) is not None]
        # Process -> its kind and CPU seconds, of those that are gone as well.
        self._used: dict[psutil.Process, tuple[str, float]] = {}
        # (second, kind -> CPU seconds so far, kind -> resident bytes)
        self._samples: list[tuple[float, dict[str, float], dict[str, int]]] = []

    async def watch(self) -> None:
        """Sample once a second."""
        while True:
            self._samples.append(await asyncio.to_thread(self._sample))
            await asyncio.sleep(_SAMPLE_S)

    def between(self, from_s: float, until_s: float, players: int) -> dict[str, Any]:
        """What was used in a time, by kind: cores over time and in the mean, and the most memory.

        Args:
            players: how many played at its end.
        """
        samples = [sample for sample in self._samples if from_s - _SAMPLE_S <= sample[0] <= until_s + _SAMPLE_S]
        if len(samples) < 2 or not self._processes:
            return {}
        kinds = sorted(samples[-1][1])
        found: dict[str, Any] = {
            "t": [round(sample[0] - from_s, 2) for sample in samples[1:]],
            "cores": {},
            "rss_mib": {},
        }
        for kind in kinds:
            pairs = list(pairwise(samples))
            found["cores"][kind] = [
                round(max(0.0, new[1].get(kind, 0) - old[1].get(kind, 0)) / (new[0] - old[0]), 3) for old, new in pairs
            ]
            found["rss_mib"][kind] = [round(new[2].get(kind, 0) / _MIB, 1) for _, new in pairs]
        first, last = samples[0], samples[-1]
        mean = {
            kind: round(max(0.0, last[1][kind] - first[1].get(kind, 0)) / (last[0] - first[0]), 3) for kind in kinds
        }
        found["mean_cores"] = mean
        found["max_rss_mib"] = {kind: max(values) for kind, values in found["rss_mib"].items()}
        servers = sum(cores for kind, cores in mean.items() if kind not in {BOTS, OTHERS})
        if mean.get(GATEWAY):
            found["players_per_gateway_core"] = round(players / mean[GATEWAY])
        if GATEWAY in mean and servers:
            found["players_per_core"] = round(players / servers)
        return found

    def _sample(self) -> tuple[float, dict[str, float], dict[str, int]]:
        rss: defaultdict[str, int] = defaultdict(int)
        gone = False
        for kind, process in (*self._processes, *self._bots):
            try:
                times = process.cpu_times()
                self._used[process] = kind, times.user + times.system
                rss[kind] += process.memory_info().rss
            except psutil.Error:
                gone = True
        if gone:
            # Something died, and may have been started again.
            self._processes = _servers(self._url)
        cpu_s: defaultdict[str, float] = defaultdict(float)
        for kind, used_s in self._used.values():
            cpu_s[kind] += used_s
        machine = psutil.cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        # Guests are counted in user and nice already.
        busy = sum(machine) - idle - getattr(machine, "guest", 0.0) - getattr(machine, "guest_nice", 0.0)
        cpu_s[OTHERS] = busy - sum(cpu_s.values())
        rss[OTHERS] = 0
        return time.perf_counter(), dict(cpu_s), dict(rss)


def is_local(url: str) -> bool:
    """Whether an address is one of this machine."""
    host = urlsplit(url).hostname or ""
    with suppress(OSError, ValueError):
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    return False


def _servers(url: str) -> list[tuple[str, psutil.Process]]:
    if not is_local(url):
        return []
    listener = _listener(urlsplit(url).port or 80)
    if listener is None:
        return []
    family: dict[int, tuple[str, psutil.Process]] = {}
    with suppress(psutil.Error):
        for process in (listener, *listener.children(recursive=True)):
            family[process.pid] = (GATEWAY, process)
        parent = listener.parent()
        if parent is not None and _kind(parent) in {"gamebus dev", "gamebus demo"}:
            for process in (parent, *parent.children(recursive=True)):
                family.setdefault(process.pid, (_kind(process), process))
    # This process, when it started them itself, is no server.
    family.pop(os.getpid(), None)
    return list(family.values())


def _listener(port: int) -> psutil.Process | None:
    with suppress(psutil.Error, OSError):
        pids = {
            found.pid
            for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid
        }
        found = [process for pid in sorted(pids) if (process := _process(pid)) is not None]
        # Workers share a port; the first of the family is the parent of the others.
        for process in found:
            if process.ppid() in pids:
                continue
            return process
    return None


def _kind(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        for part, kind in _KINDS:
            if part in line:
                return kind
        return Path(process.name()).name
    return "other"


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None
