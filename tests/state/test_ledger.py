"""The loss ledger against a real server."""

from __future__ import annotations

from dataclasses import replace

from gamebus.state.connection import Connection
from gamebus.state.ledger import MAX_ROWS, LedgerState
from tests.ledger_kit import EMPTY

ROW = replace(
    EMPTY,
    written_ms=1_000,
    boot="boot-1",
    partition=3,
    attempted=10,
    processed=7,
    dropped={"backpressure": 2},
    lost_on_wire=1,
)


class TestLedger:
    async def test_the_last_row_of_a_stream_is_read(self, connection: Connection) -> None:
        """Rows are cumulative: the newest says everything."""
        ledger = LedgerState(connection)
        other = replace(ROW, topic="gamebus.heartbeat", partition=0)
        newer = replace(ROW, written_ms=2_000, attempted=20, processed=17)

        await ledger.write([ROW, other])
        await ledger.write([newer])

        assert await ledger.read({"gamebus.position": 12}) == [newer]
        assert await ledger.read({"gamebus.position": 12, "gamebus.heartbeat": 6}) == [newer, other]
        assert await ledger.read({"gamebus.position": 3}) == []

    async def test_the_oldest_streams_go_first_when_there_are_too_many(self, connection: Connection) -> None:
        """Each start of a gateway is a stream; a year of restarts must not fill Redis."""
        ledger = LedgerState(connection)
        rows = [replace(ROW, boot=f"boot-{index}", written_ms=index) for index in range(MAX_ROWS + 10)]

        await ledger.write(rows[5:])
        await ledger.write(rows[:5])

        boots = {row.boot for row in await ledger.read({"gamebus.position": 12})}
        assert boots == {f"boot-{index}" for index in range(10, MAX_ROWS + 10)}

    async def test_the_ledger_of_a_topic_that_is_gone_vanishes(self, connection: Connection) -> None:
        """Every key has an end."""
        await LedgerState(connection).write([ROW])

        key = connection.keys.shared("loss", "gamebus.position/3")
        assert 0 < await connection.execute("PTTL", key) <= 24 * 3_600_000
