"""Which dead letters a command means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import typer

from gamebus.delivery.dead_letters import DeadLetter

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """A letter passes when it meets all conditions that are given.

    A letter whose value cannot be read as an event has no type and no room, and passes neither of these two.
    """

    type: str | None = None
    room: str | None = None
    error: str | None = None
    """Part of the error, in any case."""

    since_ms: int | None = None
    """Unix milliseconds; the letter was written then or later."""

    @property
    def given(self) -> bool:
        """Whether there is any condition."""
        return any(value is not None for value in (self.type, self.room, self.error, self.since_ms))

    def passes(self, letter: DeadLetter) -> bool:
        """Whether the letter meets them."""
        if self.since_ms is not None and letter.dead_ms < self.since_ms:
            return False
        if self.error is not None and self.error.casefold() not in letter.error.casefold():
            return False
        if self.type is None and self.room is None:
            return True
        record = letter.record
        return record is not None and self.type in (None, record.type) and self.room in (None, record.room)


def parse_since(text: str, *, now_ms: int) -> int:
    """Unix milliseconds of an age (`90s`, `15m`, `2h`, `7d`) or of an ISO 8601 time, which is UTC unless it says otherwise.

    Raises:
        BadParameter: it is neither.
    """
    age = _AGE.fullmatch(text.strip())
    if age is not None:
        return now_ms - int(float(age[1]) * _UNIT_MS[age[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither an age (90s, 15m, 2h, 7d) nor an ISO time (2026-05-01T18:30)", param_hint="--since"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
