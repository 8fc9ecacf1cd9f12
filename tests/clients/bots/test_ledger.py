"""What the bots know of each other's events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gamebus_bots.ledger import Ledger, agreed_order


class TestAgreedOrder:
    @given(length=st.integers(0, 20), missing=st.lists(st.sets(st.integers(0, 20)), max_size=4))
    def test_gaps_are_no_disorder(self, length: int, missing: list[set[int]]) -> None:
        """Who missed events but saw the rest in order contradicts nobody."""
        orders = [[number for number in range(length) if number not in gone] for gone in [set(), *missing]]
        assert agreed_order(orders)[1] == 0

    def test_the_odd_one_out_is_counted(self) -> None:
        """The majority's order is the room's, whoever comes first."""
        assert agreed_order([[0, 2, 1, 3], [0, 1, 2, 3], [0, 1, 2, 3]]) == ([0, 1, 2, 3], 1)

    def test_nobody_saw_anything(self) -> None:
        """An empty room is in order."""
        assert agreed_order([]) == ((), 0)
        assert agreed_order([[], []])[1] == 0


class TestLedger:
    def test_what_is_owed_begins_with_the_join(self) -> None:
        """Events from before a plain join, or lost in a reconnect that was not recovered, are no gaps."""
        ledger = Ledger()
        early, late, lost = ledger.receiver("r"), ledger.receiver("r"), ledger.receiver("r")
        early.joined(0.0, recovered=None)
        lost.joined(0.0, recovered=None)
        event = ledger.publish("a", "r", "chat", "p", planned_s=1.0, sent_s=1.0)
        ledger.ended(event, "acked", 1.0)
        late.joined(2.0, recovered=None)
        lost.joined(2.0, recovered=False)
        assert ledger.gaps() == [(early, event)]

    def test_a_recovered_reconnect_owes_everything(self) -> None:
        """`recovered` is a promise: what it does not bring is a gap."""
        ledger = Ledger()
        receiver = ledger.receiver("r")
        receiver.joined(0.0, recovered=None)
        event = ledger.publish("a", "r", "chat", "p", planned_s=1.0, sent_s=1.0)
        ledger.ended(event, "acked", 1.0)
        receiver.joined(2.0, recovered=True)
        assert ledger.gaps() == [(receiver, event)]
        assert receiver.got(event)
        assert ledger.gaps() == []

    def test_what_only_a_resume_could_bring_was_under_way_in_the_absence(self) -> None:
        """Acked while the bot was away, or after that, or before it but lost in its connection; not what others overtook on it."""
        ledger = Ledger()
        receiver = ledger.receiver("r")
        receiver.joined(0.0, recovered=None)
        times = [(1.0, 1.1), (1.2, 1.3), (1.8, 1.9), (2.5, 2.6), (2.9, 3.2), (3.1, 3.3)]
        events = [
            ledger.publish(str(number), "r", "chat", "p", planned_s=sent_s, sent_s=sent_s)
            for number, (sent_s, _) in enumerate(times)
        ]
        for event, (_, acked_s) in zip(events, times, strict=True):
            ledger.ended(event, "acked", acked_s)
        receiver.got(events[1])
        receiver.lost(2.0)
        receiver.joined(3.0, recovered=True)

        assert [receiver.was_away(event) for event in events] == [False, False, True, True, True, False]

    def test_a_duplicate_is_one_on_the_same_connection(self) -> None:
        """Once each on a connection; a new connection may repeat."""
        ledger = Ledger()
        receiver = ledger.receiver("r")
        receiver.joined(0.0, recovered=None)
        event = ledger.publish("a", "r", "chat", "p", planned_s=1.0, sent_s=1.0)
        assert receiver.got(event)
        assert not receiver.got(event)
        receiver.joined(2.0, recovered=True)
        assert receiver.got(event)
        assert (receiver.delivered, receiver.duplicates) == (3, 1)

    def test_only_acked_events_are_owed(self) -> None:
        """A refused or unknown event may or may not come."""
        ledger = Ledger()
        receiver = ledger.receiver("r")
        receiver.joined(0.0, recovered=None)
        for number, outcome in enumerate(("nacked", "unknown")):
            ledger.ended(ledger.publish(str(number), "r", "chat", "p", planned_s=1.0, sent_s=1.0), outcome, 1.0)
        assert ledger.gaps() == []

    def test_order_is_kept_within_a_class_only(self) -> None:
        """Chat against combat may differ between bots; kill against death may not."""
        ledger = Ledger()
        receivers = [ledger.receiver("r"), ledger.receiver("r")]
        chat, kill, death = (
            ledger.publish(event_type, "r", event_type, "server", planned_s=1.0, sent_s=1.0)
            for event_type in ("chat", "kill", "death")
        )
        for receiver, order in zip(receivers, ((chat, kill, death), (kill, chat, death)), strict=True):
            receiver.joined(0.0, recovered=None)
            for event in order:
                receiver.got(event)
        assert ledger.out_of_order() == 0

    def test_an_order_that_all_agree_on_may_still_be_wrong(self) -> None:
        """Events of one publisher arrive as published, unless the first was sent again."""
        ledger = Ledger()
        receiver = ledger.receiver("r")
        receiver.joined(0.0, recovered=None)
        first = ledger.publish("a", "r", "chat", "p", planned_s=1.0, sent_s=1.0)
        second = ledger.publish("b", "r", "chat", "p", planned_s=2.0, sent_s=2.0)
        receiver.got(second)
        receiver.got(first)
        assert ledger.out_of_order() == 1
        ledger.ended(first, "acked", 1.0, attempts=2)
        assert ledger.out_of_order() == 0

    def test_strangers_are_counted_apart(self) -> None:
        """Somebody else may play in the same rooms."""
        ledger = Ledger()
        assert ledger.find("x", "r") is None
        assert ledger.foreign == 1
