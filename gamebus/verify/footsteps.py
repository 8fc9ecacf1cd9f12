"""Footsteps: a studio's own type of event, which a run may migrate from at most once to at least once while people play.

Each footstep is known by who took it and its number, whichever of the two topics it went to and whoever gave it an id there.
"""

from __future__ import annotations

from typing import Any, Final

TYPE: Final = "footstep"
TOPIC: Final = "gamebus.footstep"
NEW_TOPIC: Final = f"{TOPIC}.at-least-once"

CATALOG: Final = f"""
[types.{TYPE}]
delivery = "at-most-once"
topic = "{TOPIC}"
rationale = "the next footstep comes within half a second"
per_second = 10

[topics."{TOPIC}"]
partitions = 4
"""
"""The catalog of a run: the built-in types, and this one."""


def footstep_id(player: str, data: Any) -> str:
    """Names a footstep; `data` is its content."""
    return f"{player}-{TYPE}-{data['n']}"
