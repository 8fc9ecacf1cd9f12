"""Which dead letters `gamebus dlq` takes."""

from __future__ import annotations

import pytest
import typer

from gamebus.cli._letter_filter import LetterFilter, parse_since
from gamebus.delivery.dead_letters import DeadLetter
from gamebus.record import DurableRecord, encode_durable

NOW_MS = 1_800_000_000_000
CHAT = encode_durable(DurableRecord("chat", "arena", "ann", 5, "ann", "1", {"text": "hi"}))


def letter(value: bytes = CHAT) -> DeadLetter:
    return DeadLetter(
        partition=0,
        offset=7,
        dead_ms=NOW_MS,
        source_topic="gamebus.chat",
        source_partition=3,
        source_offset=9,
        event="ann/1",
        error="StateError: Redis refused",
        key=b"arena",
        value=value,
        truncated=False,
        replayed_ms=None,
        discarded_ms=None,
    )


class TestPasses:
    @pytest.mark.parametrize(
        "wanted",
        [
            LetterFilter(),
            LetterFilter(type="chat"),
            LetterFilter(room="arena"),
            LetterFilter(error="redis REFUSED"),
            LetterFilter(since_ms=NOW_MS),
            LetterFilter("chat", "arena", "StateError", NOW_MS - 1),
        ],
    )
    def test_a_letter_that_meets_every_condition(self, wanted: LetterFilter) -> None:
        """Conditions that are not given ask for nothing; the time is inclusive, the error is matched in any case."""
        assert wanted.passes(letter())

    @pytest.mark.parametrize(
        "wanted",
        [
            LetterFilter(type="kill"),
            LetterFilter(room="lobby"),
            LetterFilter(error="timeout"),
            LetterFilter(since_ms=NOW_MS + 1),
            LetterFilter("chat", "arena", "StateError", NOW_MS + 1),
        ],
    )
    def test_not_one_that_misses_a_condition(self, wanted: LetterFilter) -> None:
        """All conditions must be met, not any."""
        assert not wanted.passes(letter())

    def test_not_a_letter_that_cannot_be_read_when_asked_for_a_type_or_room(self) -> None:
        """What is not an event has neither; it is found by its error."""
        garbage = letter(b"\xc1")
        assert not LetterFilter(type="chat").passes(garbage)
        assert not LetterFilter(room="arena").passes(garbage)
        assert LetterFilter(error="refused").passes(garbage)


class TestSince:
    @pytest.mark.parametrize(
        ("text", "since_ms"),
        [
            ("90s", NOW_MS - 90_000),
            ("15m", NOW_MS - 900_000),
            ("1.5h", NOW_MS - 5_400_000),
            ("7d", NOW_MS - 604_800_000),
            ("2027-01-15T08:00:00+00:00", NOW_MS),
            ("2027-01-15T08:00", NOW_MS),
            ("2027-01-15T09:00+01:00", NOW_MS),
        ],
    )
    def test_is_an_age_or_a_time(self, text: str, since_ms: int) -> None:
        """A time without a zone is UTC, as `list` prints it."""
        assert parse_since(text, now_ms=NOW_MS) == since_ms

    @pytest.mark.parametrize("text", ["", "2", "yesterday", "-2h", "2 weeks"])
    def test_is_refused_otherwise(self, text: str) -> None:
        """The message shows both forms."""
        with pytest.raises(typer.BadParameter, match=r"2h.*2026-05-01T18:30"):
            parse_since(text, now_ms=NOW_MS)
