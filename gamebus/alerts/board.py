"""Which alerts are pending and which fire, and which have been: the state machine of Prometheus, for every alert and process.

==========  ==============================================================================================
pending     the condition holds, not yet for `for_s`; if it ends before, nothing has been
firing      it held for `for_s`, and has not been gone for `keep_s`
resolved    it is over
==========  ==============================================================================================

Time is an argument, monotonic seconds. Bounded: one entry for each alert and process that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gamebus.alerts.alert import Alert
from gamebus.alerts.history import Subject


@dataclass(frozen=True, slots=True)
class Active:
    """An alert of one process, or of the fleet.

    Attributes:
        since: when its condition began to hold.
        fired_at: when it began to fire; None while it is pending.
        held_at: when its condition held last.
        value: the figure then.
    """

    alert: Alert
    subject: Subject
    since: float
    fired_at: float | None
    held_at: float
    value: float


@dataclass(frozen=True, slots=True)
class Resolved:
    """An alert that has fired and is over. `value`: the last figure that was an alarm."""

    alert: Alert
    subject: Subject
    fired_at: float
    resolved_at: float
    value: float


class Board:
    """The state of all alerts."""

    def __init__(self) -> None:
        self._active: dict[tuple[str, Subject], Active] = {}

    @property
    def firing(self) -> list[Active]:
        """Those that fire, the newest first."""
        return sorted((a for a in self._active.values() if a.fired_at is not None), key=lambda a: -(a.fired_at or 0.0))

    @property
    def pending(self) -> list[Active]:
        """Those that may fire soon, the newest first."""
        return sorted((a for a in self._active.values() if a.fired_at is None), key=lambda a: -a.since)

    def update(
        self, alerts: Iterable[Alert], readings: Mapping[str, Mapping[Subject, float]], now: float
    ) -> list[Resolved]:
        """Judge these alerts by their figures, by the name of the alert; the other alerts stay as they are.

        Returns:
            Those that are over now.
        """
        over: list[Resolved] = []
        for alert in alerts:
            values = readings[alert.name]
            known = {subject for name, subject in self._active if name == alert.name}
            for subject in known | values.keys():
                value = values.get(subject)
                if value is not None and alert.holds(value):
                    self._hold(alert, subject, value, now)
                elif subject in known:
                    over += self._let_go(alert, subject, now)
        return over

    def _hold(self, alert: Alert, subject: Subject, value: float, now: float) -> None:
        key = alert.name, subject
        active = self._active.get(key) or Active(alert, subject, now, None, now, value)
        fired_at = active.fired_at
        if fired_at is None and now - active.since >= alert.for_s:
            fired_at = now
        self._active[key] = replace(active, fired_at=fired_at, held_at=now, value=value)

    def _let_go(self, alert: Alert, subject: Subject, now: float) -> list[Resolved]:
        key = alert.name, subject
        active = self._active[key]
        if active.fired_at is None:
            del self._active[key]
        elif now - active.held_at >= alert.keep_s:
            del self._active[key]
            return [Resolved(alert, subject, active.fired_at, now, active.value)]
        return []
