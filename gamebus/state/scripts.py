"""Lua scripts: one file each in `lua/`, one atomic operation each, named verb_noun.

A script touches one hash slot, declares every key it touches, and may run twice with the same arguments without a second
effect: redis-py re-executes a command whose reply was lost.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the digest by which Redis knows it."""

    name: str
    text: str
    sha: str


def load_script(name: str) -> Script:
    """Read `lua/{name}.lua` from the package."""
    text = files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
