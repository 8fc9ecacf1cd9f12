"""What reaches the log of a process."""

from __future__ import annotations

import logging

from gamebus.telemetry.logs import OncePerWhile


def record(created: float, message: str, *arguments: object, name: str = "aiokafka.client") -> logging.LogRecord:
    """A record of that time."""
    made = logging.LogRecord(name, logging.ERROR, "", 0, message, arguments, None)
    made.created = created
    return made


class TestOncePerWhile:
    def test_a_repeated_message_passes_once_in_ten_seconds_and_counts_the_others(self) -> None:
        """A broker that is dead for an hour does not fill the log, and nothing is kept quiet."""
        once = OncePerWhile("aiokafka")
        passed = [made for number in range(250) if once.filter(made := record(number * 0.1, "no node %d", 1))]
        assert [(made.created, made.getMessage()) for made in passed] == [
            (0.0, "no node 1"),
            (10.0, "no node 1 (99 more since)"),
            (20.0, "no node 1 (99 more since)"),
        ]

    def test_another_message_passes(self) -> None:
        """Messages differ by what they say, arguments included."""
        once = OncePerWhile("aiokafka")
        assert [once.filter(record(0.0, "no node %d", number)) for number in (1, 2, 1)] == [True, True, False]

    def test_other_loggers_pass(self) -> None:
        """gamebus itself decides how often it says something."""
        once = OncePerWhile("aiokafka")
        assert all(once.filter(record(0.0, "lost", name="gamebus.delivery.tail")) for _ in range(3))

    def test_remembers_a_bounded_number_of_messages(self) -> None:
        """Messages that never repeat cost no memory for ever."""
        once = OncePerWhile("aiokafka")
        assert all(once.filter(record(0.0, "%d", number)) for number in range(10_000))
        assert len(once._seen) <= 256
