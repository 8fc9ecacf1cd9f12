"""`python -m gamebus_arena`."""

from __future__ import annotations

from gamebus_arena.cli import app

app()
