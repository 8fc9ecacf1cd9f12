"""The loss ledger against a real server."""

from __future__ import annotations

from dataclasses import replace

from gamebus.catalog_file import parse_catalog
from gamebus.state.connection import Connection
from gamebus.state.ledger import MAX_ROWS, LedgerState, LedgerTopic
from gamebus.state.loss_summary import read_summary
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

    async def test_what_the_processors_account_for_is_shown_whatever_the_file_says(
        self, connection: Connection
    ) -> None:
        """A type that migrated is in another topic; before any processor has spoken, the file is all that is known."""
        ledger = LedgerState(connection)
        catalog = parse_catalog()
        by_file = await read_summary(ledger, catalog)
        assert [topic["types"] for topic in by_file["types"]] == [["heartbeat"], ["position"]]

        await ledger.announce([LedgerTopic("loot.at-most-once", 2, {"loot": "loot respawns anyway"})])
        await ledger.write([replace(ROW, topic="loot.at-most-once", partition=1)])
        (loot,) = (await read_summary(ledger, catalog))["types"]

        assert (loot["types"], loot["topic"], loot["attempted"]) == (["loot"], "loot.at-most-once", 10)
        assert loot["rationales"] == {"loot": "loot respawns anyway"}
        assert 0 < await connection.execute("PTTL", connection.keys.shared("loss", "topics")) <= 24 * 3_600_000
