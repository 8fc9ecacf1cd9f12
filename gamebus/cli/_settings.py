"""Settings of a command that answers and ends."""

from __future__ import annotations

from gamebus.settings import Settings, load_settings
from gamebus.telemetry.logs import configure_logging


def load() -> Settings:
    """Read the settings, and send the logs to standard error: standard output carries the result alone.

    Raises:
        ConfigurationError: a value is wrong or a variable is unknown.
    """
    settings = load_settings()
    configure_logging(level=settings.log.level, format_=settings.log.format)
    return settings
