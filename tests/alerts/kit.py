"""A fleet whose processes say what a test wants, second by second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gamebus.alerts.alert import Alert
from gamebus.alerts.board import Board, Resolved
from gamebus.alerts.history import Fleet, Observation, Subject
from gamebus.alerts.rules import ALERTS

GATEWAY = Subject("g1", "here:1", "gateway")
OTHER = Subject("g2", "here:2", "gateway")
PROCESSOR = Subject("p1", "here:3", "processor-realtime")


def named(name: str) -> Alert:
    """The alert of that name."""
    (found,) = (alert for alert in ALERTS if alert.name == name)
    return found


class RecordedBoard(Board):
    """A board that remembers what was over, the newest first."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Resolved] = []

    def update(
        self, alerts: Iterable[Alert], readings: Mapping[str, Mapping[Subject, float]], now: float
    ) -> list[Resolved]:
        over = super().update(alerts, readings, now)
        self.history[:0] = reversed(over)
        return over


class Scene:
    """A fleet and its time."""

    def __init__(self, *, now: float = 1000.0) -> None:
        self.now = now
        self.fleet = Fleet({selector for alert in ALERTS for selector in alert.expression.selectors()})
        self._last: dict[Subject, Observation] = {}

    def say(self, samples: Mapping[Subject, Mapping[str, float]], *, uptime_s: float = 100.0) -> None:
        """A second passes, and these processes say something; the others are silent."""
        self.now += 1
        for subject, values in samples.items():
            self._last[subject] = Observation(subject, int(self.now * 1000), uptime_s, values)
        self.fleet.observe(self._last.values(), self.now)

    def forget(self, subject: Subject) -> None:
        """The vitals of a process have expired."""
        del self._last[subject]

    def values(self, name: str) -> dict[Subject, float]:
        """The figures of an alert."""
        return named(name).values(self.fleet, self.now)
