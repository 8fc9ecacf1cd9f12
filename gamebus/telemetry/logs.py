"""Logging: structlog on standard error, console on a terminal, JSON lines otherwise.

Records of the standard library (aiokafka, websockets, asyncio) pass through the same renderer. No module of gamebus logs once
per message: what happens per message is counted (:mod:`gamebus.telemetry.metrics`).
"""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog

_REPEATED_AFTER_S: Final = 10.0
_MAX_REMEMBERED: Final = 256


class OncePerWhile(logging.Filter):
    """Lets the same message of a library through once in ten seconds; the next one that passes says how many did not.

    A library that dials a dead broker every few milliseconds says so each time. Bounded: past 256 different messages it begins anew.

    Args:
        library: name of the logger whose records, and those below it, it holds back.
    """

    def __init__(self, library: str) -> None:
        super().__init__()
        self._library = logging.Filter(library)
        # By message: when it last passed, and how many have not since.
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes; by its own time."""
        if not self._library.filter(record):
            return True
        message = record.getMessage()
        if len(self._seen) >= _MAX_REMEMBERED and message not in self._seen:
            self._seen.clear()
        passed_at, held_back = self._seen.get(message, (float("-inf"), 0))
        if record.created - passed_at < _REPEATED_AFTER_S:
            self._seen[message] = passed_at, held_back + 1
            return False
        self._seen[message] = record.created, 0
        if held_back:
            record.msg, record.args = f"{message} ({held_back} more since)", ()
        return True


def configure_logging(*, level: str = "info", format_: str = "auto", role: str | None = None) -> None:
    """Route all logging of this process to standard error. Call once, at start-up."""
    console = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if console else "iso", utc=not console),
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.filter_by_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if console else [structlog.processors.format_exc_info]),
                renderer,
            ],
        )
    )
    handler.addFilter(OncePerWhile("aiokafka"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # aiokafka reports at INFO and WARNING what a supervisor of gamebus handles and reports itself.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    if role is not None:
        structlog.contextvars.bind_contextvars(role=role)
