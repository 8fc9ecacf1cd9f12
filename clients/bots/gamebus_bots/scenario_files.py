"""Where scenarios come from: those that ship, TOML files, Python files."""

from __future__ import annotations

import runpy
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from gamebus_bots.scenario import Scenario, ScenarioError

_SHIPPED = files("gamebus_bots") / "scenarios"


def shipped() -> Mapping[str, Scenario]:
    """The scenarios that ship, by name."""
    names = sorted(path.name.removesuffix(".toml") for path in _SHIPPED.iterdir() if path.name.endswith(".toml"))
    return {name: _parse(name, (_SHIPPED / f"{name}.toml").read_text(encoding="utf-8")) for name in names}


def find(name: str) -> Scenario:
    """A scenario by its name, or by the path of a file (`.toml` or `.py`).

    Raises:
        ScenarioError: there is none, or it cannot be played.
    """
    path = Path(name)
    if path.suffix not in {".toml", ".py"}:
        known = shipped()
        if name not in known:
            raise ScenarioError(f"no scenario is called {name!r}; there are {', '.join(known)}, or give a path")
        return known[name]
    if not path.exists():
        raise ScenarioError(f"there is no file {name}")
    if path.suffix == ".toml":
        return _parse(path.stem, path.read_text(encoding="utf-8"))
    made = runpy.run_path(str(path)).get("scenario")
    found = made() if callable(made) else made
    if not isinstance(found, Scenario):
        raise ScenarioError(f"{name} has no function scenario() that returns a gamebus_bots.Scenario")
    return found


def _parse(name: str, text: str) -> Scenario:
    try:
        return Scenario.of({"name": name} | tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ScenarioError) as error:
        raise ScenarioError(f"{name}: {error}") from error
