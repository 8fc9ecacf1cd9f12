"""Logging: structlog on standard error, console on a terminal, JSON lines otherwise.

Records of the standard library (aiokafka, websockets, asyncio) pass through the same renderer. No module of gamebus logs once
per message: what happens per message is counted (:mod:`gamebus.telemetry.metrics`).
"""

from __future__ import annotations

import logging
import sys

import structlog


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
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # aiokafka reports at INFO and WARNING what a supervisor of gamebus handles and reports itself.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    if role is not None:
        structlog.contextvars.bind_contextvars(role=role)
