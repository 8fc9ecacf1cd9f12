"""Two runs beside each other: only where they can be compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gamebus_bots.metrics import PROMISED
from gamebus_bots.report import FORMAT

_ALIKE: Final = ("cpu", "cores", "memory_mib", "system", "python", "loop", "nice", "scheduling")
_OWN: Final = "gamebus"
"""Versions of packages whose name begins so may differ: they are what is compared."""

_LATENCIES: Final = (
    *(
        f"{name}_{kind}_{part}"
        for name in ("position", "ack", "chat")
        for kind in ("response", "service")
        for part in ("p50", "p99", "max")
    ),
    *(f"{name}_p99" for name in ("send_lag", "read_lag", "connect", "resume")),
)
_MORE_IS_BETTER: Final = ("sent_per_s", "received_per_s", "acked_per_s", "delivered_per_s")
_LESS_IS_BETTER: Final = (*_LATENCIES, "nacked", "dropped", "errors", *PROMISED)
_SERVERS: Final = {"players_per_gateway_core": True, "players_per_core": True}


class NoReport(ValueError):
    """A document that is no report of a run."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of two runs.

    Attributes:
        relative: of the second to the first, as a share; None where the first is 0 or one has no samples.
        better: whether the second is better; None when they are equal or unknown.
    """

    name: str
    first: float | None
    second: float | None
    relative: float | None
    better: bool | None


def unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Why two runs cannot be compared, in words; empty when they can.

    Raises:
        NoReport: one of them is none.
    """
    for document in (first, second):
        if document.get("format") != FORMAT:
            raise NoReport(
                f"no report of `gamebus bots run --json` of this version (format {document.get('format')!r}, not {FORMAT!r})"
            )
    pairs = [(name, first["environment"].get(name), second["environment"].get(name)) for name in _ALIKE]
    versions = [document["environment"].get("versions", {}) for document in (first, second)]
    foreign = sorted({name for table in versions for name in table if not name.startswith(_OWN)})
    pairs += [(f"version of {name}", versions[0].get(name), versions[1].get(name)) for name in foreign]
    keys = [key for key in first["scenario"] if key not in {"about", "thresholds"}]
    pairs += [(f"scenario's {key}", first["scenario"][key], second["scenario"].get(key)) for key in keys]
    pairs.append(("processes", first["options"].get("processes"), second["options"].get("processes")))
    pairs.append(("seed", first["options"].get("seed"), second["options"].get("seed")))
    found = [f"{name}: {one} and {other}" for name, one, other in pairs if one != other]
    found += [
        f"the {name} run is invalid: {document['invalid']}"
        for name, document in (("first", first), ("second", second))
        if document["invalid"]
    ]
    return found


def changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Change]:
    """Every figure that both have."""
    found = [_change(name, first["figures"], second["figures"], more=False) for name in _LESS_IS_BETTER]
    found += [_change(name, first["figures"], second["figures"], more=True) for name in _MORE_IS_BETTER]
    found += [_change(name, first["servers"], second["servers"], more=more) for name, more in _SERVERS.items()]
    return [change for change in found if change.first is not None or change.second is not None]


def _change(name: str, first: Mapping[str, Any], second: Mapping[str, Any], *, more: bool) -> Change:
    one, other = first.get(name), second.get(name)
    if one is None or other is None or one == other:
        return Change(name, one, other, 0.0 if one == other and one is not None else None, None)
    return Change(name, one, other, None if one == 0 else (other - one) / one, (other > one) is more)
