"""Data of the built-in event types, as the wire protocol has it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from gamebus_client.exceptions import InvalidMessage

Vector: TypeAlias = tuple[float, float, float]


def position(seq: int, x: float, y: float, z: float, velocity: Vector | None, heading: float | None) -> list[float]:
    """`[seq, x, y, z]`, then `vx, vy, vz`, then `heading`."""
    if velocity is None:
        if heading is not None:
            raise InvalidMessage("heading needs velocity: a position is [seq, x, y, z, vx, vy, vz, heading]")
        return [seq, x, y, z]
    return [seq, x, y, z, *velocity] if heading is None else [seq, x, y, z, *velocity, heading]


def heartbeat(seq: int, client_ms: int, rtt_ms: float | None) -> list[float]:
    """`[seq, client_ms]`, then the round trip where it is known."""
    return [seq, client_ms] if rtt_ms is None else [seq, client_ms, rtt_ms]


def kill(
    killer: str, victim: str, weapon: str, at_ms: int, place: Vector | None, assists: Sequence[str]
) -> dict[str, Any]:
    """Who killed whom, with what, when, and where that is known."""
    data: dict[str, Any] = {"killer": killer, "victim": victim, "weapon": weapon, "at_ms": at_ms} | _place(place)
    return data | {"assists": list(assists)} if assists else data


def death(victim: str, cause: str, at_ms: int, place: Vector | None) -> dict[str, Any]:
    """Who died of what, when, and where that is known."""
    return {"victim": victim, "cause": cause, "at_ms": at_ms} | _place(place)


def _place(place: Vector | None) -> dict[str, float]:
    return {} if place is None else dict(zip("xyz", place, strict=True))
