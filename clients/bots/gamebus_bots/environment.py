"""Where a run took place: what has to be alike for two runs to be compared."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from gamebus_bots.precedence import precedence

_PACKAGES: Final = ("gamebus", "gamebus-bots", "gamebus-client", "websockets", "msgpack", "uvloop", "aiokafka")


def environment(loop: str) -> dict[str, Any]:
    """This machine and what is installed on it.

    Args:
        loop: event loop of the bots.
    """
    with precedence() as scheduling:
        pass
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_mib": _memory_mib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "loop": loop,
        "nice": os.nice(0),
        "scheduling": scheduling,
        "versions": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
        "git": _revision(),
    }


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_mib() -> int | None:
    with suppress(ValueError, OSError, AttributeError):
        return (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) >> 20
    return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Revision of the working tree that the bots come from, with a `+` where it has changes; None outside of one."""
    folder = Path(__file__).parent
    with suppress(OSError, subprocess.SubprocessError):
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
        return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
    return None
