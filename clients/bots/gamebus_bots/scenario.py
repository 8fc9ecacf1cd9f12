"""What is played: who comes when, how often everyone speaks, and what goes wrong. Pure.

A load test is a :class:`Scenario`. Those that ship are TOML files beside this module; a file of one's own has the same keys, or is
a Python file with a function `scenario() -> Scenario`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any, Final, Self, get_args, get_type_hints

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class ScenarioError(ValueError):
    """A scenario that cannot be played; the message says what to change."""


def duration_s(text: str | float) -> float:
    """Seconds of `500ms`, `60s`, `2m`, `1h`; a bare number is seconds.

    Raises:
        ScenarioError: it is none of these.
    """
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ScenarioError(f"{text!r} is no duration: write 500ms, 60s, 2m or 1h")
    return float(match[1]) * _UNITS_S[match[2] or "s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the measured time, at whose end so many players are there; they come evenly in it, and none leaves.

    Attributes:
        part: of the duration, in proportion to the other stages.
        players: share of the scenario's players, 0..1.
    """

    part: float = 1.0
    players: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Again and again everyone sends faster for a moment, all at the same time.

    Attributes:
        every_s: from one burst to the next; each ends its period.
        for_s: how long it lasts.
        factor: how much faster.
    """

    every_s: float
    for_s: float
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnects:
    """Again and again connections are cut, all at the same time, and resume.

    Attributes:
        every_s: from one storm to the next.
        share: of the players.
    """

    every_s: float
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowReaders:
    """Some players stop reading for a while, again and again. What they wait for is not measured: it is their own doing.

    Attributes:
        share: of the players, those who came first.
        every_s: from one pause to the next; each has a phase of its own.
        for_s: how long a pause lasts.
    """

    share: float
    every_s: float
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRestart:
    """A broker of the local stack is killed and comes back.

    Attributes:
        at: when, as a share of the measured time.
        broker: its name in `gamebus stack status`.
    """

    at: float = 0.4
    broker: str = "kafka-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A load test.

    Attributes:
        name: of the file.
        about: one line for people.
        players: how many, spread evenly over the rooms.
        rooms: how many.
        duration_s: measured time.
        warm_up_s: before it, with the players of its beginning; what is sent in it is not measured.
        ramp_s: before the warm-up, the time in which the first players come evenly.
        rate_hz: positions a second of each player.
        chat_hz: chat lines a second of each player, in the mean.
        combat: whether a game server publishes a kill and a death for each fight.
        stages: parts of the measured time; without any everyone is there from the beginning.
        thresholds: beside those of the command line, for instance `position_p99<100ms`.
    """

    name: str = "custom"
    about: str = ""
    players: int = 20
    rooms: int = 2
    duration_s: float = 60.0
    warm_up_s: float = 3.0
    ramp_s: float = 0.0
    rate_hz: float = 20.0
    chat_hz: float = 0.1
    combat: bool = True
    stages: tuple[Stage, ...] = ()
    burst: Burst | None = None
    reconnects: Reconnects | None = None
    slow_readers: SlowReaders | None = None
    broker_restart: BrokerRestart | None = None
    thresholds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for wrong, words in (
            (
                not 1 <= self.rooms <= self.players,
                f"{self.players} players in {self.rooms} rooms: there is at least one room, and one player in each",
            ),
            (not 0 < self.rate_hz <= 1000, f"rate_hz is {self.rate_hz}: above 0 and at most 1,000 positions a second"),
            (
                min(self.duration_s, self.chat_hz, self.warm_up_s, self.ramp_s) < 0,
                "duration, warm_up, ramp and chat_hz are not negative",
            ),
            (not _rising(self.stages), "shares of players in stages are within 0..1 and do not fall: nobody leaves"),
            (any(stage.part <= 0 for stage in self.stages), "each stage has a part above 0"),
        ):
            if wrong:
                raise ScenarioError(words)
        if self.burst is not None and not (0 < self.burst.for_s < self.burst.every_s and self.burst.factor > 0):
            raise ScenarioError("a burst is shorter than its period, and its factor is above 0")
        if self.slow_readers is not None and not 0 < self.slow_readers.for_s < self.slow_readers.every_s:
            raise ScenarioError("a slow reader's pause is shorter than its period")
        if self.reconnects is not None and self.reconnects.every_s <= 0:
            raise ScenarioError("reconnects come every so many seconds, above 0")
        for name, every_s in (
            ("reconnects", None if self.reconnects is None else self.reconnects.every_s),
            ("a burst", None if self.burst is None else self.burst.every_s),
        ):
            if every_s is not None and every_s > self.duration_s:
                raise ScenarioError(
                    f"{name} every {every_s:g} s would not come once in a duration of {self.duration_s:g} s"
                )

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From a TOML or JSON document; durations may be written as `60s` without the `_s` in the key.

        Raises:
            ScenarioError: an unknown key, or a value that is none.
        """
        made: Self = _build(cls, document, "the scenario")
        return made

    def scaled(self, **changes: Any) -> Self:
        """With options of the command line laid over it; None changes nothing. More rooms than players become as many."""
        given = {name: value for name, value in changes.items() if value is not None}
        if "players" in given and "rooms" not in given:
            given["rooms"] = min(self.rooms, given["players"])
        return replace(self, **given)


def _rising(stages: tuple[Stage, ...]) -> bool:
    shares = [stage.players for stage in stages]
    return shares == sorted(shares) and all(0 <= share <= 1 for share in shares)


def _build(kind: Any, document: Any, where: str) -> Any:
    if not isinstance(document, Mapping):
        raise ScenarioError(f"{where} is a table of keys, not {document!r}")
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    given: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{key}_s" if f"{key}_s" in known else key
        if name not in known:
            spelled = ", ".join(name.removesuffix("_s") for name in known)
            raise ScenarioError(f"{where} has no {key!r}; there are {spelled}")
        given[name] = _value(hints[name], value, f"{key!r} of {where}")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in given]
    if missing:
        raise ScenarioError(f"{where} lacks {', '.join(name.removesuffix('_s') for name in missing)}")
    return kind(**given)


def _value(hint: Any, value: Any, where: str) -> Any:
    options = [option for option in get_args(hint) if option is not type(None)]
    if type(None) in get_args(hint):
        return None if value is None else _value(options[0], value, where)
    if is_dataclass(hint):
        return _build(hint, value, where)
    if options:
        if not isinstance(value, list | tuple):
            raise ScenarioError(f"{where} is a list")
        return tuple(_value(options[0], item, where) for item in value)
    if hint is float and isinstance(value, str):
        return duration_s(value)
    if isinstance(value, bool) is not (hint is bool) or not isinstance(value, (int, float) if hint is float else hint):
        raise ScenarioError(f"{where} is {value!r}, where a {hint.__name__} should stand")
    return hint(value)
