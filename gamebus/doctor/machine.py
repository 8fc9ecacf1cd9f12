"""This machine and the settings: files, event loop, tokens, catalog."""

from __future__ import annotations

import resource
from importlib.util import find_spec
from pathlib import Path

from gamebus.catalog import Catalog
from gamebus.doctor.finding import Finding, fail, ok, warn
from gamebus.errors import ConfigurationError
from gamebus.gateway.auth import TokenVerifier
from gamebus.settings import Settings

# Beside its clients a gateway has brokers, Redis, logs.
_OTHER_FILES = 256


def examine_machine(settings: Settings, catalog: Catalog) -> list[Finding]:
    """Everything that can be seen without asking anybody."""
    return [
        _examine_files(settings.gateway.max_connections),
        _examine_loop(settings.loop),
        _examine_tokens(settings),
        _examine_catalog(settings.catalog, catalog),
    ]


def _examine_files(max_connections: int) -> Finding:
    limit, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[0], max_connections + _OTHER_FILES
    if limit < needed:
        detail = f"{limit:,} open files, {needed:,} needed for {max_connections:,} connections"
        return warn(
            "file limit",
            detail,
            f"ulimit -n {needed} (LimitNOFILE= of systemd), or lower GAMEBUS_GATEWAY__MAX_CONNECTIONS",
        )
    return ok("file limit", f"{limit:,} open files")


def _examine_loop(loop: str) -> Finding:
    if loop != "asyncio" and find_spec("uvloop") is not None:
        return ok("event loop", "uvloop")
    return warn(
        "event loop", "asyncio's own: a gateway serves about a third fewer players", "pip install 'gamebus[fast]'"
    )


def _examine_tokens(settings: Settings) -> Finding:
    try:
        TokenVerifier(settings.auth)
    except ConfigurationError as error:
        return fail("tokens", str(error), "set GAMEBUS_AUTH__SECRET (32 random bytes) or GAMEBUS_AUTH__JWKS_FILE")
    return ok("tokens", f"{', '.join(settings.auth.algorithms)} for the audience {settings.auth.audience}")


def _examine_catalog(path: Path | None, catalog: Catalog) -> Finding:
    own = f"{path}, " if path is not None else ""
    return ok("catalog", f"{own}{len(catalog.types)} event types in {len(catalog.topics)} topics")
