"""The growth of the loss ledger, as counters."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gamebus.processors.loss_account import LossAccount
from gamebus.state.ledger import LossRow
from tests.ledger_kit import EMPTY


def grown(account: LossAccount) -> dict[str, int]:
    return {term: amount for term, amount in account.statistics().events.items() if amount}


class TestLossAccount:
    def test_counts_what_grows(self) -> None:
        """Every term of every stream, drops of all reasons together."""
        account = LossAccount()
        account.begin(account.unknown([EMPTY]), [])
        account.take([replace(EMPTY, attempted=10, processed=7, dropped={"expired": 2, "no_leader": 1})])
        account.take([replace(EMPTY, attempted=12, processed=9, dropped={"expired": 2, "no_leader": 1})])
        account.take(
            [replace(EMPTY, attempted=12, processed=9, dropped={"expired": 3}), replace(EMPTY, boot="c", attempted=1)]
        )

        assert grown(account) == {"attempted": 13, "processed": 9, "dropped": 3}

    def test_a_partition_that_comes_goes_on_where_its_last_owner_was(self) -> None:
        """What was counted elsewhere is not counted again; what the last owner lost when it died is."""
        account = LossAccount()
        found = [replace(EMPTY, attempted=120, processed=90, lost_in_crash=30), replace(EMPTY, boot="c", attempted=3)]
        assert account.unknown(found) == [(EMPTY.topic, 0)]
        account.begin(
            [(EMPTY.topic, 0)], [replace(EMPTY, attempted=100, processed=90), replace(EMPTY, boot="old", attempted=7)]
        )
        account.take(found)

        assert account.unknown(found) == []
        assert grown(account) == {"attempted": 23, "lost_in_crash": 30}

    def test_a_partition_that_was_away_is_asked_for_again(self) -> None:
        """Another process has counted meanwhile."""
        account = LossAccount()
        account.begin([(EMPTY.topic, 0)], [])
        account.take([replace(EMPTY, attempted=5)])
        account.take([])
        assert account.unknown([EMPTY]) == [(EMPTY.topic, 0)]
        account.begin([(EMPTY.topic, 0)], [replace(EMPTY, attempted=50)])
        account.take([replace(EMPTY, attempted=51)])

        assert grown(account) == {"attempted": 6}

    @given(st.lists(st.integers(0, 1000), min_size=1), st.data())
    def test_owners_together_count_the_highest_value_once(self, values: list[int], data: st.DataObject) -> None:
        """However often a partition moves, and though a row goes back at times, the sum over processes is what it rose to."""
        accounts = [LossAccount(), LossAccount()]
        owner, written = accounts[0], list[LossRow]()
        highest = 0
        for value in values:
            if data.draw(st.booleans()):
                owner.take([])
                owner = data.draw(st.sampled_from(accounts))
            # A new owner begins a little behind at worst: what is written is never lower than what was.
            highest = max(highest, value)
            row = replace(EMPTY, attempted=highest)
            if unknown := owner.unknown([row]):
                owner.begin(unknown, written)
            owner.take([row])
            written = [row]

        assert sum(account.statistics().events["attempted"] for account in accounts) == highest
