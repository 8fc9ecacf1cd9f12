"""Rows of the loss ledger, for the tests of whoever reads them."""

from __future__ import annotations

from typing import Final

from gamebus.state.ledger import LossRow

EMPTY: Final = LossRow(
    written_ms=0,
    boot="b",
    topic="gamebus.position",
    partition=0,
    attempted=0,
    processed=0,
    dropped={},
    lost_on_wire=0,
    dropped_on_failed_commit=0,
    lost_in_crash=0,
    skipped=0,
    unknown=0,
    duplicates=0,
    reordered=0,
    ended=False,
)
"""A publisher that has attempted nothing. Make others with :func:`dataclasses.replace`."""
