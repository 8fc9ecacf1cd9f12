"""An alert: a condition on the fleet, and what to know and to do when it holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from gamebus.alerts.expression import Expression
from gamebus.alerts.history import Fleet, Subject


class Severity(StrEnum):
    """How soon somebody has to look."""

    CRITICAL = "critical"
    """Now: players notice, or a promise is broken."""

    WARNING = "warning"
    """Today."""


class Scope(StrEnum):
    """Whose figure it is."""

    PROCESS = "process"
    FLEET = "fleet"


Unit = Literal["ratio", "seconds", "per_second", "count", "bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert.

    Attributes:
        name: as Prometheus has it, without the prefix.
        above, below: the condition holds when the figure is; exactly one of them is given.
        for_s: how long it must hold before the alert fires.
        keep_s: how long it must not hold before the alert is over, so that it does not flap.
        unit: of the figure.
        summary: one line: what is the case.
        cause: what is behind it, as a rule.
        action: what to do about it.
    """

    name: str
    expression: Expression
    above: float | None = None
    below: float | None = None
    scope: Scope = Scope.PROCESS
    severity: Severity = Severity.WARNING
    for_s: float = 3.0
    keep_s: float = 5.0
    unit: Unit
    summary: str
    cause: str
    action: str

    @property
    def title(self) -> str:
        """The name for people."""
        words: list[str] = re.findall(r"[A-Z][a-z]*", self.name)
        return " ".join([words[0], *map(str.lower, words[1:])])

    @property
    def anchor(self) -> str:
        """Of its paragraph in docs/operations.md."""
        return self.title.lower().replace(" ", "-")

    def holds(self, value: float) -> bool:
        """Whether a figure is an alarm."""
        return value > self.above if self.above is not None else value < (self.below or 0.0)

    def values(self, fleet: Fleet, now: float) -> dict[Subject, float]:
        """The figure of every process, or that of the fleet. What cannot be told is not there."""
        groups = (
            [(Subject(), fleet.processes)]
            if self.scope is Scope.FLEET
            else [(process.subject, [process]) for process in fleet.processes]
        )
        found = ((subject, self.expression.value(group, now)) for subject, group in groups)
        return {subject: value for subject, value in found if value is not None}

    def promql(self) -> str:
        """The condition for Prometheus."""
        by = " by (job, instance)" if self.scope is Scope.PROCESS else ""
        sign, threshold = ("<", self.below) if self.above is None else (">", self.above)
        return f"{self.expression.promql(by)} {sign} {threshold:g}"
