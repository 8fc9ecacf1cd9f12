"""Alerts: what is wrong now, what may be soon, and what was."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any, Final

from gamebus.alerts.alert import Alert
from gamebus.alerts.board import Active, Board, Resolved
from gamebus.alerts.history import Fleet, Observation, Subject
from gamebus.alerts.rules import ALERTS, REDIS_FAILING
from gamebus.dashboard.gateways import process_name
from gamebus.errors import StateError
from gamebus.state.alert_history import MAX_ALERTS, AlertHistoryState, PastAlert
from gamebus.state.connection import Connection
from gamebus.state.vitals import Vitals, VitalsState

_INTERVAL_S: Final = 0.5
_SELF: Final = Subject("dashboard", "the dashboard", "dashboard")
_BY_NAME: Final = {alert.name: alert for alert in ALERTS}


class AlertWatch:
    """Judges the fleet twice a second, whether or not somebody looks: once per dashboard, for all viewers.

    While Redis does not answer it judges Redis only; the other alerts stay as they were. What is over is noted in Redis, where it
    outlives this dashboard and is the same for all of them; until that is done, :data:`MAX_ALERTS` of it wait here.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._vitals = VitalsState(connection)
        self._fleet = Fleet({selector for alert in ALERTS for selector in alert.expression.selectors()})
        self._dashboard = Fleet(REDIS_FAILING.expression.selectors())
        self._board = Board()
        self._past = AlertHistoryState(connection)
        # As Redis has it; None until it was read.
        self._history: list[PastAlert] | None = None
        # Over and not noted yet, the oldest first; past its bound the oldest are forgotten.
        self._unwritten: deque[PastAlert] = deque(maxlen=MAX_ALERTS)
        self._began_ms = _now_ms()

    @property
    def firing(self) -> int:
        """How many alerts fire."""
        return len(self._board.firing)

    async def run(self) -> None:
        """Judge until cancelled."""
        while True:
            try:
                vitals: list[Vitals] | None = await self._vitals.read()
            except StateError:
                vitals = None
            self._judge(vitals, time.monotonic())
            with contextlib.suppress(StateError):
                await self._keep_history()
            await asyncio.sleep(_INTERVAL_S)

    async def _keep_history(self) -> None:
        """Read what was, once, and note what is over since.

        Raises:
            StateError: Redis could not answer; what is left waits for the next time.
        """
        if self._history is None:
            self._history = await self._past.read()
        while self._unwritten:
            self._history = await self._past.note(self._unwritten[0])
            self._unwritten.popleft()

    def _judge(self, vitals: list[Vitals] | None, now: float) -> None:
        # The processes cannot say that Redis fails while it does; the dashboard has a connection of its own.
        self._dashboard.observe([self._own()], now)
        if vitals is not None:
            self._fleet.observe(map(_observation, vitals), now)
        alerts = ALERTS if vitals is not None else (REDIS_FAILING,)
        readings = {alert.name: alert.values(self._fleet, now) for alert in alerts}
        readings[REDIS_FAILING.name] |= REDIS_FAILING.values(self._dashboard, now)
        offset_s = _offset_s()
        self._unwritten += (_past(resolved, offset_s) for resolved in self._board.update(alerts, readings, now))

    def _own(self) -> Observation:
        now_ms, failures = _now_ms(), self._connection.statistics().failures_total
        samples = {"redis_failures_total": failures}
        return Observation(_SELF, now_ms, uptime_s=(now_ms - self._began_ms) / 1000, samples=samples)

    def page(self) -> dict[str, Any]:
        """The page of this moment."""
        offset_s = _offset_s()
        history = (*reversed(self._unwritten), *(self._history or ()))
        return {
            "firing": [_active(active, offset_s) for active in self._board.firing],
            "pending": [_active(active, offset_s) for active in self._board.pending],
            # A name that is not known is that of another version.
            "history": [_over(past) for past in history if past.name in _BY_NAME],
            "alerts": [_about(alert) | {"cause": alert.cause, "action": alert.action} for alert in ALERTS],
        }


class Alerts:
    """The page of a watch."""

    def __init__(self, watch: AlertWatch) -> None:
        self._watch = watch

    async def read(self) -> dict[str, Any]:
        """See :class:`~gamebus.dashboard.feed.Page`."""
        return self._watch.page()


def _observation(vitals: Vitals) -> Observation:
    return Observation(
        Subject(vitals.id, process_name(vitals), vitals.role),
        at_ms=vitals.at_ms,
        uptime_s=(vitals.at_ms - vitals.started_ms) / 1000,
        samples=vitals.samples,
    )


def _about(alert: Alert) -> dict[str, Any]:
    return {
        "name": alert.name,
        "title": alert.title,
        "severity": str(alert.severity),
        "summary": alert.summary,
        "unit": alert.unit,
        "limit": alert.above if alert.above is not None else alert.below,
        "anchor": alert.anchor,
    }


def _active(active: Active, offset_s: float) -> dict[str, Any]:
    since = active.since if active.fired_at is None else active.fired_at
    return _about(active.alert) | _whom(active.subject) | {"value": active.value, "since_ms": _ms(since, offset_s)}


def _over(past: PastAlert) -> dict[str, Any]:
    whom = _whom(Subject(past.process_id, past.process, past.role))
    times = {"since_ms": past.fired_ms, "resolved_ms": past.resolved_ms}
    return _about(_BY_NAME[past.name]) | whom | times | {"value": past.value}


def _past(resolved: Resolved, offset_s: float) -> PastAlert:
    subject = resolved.subject
    return PastAlert(
        name=resolved.alert.name,
        process_id=subject.id,
        process=subject.name,
        role=subject.role,
        value=float(resolved.value),
        fired_ms=_ms(resolved.fired_at, offset_s),
        resolved_ms=_ms(resolved.resolved_at, offset_s),
    )


def _whom(subject: Subject) -> dict[str, str]:
    return {"process": subject.name, "process_id": subject.id, "role": subject.role}


def _ms(at: float, offset_s: float) -> int:
    return int((at + offset_s) * 1000)


def _offset_s() -> float:
    """From monotonic seconds to Unix seconds."""
    return time.time() - time.monotonic()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
