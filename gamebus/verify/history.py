"""History of a verification run: what the workload saw, in JSON Lines, written by the workload and never by the code under test.

One line is one event, `{"kind": ..., ...}` with the fields of the class of that name below. Moments are seconds of the machine's monotonic
clock, which all processes of one machine share, so that lines of different files can be compared; the order of lines means nothing.

Not guaranteed: that the last line of a process that was killed is whole. Such a line is left out when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, TextIO

Delivery = Literal["realtime", "durable"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A client published an event, or tried to."""

    delivery: Delivery
    client: str
    """Whose event it is: the player of a position, the publisher (`sub`) of a durable event."""

    connection: str
    """The connection on which a durable event was said; the boot of the process that took a realtime one."""

    topic: str
    room: str
    id: str
    """Durable: the event's id. Realtime: its number, which rises with each position of a player."""

    seq: int
    """Counts the attempts of a connection."""

    at: float
    took_s: float
    """How long the caller was kept: for realtime the length of the call, for durable the time to the outcome."""

    ran_s: float
    """What this machine's scheduling explains of it: processor time and time in the run queue."""

    outcome: Literal["accepted", "dropped", "ok", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Commit:
    """A member of a consumer group committed an offset."""

    delivery: Delivery
    member: str
    generation: int
    topic: str
    partition: int
    offset: int
    began_at: float
    ended_at: float
    ok: bool
    """False: refused, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Processed:
    """A handler was given a record, named as in :class:`Attempt`."""

    delivery: Delivery
    member: str
    topic: str
    partition: int
    offset: int
    room: str
    client: str
    id: str
    at: float
    """Realtime: when the handler was called. Durable: when it returned."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A record that stands in Kafka at the end."""

    topic: str
    partition: int
    offset: int
    delivery: Delivery
    """What kind of record it is, whatever its topic says."""

    room: str
    client: str
    id: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What Redis holds of a durable event at the end."""

    room: str
    client: str
    id: str
    count: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A client was let into a room."""

    client: str
    connection: str
    room: str
    recovered: bool | None
    at: float


@dataclass(frozen=True, slots=True)
class Delivered:
    """A client was sent an event, or in a tick the position of a player (`publisher`, `id` its number)."""

    delivery: Delivery
    client: str
    connection: str
    topic: str
    room: str
    publisher: str
    id: str
    at: float
    ticked_at: float | None = None
    """When the tick was made, by the wall clock of its gateway: what came later kept the client waiting, not the position."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of one realtime stream, as operators are shown it at the end; `client`: boot of the process."""

    client: str
    topic: str
    partition: int
    attempted: int
    processed: int
    dropped: int
    lost_on_wire: int
    dropped_on_failed_commit: int
    lost_in_crash: int
    skipped: int
    unknown: int
    ended: bool
    """The account is final."""

    at: float
    """When it was read; of one stream the last one counts, and each has to hold."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A process was killed; at most so many of its records were in flight."""

    process: str
    in_flight: int
    at: float


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault was injected, and healed."""

    name: str
    began_at: float
    healed_at: float


Event = Attempt | Commit | Processed | Logged | Effect | Joined | Delivered | Ledger | Killed | Fault

_KINDS: Final = {
    kind.__name__.lower(): kind
    for kind in (Attempt, Commit, Processed, Logged, Effect, Joined, Delivered, Ledger, Killed, Fault)
}


class HistoryWriter:
    """Appends events to a file; every event is in the file before `write` returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Line buffered: what a process saw before it was killed is not lost.
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def write(self, event: Event) -> None:
        """Append one event."""
        line = {"kind": type(event).__name__.lower()} | asdict(event)
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_history(paths: Iterable[Path]) -> list[Event]:
    """All events of the files of one run.

    Raises:
        ValueError: a line that is not the last of its file is no event; the message names file and line.
    """
    return [event for path in paths for event in _read(path)]


def _read(path: Path) -> Iterator[Event]:
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        # A whole line ends with a newline; what stands behind the last one was being written when its process died.
        if number == len(lines):
            return
        try:
            fields = json.loads(line)
            yield _KINDS[fields.pop("kind")](**fields)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not an event of a history: {error!r}") from error
