"""What the processes of the fleet said within the last minute: the ground on which alerts are judged.

Times are monotonic seconds of the observer, never those of the processes, so a clock that is wrong there raises no alarm. A counter
that begins anew counts from zero; a process that is gone is forgotten with all that it counted.

Bounded: a minute of the figures that were asked for, for every process that is observed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from gamebus.telemetry.metrics import Sample

SILENT_S: Final = 3.0
"""A process that says nothing new for so long hangs, is cut off, or has died; its levels say nothing any more."""

SPAN_S: Final = 60.0
"""The longest time over which anything is judged."""

_SHOWN_S: Final = 10.0
"""A process that fell silent is told for so long at least, also when another has taken its place at once."""

_GAP_S: Final = 2.0
"""After so long without an observation nobody can be blamed for having been silent."""

_YOUNG_S: Final = 5.0
"""Of a process that is younger when it is first seen, everything that it has counted is new."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Samples of one metric, by its name without the prefix: all of them, or those with one of these values of a label."""

    metric: str
    label: str = ""
    values: tuple[str, ...] = ()

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether a sample with these labels is among them."""
        return not self.label or labels.get(self.label) in self.values


class Subject(NamedTuple):
    """Whom an alert is about. `name` is what operators call a process; all fields of the whole fleet are empty."""

    id: str = ""
    name: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One process, as it was last heard of.

    Attributes:
        at_ms: changes whenever the process has said something new.
        uptime_s: how old it was then.
        samples: by name and labels, `tail_lag{delivery=...}`.
    """

    subject: Subject
    at_ms: int
    uptime_s: float
    samples: Mapping[str, Sample]


class ProcessHistory:
    """The last minute of one process."""

    def __init__(self, first: Observation, now: float) -> None:
        self.subject = first.subject
        self.first_seen_at = now
        self.heard_at = now
        self.replaced = False
        """Another process of its role has come since it fell silent, whatever became of that one."""

        self.stands_in = False
        """It has come in the place of a process that had fallen silent."""

        self._at_ms = -1
        self._points: deque[tuple[float, dict[Selector, float]]] = deque()
        if first.uptime_s < _YOUNG_S:
            self._points.append((now, {}))

    def hear(self, observation: Observation, selectors: Iterable[Selector], now: float) -> None:
        """Take note of what the process says, if it is new."""
        if observation.at_ms == self._at_ms:
            return
        self._at_ms, self.heard_at, self.replaced = observation.at_ms, now, False
        self._points.append((now, _values(observation.samples, selectors)))
        # One point from before the span is where its first increase begins.
        while len(self._points) > 1 and self._points[1][0] <= now - SPAN_S:
            self._points.popleft()

    def silent_s(self, now: float) -> float:
        """How long it has said nothing; 0 once it has been told for long enough and another process has taken its place."""
        silent_s = now - self.heard_at
        return 0.0 if self.replaced and silent_s > _SHOWN_S else silent_s

    def level(self, selector: Selector, now: float) -> float | None:
        """The last value; None when the process has none, or is silent."""
        return self._points[-1][1].get(selector) if now - self.heard_at <= SILENT_S else None

    def increase(self, selector: Selector, over_s: float, now: float) -> float | None:
        """By how much a counter grew in the last seconds; None when the process has none."""
        if selector not in self._points[-1][1]:
            return None
        grown = 0.0
        for (_, before), (at, after) in zip(self._points, list(self._points)[1:], strict=False):
            if at > now - over_s:
                first, last = before.get(selector, 0.0), after.get(selector, 0.0)
                grown += last - first if last >= first else last
        return grown

    def growth(self, selector: Selector, over_s: float, now: float) -> float | None:
        """By how much a level went up in the last seconds; None when it is not known for so long, or the process is silent."""
        level = self.level(selector, now)
        earlier = [values for at, values in self._points if at <= now - over_s]
        if level is None or not earlier or selector not in earlier[-1]:
            return None
        return level - earlier[-1][selector]


class Fleet:
    """All processes.

    Args:
        selectors: what is kept of each of them.
    """

    def __init__(self, selectors: Iterable[Selector]) -> None:
        self._selectors = tuple(selectors)
        self._processes: dict[Subject, ProcessHistory] = {}
        self._observed_at: float | None = None

    @property
    def processes(self) -> list[ProcessHistory]:
        """Those of the last observation, the silent ones included."""
        return list(self._processes.values())

    def observe(self, observations: Iterable[Observation], now: float) -> None:
        """Take note of all processes that are known now; the others are forgotten."""
        seen: dict[Subject, ProcessHistory] = {}
        for observation in observations:
            history = self._processes.get(observation.subject) or ProcessHistory(observation, now)
            history.hear(observation, self._selectors, now)
            seen[observation.subject] = history
        if self._observed_at is not None and now - self._observed_at > _GAP_S:
            for history in seen.values():
                history.heard_at = now
        self._processes, self._observed_at = seen, now
        self._find_replacements(now)

    def _find_replacements(self, now: float) -> None:
        """Each process that came later stands in for one of its role that had fallen silent."""
        processes = sorted(self._processes.values(), key=lambda process: process.first_seen_at)
        for silent in processes:
            if silent.replaced or now - silent.heard_at <= SILENT_S:
                continue
            for process in processes:
                came = process.first_seen_at > silent.heard_at and process.subject.role == silent.subject.role
                if came and not process.stands_in:
                    silent.replaced = process.stands_in = True
                    break


def _values(samples: Mapping[str, Sample], selectors: Iterable[Selector]) -> dict[Selector, float]:
    by_metric: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for name, sample in samples.items():
        if isinstance(sample, int | float):
            metric, labels = _parsed(name)
            by_metric.setdefault(metric, []).append((labels, float(sample)))
    found: dict[Selector, float] = {}
    for selector in selectors:
        taken = [value for labels, value in by_metric.get(selector.metric, ()) if selector.takes(labels)]
        if taken:
            found[selector] = sum(taken)
    return found


@lru_cache(maxsize=4096)
def _parsed(name: str) -> tuple[str, Mapping[str, str]]:
    metric, _, labels = name.partition("{")
    return metric, dict(pair.split("=", 1) for pair in labels.rstrip("}").split(",") if "=" in pair)
