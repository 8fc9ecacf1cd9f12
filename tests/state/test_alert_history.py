"""The history of alerts against a real server."""

from __future__ import annotations

from gamebus.state.alert_history import MAX_ALERTS, TTL_MS, AlertHistoryState, PastAlert
from gamebus.state.connection import Connection


def past(fired_ms: int, resolved_ms: int, *, name: str = "ProcessSilent", process_id: str = "a1") -> PastAlert:
    return PastAlert(name, process_id, "here:1", "gateway", 4.5, fired_ms, resolved_ms)


class TestAlertHistory:
    async def test_the_newest_come_first_and_older_ones_go(self, connection: Connection) -> None:
        """Bounded in number and in time."""
        state = AlertHistoryState(connection)
        for number in range(MAX_ALERTS + 10):
            known = await state.note(past(10 * number, 10 * number + 5))

        assert known == await state.read()
        assert len(known) == MAX_ALERTS
        assert known[0] == past(10 * (MAX_ALERTS + 9), 10 * (MAX_ALERTS + 9) + 5)
        assert 0 < await connection.execute("PTTL", connection.keys.shared("alerts", "history")) <= TTL_MS

    async def test_an_alert_that_is_there_is_not_noted_again(self, connection: Connection) -> None:
        """The same alert and process at the same time, by whatever clock; others are others."""
        state = AlertHistoryState(connection)
        first = past(1_000, 9_000)
        await state.note(first)
        for same in (first, past(400, 8_700), past(9_000, 9_500), past(1_000, 1_000)):
            assert await state.note(same) == [first]

        others = [
            past(9_001, 9_002),
            past(0, 999),
            past(1_000, 9_000, name="NoGateway"),
            past(1_000, 9_000, process_id=""),
        ]
        for other in others:
            await state.note(other)
        assert await state.read() == [*reversed(others), first]
