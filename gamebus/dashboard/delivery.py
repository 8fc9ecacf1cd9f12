"""Delivery: what became of every event, class by class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from gamebus.catalog import Catalog
from gamebus.dashboard.gateways import process_name
from gamebus.state.connection import Connection
from gamebus.state.dead_letters import DeadLetterState
from gamebus.state.ledger import LedgerState
from gamebus.state.loss_summary import read_summary
from gamebus.state.vitals import Vitals, VitalsState

_EFFECTS: Final = {
    "read": "durable_consumer_records_total",
    "applied": "durable_effects_applied_total",
    "duplicates": "durable_effects_duplicates_total",
    "dead_letters": "durable_consumer_dead_letters_total",
    "retries": "durable_consumer_retries_total",
    "in_flight": "durable_consumer_in_flight",
}


class Delivery:
    """The loss identity of every at-most-once stream, and the account of the at-least-once class."""

    def __init__(self, connection: Connection, catalog: Catalog) -> None:
        self._vitals = VitalsState(connection)
        self._ledger = LedgerState(connection)
        self._letters = DeadLetterState(connection)
        self._catalog = catalog

    async def read(self) -> dict[str, Any]:
        """See :class:`~gamebus.dashboard.feed.Page`."""
        vitals = await self._vitals.read()
        names = {process.id: process_name(process) for process in vitals}
        losses = await read_summary(self._ledger, self._catalog)
        for stream in losses["streams"]:
            stream["process"] = names.get(stream["boot"])
        return {
            "realtime": losses,
            "durable": {
                "answers": _answers(vitals),
                "queued": _sums(vitals, {"queued": "durable_publisher_queued_records"})["queued"],
                "processed": _sums(vitals, _EFFECTS),
            },
            "dead_letters": [asdict(letter) for letter in await self._letters.recent()],
        }


def _answers(vitals: Iterable[Vitals]) -> dict[str, int]:
    """Durable publishes of clients by how they were answered, of the gateways heard of within a minute."""
    answers: dict[str, int] = {}
    for process in vitals:
        for name, value in process.samples.items():
            metric, _, label = name.partition("{answer=")
            if metric == "gateway_answers_total" and isinstance(value, int):
                answers[label.rstrip("}")] = answers.get(label.rstrip("}"), 0) + value
    return answers


def _sums(vitals: Iterable[Vitals], samples: dict[str, str]) -> dict[str, int]:
    """What the processes heard of within a minute counted since each began."""
    totals = dict.fromkeys(samples, 0)
    for process in vitals:
        for name, sample in samples.items():
            value = process.samples.get(sample, 0)
            totals[name] += int(value) if isinstance(value, int | float) else 0
    return totals
