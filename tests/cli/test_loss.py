"""What `gamebus loss` says."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from gamebus.catalog_file import parse_catalog
from gamebus.cli.loss import _tables, main
from gamebus.state.ledger import LossRow, ledger_topics
from gamebus.state.loss_summary import summary
from tests.ledger_kit import EMPTY

TOPICS = ledger_topics(
    parse_catalog(
        '[types.footstep]\ndelivery = "at-most-once"\ntopic = "gamebus.position"\nrationale = "the next step comes at once"\n'
    )
)


def row(boot: str, partition: int, *, topic: str = "gamebus.position", ended: bool = False) -> LossRow:
    return replace(
        EMPTY,
        written_ms=1_000 + partition,
        boot=boot,
        topic=topic,
        partition=partition,
        attempted=100,
        processed=80,
        dropped={"backpressure": 6, "expired": 1},
        lost_on_wire=5,
        dropped_on_failed_commit=4,
        lost_in_crash=3,
        skipped=1,
        reordered=2,
        ended=ended,
    )


class TestSummary:
    def test_the_estimate_of_the_publisher_stands_beside_the_true_loss(self) -> None:
        """The seed's formula (errors by attempts) sees local drops only; the consumers count the rest."""
        position = summary([row("a", 0), row("a", 1), row("b", 0)], TOPICS)["types"][1]

        assert position["topic"] == "gamebus.position"
        assert position["types"] == ["position", "footstep"]
        assert (position["attempted"], position["processed"], position["lost_on_wire"]) == (300, 240, 15)
        assert position["dropped"] == {"backpressure": 18, "expired": 3}
        assert position["estimated_loss_rate"] == 21 / 300
        assert position["loss_rate"] == 60 / 300
        assert position["written_ms"] == 1_001

    def test_every_term_of_the_identity_is_there(self) -> None:
        """An operator can add them up."""
        for total in (*summary([row("a", 0)], TOPICS)["types"], *summary([row("a", 0)], TOPICS)["streams"]):
            losses = ("lost_on_wire", "dropped_on_failed_commit", "lost_in_crash", "skipped", "unknown")
            assert total["attempted"] == total["processed"] + sum(total["dropped"].values()) + sum(
                total[term] for term in losses
            )

    def test_a_type_nobody_sent_is_shown_with_zeros(self) -> None:
        """Silence is an answer too, and no division by zero."""
        heartbeat = summary([], TOPICS)["types"][0]

        assert heartbeat["types"] == ["heartbeat"]
        assert (heartbeat["attempted"], heartbeat["loss_rate"], heartbeat["written_ms"]) == (0, 0.0, None)

    def test_a_publisher_has_ended_when_all_its_partitions_have(self) -> None:
        """A final account is told from one that still grows."""
        streams = summary([row("a", 0, ended=True), row("a", 1), row("b", 0, ended=True)], TOPICS)["streams"]

        assert [(stream["boot"], stream["ended"], stream["attempted"]) for stream in streams] == [
            ("a", False, 200),
            ("b", True, 100),
        ]

    def test_the_tables_fit_a_terminal(self) -> None:
        """Eighty columns are enough for every word and number that the JSON holds."""
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(_tables(summary([row("1b2e7c9d0a3f", 0), row("b", 0, ended=True)], TOPICS)))
        text = console.export_text()

        assert "…" not in text
        for cell in ("heartbeat", "position, footstep", "lost after commit", "200", "7.000%", "20.000%", "b (ended)"):
            assert cell in text

    def test_the_help_explains_every_term(self) -> None:
        """An operator who meets a word in the table or in the JSON finds it in `gamebus loss --help`."""
        page = summary([row("a", 0)], TOPICS)
        types, _ = _tables(page).renderables
        words = list(types.columns[0].cells)[1:]  # type: ignore[union-attr]  # a table
        keys = page["types"][0].keys() - {"types", "topic", "rationales", "written_ms"}

        assert main.__doc__ is not None
        assert [word for word in (*words, *sorted(keys)) if word not in main.__doc__] == []
