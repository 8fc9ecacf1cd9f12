"""One thing that was looked at. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How it was found."""

    OK = "ok"
    WARN = "warn"
    """It works, and will not in some case that comes."""

    FAIL = "fail"
    """Events are lost, or nothing works, until it is mended."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it was found, and what mends it."""

    name: str
    grade: Grade
    detail: str
    fix: str = ""
    """A command or a setting; empty where nothing is to be mended."""


def ok(name: str, detail: str) -> Finding:
    """It is as it must be."""
    return Finding(name, Grade.OK, detail)


def warn(name: str, detail: str, fix: str) -> Finding:
    """It works so far."""
    return Finding(name, Grade.WARN, detail, fix)


def fail(name: str, detail: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(name, Grade.FAIL, detail, fix)
