"""What was counted and measured in a run, or in one process's part of it: parts are added up exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final, Self

from gamebus_bots.latency import Latency

TIMED: Final = ("position", "ack", "chat")
"""What is measured twice: as response, from the planned time, and as service, from the real send."""

RESPONSE: Final = "response"
SERVICE: Final = "service"

_PROBLEMS_KEPT: Final = 20


def key(name: str, kind: str) -> str:
    """Name of a latency: `position`, `response` -> `position.response`."""
    return f"{name}.{kind}"


LATENCIES: Final = (
    *(key(name, kind) for name in TIMED for kind in (RESPONSE, SERVICE)),
    "send_lag",
    "read_lag",
    "connect",
    "resume",
)


@dataclass(slots=True)
class Point:
    """One interval of the measured time. `latencies`: responses, encoded."""

    span_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, other: Point) -> None:
        """Take the same interval of another process."""
        self.span_s = max(self.span_s, other.span_s)
        self.counts.update(other.counts)
        for name, encoded in other.latencies.items():
            mine = self.latencies.get(name)
            parts = [encoded] if mine is None else [mine, encoded]
            self.latencies[name] = Latency.sum(map(Latency.decoded, parts)).encoded()


@dataclass(slots=True)
class Tally:
    """Counts by name, see :mod:`gamebus_bots.metrics` for their meaning."""

    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    """Realtime sends that were not written, by reason of the client."""
    errors: Counter[str] = field(default_factory=Counter)
    """Refusals by wire code, and lost connections by close code (`close 4001`)."""
    problems: dict[str, str] = field(default_factory=dict)
    """What went wrong with a player's connection, in words; the first few."""
    troubled: set[str] = field(default_factory=set)
    """All those players, in this process."""
    latencies: dict[str, Latency] = field(default_factory=lambda: {name: Latency() for name in LATENCIES})
    points: list[Point] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long was measured."""
        return sum(point.span_s for point in self.points)

    def problem(self, player: str, words: str) -> None:
        """Something went wrong with a player's connection."""
        self.troubled.add(player)
        self.counts["problems"] = len(self.troubled)
        if player in self.problems or len(self.problems) < _PROBLEMS_KEPT:
            self.problems[player] = f"{self.problems[player]}; {words}" if player in self.problems else words

    def add(self, other: Tally) -> None:
        """Take another part in."""
        self.counts.update(other.counts)
        self.dropped.update(other.dropped)
        self.errors.update(other.errors)
        self.problems = dict([*self.problems.items(), *other.problems.items()][:_PROBLEMS_KEPT])
        for name, latency in other.latencies.items():
            self.latencies[name].add(latency)
        merged = []
        for mine, theirs in zip_longest(self.points, other.points):
            point = Point()
            for part in (mine, theirs):
                if part is not None:
                    point.add(part)
            merged.append(point)
        self.points = merged

    def encoded(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "counts": dict(self.counts),
            "dropped": dict(self.dropped),
            "errors": dict(self.errors),
            "problems": self.problems,
            "latencies": {name: latency.encoded() for name, latency in self.latencies.items()},
            "points": [
                {"span_s": point.span_s, "counts": dict(point.counts), "latencies": point.latencies}
                for point in self.points
            ],
        }

    @classmethod
    def decoded(cls, document: Mapping[str, Any]) -> Self:
        """Of `encoded`."""
        return cls(
            counts=Counter(document["counts"]),
            dropped=Counter(document["dropped"]),
            errors=Counter(document["errors"]),
            problems=dict(document["problems"]),
            latencies={name: Latency.decoded(value) for name, value in document["latencies"].items()},
            points=[
                Point(point["span_s"], Counter(point["counts"]), dict(point["latencies"]))
                for point in document["points"]
            ],
        )

    @classmethod
    def sum(cls, parts: Iterable[Tally]) -> Self:
        """All parts of a run."""
        made = cls()
        for part in parts:
            made.add(part)
        return made
