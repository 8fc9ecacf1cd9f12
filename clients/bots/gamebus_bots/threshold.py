"""What a run must keep, as k6 has it: `position_p99<100ms`, `acked>=1000`, `gaps==0`, `errors<1%`. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from gamebus_bots.metrics import COUNTS, LATENCY_WORDS, SHARES, known_names, latency_names

_FORM: Final = re.compile(r"([a-z][a-z0-9_]*)\s*(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)?)\s*(us|ms|s|%)?")
_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_TO_MS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class ThresholdError(ValueError):
    """Not a threshold; the message says what is known."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A threshold and what became of it. `value`: None without samples, which crosses it."""

    text: str
    value: float | None
    kept: bool
    unit: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """One condition on one figure.

    Attributes:
        text: as it was written.
        limit: milliseconds of a latency, else the number.
        percent: whether the figure is taken as a share.
    """

    text: str
    metric: str
    operator: str
    limit: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Of `metric operator number unit`; a latency without unit is in milliseconds.

        Raises:
            ThresholdError: it is none.
        """
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ThresholdError(
                f"{text!r} is no threshold: write a figure, one of {' '.join(_OPERATORS)}, a number and perhaps a unit, "
                "for instance position_p99<100ms, acked>=1000, gaps==0 or errors<1%"
            )
        metric, symbol, number, unit = match.groups()
        if metric not in known_names():
            raise ThresholdError(f"no figure is called {metric!r}{_suggestion(metric)}")
        is_latency = metric in latency_names()
        if unit == "%" and metric not in SHARES:
            raise ThresholdError(f"{text!r}: only {', '.join(SHARES)} can be given in percent")
        if unit in _TO_MS and not is_latency:
            raise ThresholdError(f"{text!r}: {metric} is no time")
        return cls(text.strip(), metric, symbol, float(number) * _TO_MS.get(unit or "ms", 1.0), unit == "%")

    def judge(self, figures: Mapping[str, float | None]) -> Judged:
        """Whether the figures keep it."""
        value = figures[self.metric]
        unit = "ms" if self.metric in latency_names() else ""
        if self.percent:
            unit = "%"
            whole = sum(figures[name] or 0 for name in SHARES[self.metric])
            value = None if not whole or value is None else 100 * value / whole
        kept = value is not None and _OPERATORS[self.operator](value, self.limit)
        return Judged(self.text, value, kept, unit)


def _suggestion(metric: str) -> str:
    close = get_close_matches(metric, known_names(), n=3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return (
        f"; there are {', '.join(LATENCY_WORDS)} with _p50 _p90 _p95 _p99 _p999 _min _mean _max "
        f"(or _service_p99 and so on), and {', '.join(COUNTS)}"
    )
