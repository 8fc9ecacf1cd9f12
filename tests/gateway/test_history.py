"""Durable events by room: resume and duplicates."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from gamebus.gateway.history import DUPLICATE_WINDOW_EVENTS, DUPLICATE_WINDOW_S, History, LoggedEvent
from gamebus.protocol.frames import Encoding
from gamebus.record import DurableRecord
from tests.gateway.hub_kit import CATALOG, CHAT, COMBAT, Kafka, chat, read_frame


class Tail:
    """A history that is fed."""

    def __init__(
        self,
        history_ms: int = 120_000,
        history_events: int = 1000,
        memory_bytes: int = 1 << 30,
        rooms: dict[str, int] | None = None,
    ) -> None:
        self.kafka = Kafka(rooms=rooms or {})
        self.now = 0.0
        self.history = History(
            catalog=CATALOG,
            partition=self.kafka.partition,
            history_ms=history_ms,
            history_events=history_events,
            memory_bytes=memory_bytes,
        )

    def begin(self) -> Tail:
        """Caught up."""
        self.history.begin(self.kafka.ends())
        return self

    def publish(self, event: DurableRecord, topic: str = CHAT) -> LoggedEvent | None:
        """An event arrives."""
        _, partition, record = self.kafka.durable(event, topic)
        self.history.advance(topic, partition, record.offset)
        return self.history.append(topic, record.offset, event, value_bytes=len(record.value or b""), now=self.now)

    def ids_after(self, room: str, place: dict[str, int]) -> list[str] | None:
        """What a client missed that stands at a place."""
        missed = self.history.missed(room, place, self.now)
        return None if missed is None else [event.record.id for event in missed]


class TestDuplicates:
    """The window of ids."""

    def test_an_event_that_is_sent_again_is_not_delivered_again(self) -> None:
        """A publisher re-sends what was not acknowledged; the others saw it already."""
        tail = Tail().begin()
        assert tail.publish(chat("r", "1")) is not None
        assert tail.publish(chat("r", "1")) is None

    def test_publisher_room_and_id_name_an_event(self) -> None:
        """Two publishers may use the same id, and one publisher the same id in two rooms."""
        tail = Tail().begin()
        assert tail.publish(chat("r", "1", "alice")) is not None
        assert tail.publish(chat("r", "1", "bob")) is not None
        assert tail.publish(chat("other", "1", "alice")) is not None

    def test_holds_for_two_minutes_from_the_last_time(self) -> None:
        """A publisher that tries again every minute for ten is never delivered twice."""
        tail = Tail(history_ms=1000).begin()
        assert tail.publish(chat("r", "1")) is not None
        for _ in range(10):
            tail.now += DUPLICATE_WINDOW_S - 1
            tail.history.sweep(tail.now)
            assert tail.publish(chat("r", "1")) is None

    def test_holds_ten_thousand_events_of_the_room(self) -> None:
        """The window of one room is bounded, and no other room's traffic shortens it."""
        tail = Tail().begin()
        tail.publish(chat("quiet", "1"))
        tail.publish(chat("r", "first"))
        for index in range(DUPLICATE_WINDOW_EVENTS - 1):
            tail.publish(chat("r", str(index)))
        assert tail.publish(chat("r", "first")) is None

        for index in range(DUPLICATE_WINDOW_EVENTS):
            tail.publish(chat("r", f"more{index}"))
        assert tail.history.statistics().ids == DUPLICATE_WINDOW_EVENTS + 1
        assert tail.publish(chat("quiet", "1")) is None

    def test_a_restarted_gateway_knows_what_its_predecessor_delivered(self) -> None:
        """The tail begins some minutes back: what it brings before clients are let in counts."""
        tail = Tail()
        assert tail.publish(chat("r", "1")) is not None
        tail.begin()
        assert tail.publish(chat("r", "1")) is None


class TestResume:
    """What a client missed."""

    def test_events_after_the_cursor_in_order_of_delivery(self) -> None:
        """The cursor of an event covers all durable topics as they were delivered."""
        tail = Tail().begin()
        tail.publish(chat("r", "1"))
        second = tail.publish(chat("r", "2"), COMBAT)
        tail.publish(chat("other", "x"))
        tail.publish(chat("r", "3"), COMBAT)
        tail.publish(chat("r", "4"))
        assert second is not None

        place = tail.history.parse("r", second.cursor)

        assert place is not None
        assert tail.ids_after("r", place) == ["3", "4"]

    def test_the_head_has_nothing_after_it(self) -> None:
        """A plain join gets no old events, in a room with or without any."""
        tail = Tail().begin()
        assert tail.ids_after("empty", tail.history.head("empty")) == []
        tail.publish(chat("r", "1"))
        assert tail.ids_after("r", tail.history.head("r")) == []

    def test_nothing_before_this_gateway_began_to_read(self) -> None:
        """A cursor from before is unknown here, even in a room of which nothing was read: something may have been."""
        tail = Tail(rooms={"r": 0})
        tail.kafka.offsets = {(CHAT, 0): 100, (COMBAT, 0): 50}
        tail.begin()

        assert tail.ids_after("r", {CHAT: 99, COMBAT: 50}) is None
        assert tail.ids_after("r", {CHAT: 100, COMBAT: 50}) == []

    def test_the_tail_begins_at_its_first_record(self) -> None:
        """Events that the tail brought while it caught up can be resumed."""
        tail = Tail(rooms={"r": 0})
        tail.kafka.offsets = {(CHAT, 0): 100}
        tail.publish(chat("r", "1"))
        tail.publish(chat("r", "2"))
        tail.begin()

        assert tail.ids_after("r", {CHAT: 100, COMBAT: 0}) == ["1", "2"]
        assert tail.ids_after("r", {CHAT: 99, COMBAT: 0}) is None

    def test_a_cursor_from_ahead_is_not_known_yet(self) -> None:
        """Another gateway may have read further: its clients must not get older events again."""
        tail = Tail().begin()
        tail.publish(chat("r", "1"))
        ahead = {CHAT: 5, COMBAT: 0}

        assert tail.history.is_ahead("r", ahead)
        assert tail.ids_after("r", ahead) is None
        assert not tail.history.is_ahead("r", tail.history.head("r"))

    def test_too_old_by_number(self) -> None:
        """Past `history_events` a cursor is refused, rather than resumed with a gap."""
        tail = Tail(history_events=3).begin()
        places = [tail.history.head("r")]
        for index in range(5):
            tail.publish(chat("r", str(index)))
            places.append(tail.history.head("r"))

        assert tail.ids_after("r", places[1]) is None
        assert tail.ids_after("r", places[2]) == ["2", "3", "4"]

    def test_too_old_by_time(self) -> None:
        """Past `history_ms` likewise; where nothing was missed, an old cursor is as good as a new one."""
        tail = Tail(history_ms=10_000).begin()
        before = tail.history.head("r")
        quiet = tail.history.head("quiet")
        tail.publish(chat("r", "1"))
        after = tail.history.head("r")
        tail.now += 11

        assert tail.ids_after("r", before) is None
        assert tail.ids_after("r", after) == []
        assert tail.ids_after("quiet", quiet) == []

    def test_a_forgotten_room_is_not_taken_for_one_without_events(self) -> None:
        """When nothing is kept of a room any more, its dropped events must still be known to be missing."""
        tail = Tail(history_ms=1000).begin()
        before = tail.history.head("r")
        tail.publish(chat("r", "1"))
        after = tail.history.head("r")
        tail.now += DUPLICATE_WINDOW_S + 1
        tail.history.sweep(tail.now)

        assert tail.history.statistics().rooms == 0
        assert tail.ids_after("r", before) is None
        assert tail.ids_after("r", after) == []

    def test_a_cursor_of_another_room_is_none(self) -> None:
        """Offsets of another partition would skip or repeat events."""
        tail = Tail().begin()
        assert tail.history.parse("r", tail.history.cursor("other", tail.history.head("other"))) is None
        assert tail.history.parse("r", "garbage") is None


class TestAcks:
    """Places for publishers."""

    def test_behind_the_record_when_it_is_next(self) -> None:
        """The publisher knows its own event, so it need not be replayed."""
        tail = Tail().begin()
        tail.publish(chat("r", "1"))
        assert tail.history.after("r", CHAT, 1) == {CHAT: 2, COMBAT: 0}

    def test_never_past_what_was_not_delivered(self) -> None:
        """Events of others before it have not been delivered yet: a cursor past them would lose them."""
        tail = Tail().begin()
        tail.publish(chat("r", "1"))
        assert tail.history.after("r", CHAT, 5) == {CHAT: 1, COMBAT: 0}

    def test_delivered_already(self) -> None:
        """The tail may be faster than the acknowledgement."""
        tail = Tail().begin()
        tail.publish(chat("r", "1"))
        tail.publish(chat("r", "2"))
        assert tail.history.after("r", CHAT, 0) == {CHAT: 2, COMBAT: 0}


class TestMemory:
    """Bounds."""

    def test_the_eldest_of_all_rooms_go_first(self) -> None:
        """One busy room cannot make the gateway grow; what was dropped is refused, not skipped."""
        tail = Tail(memory_bytes=20_000).begin()
        begin = {room: tail.history.head(room) for room in ("a", "b")}
        tail.publish(chat("a", "1"))
        for index in range(50):
            tail.publish(chat("b", str(index)))

        figures = tail.history.statistics()
        assert figures.used_bytes <= 20_000
        assert figures.evicted_total == 51 - figures.events
        assert tail.ids_after("a", begin["a"]) is None
        assert tail.ids_after("b", begin["b"]) is None

    @given(
        steps=st.lists(
            st.one_of(
                st.tuples(st.sampled_from("abc"), st.integers(0, 400)),
                st.tuples(st.just("wait"), st.integers(1, 60)),
                st.tuples(st.just("sweep"), st.just(0)),
            ),
            max_size=80,
        )
    )
    def test_figures_are_exact_and_a_resume_is_complete_or_refused(self, steps: list[tuple[str, int]]) -> None:
        """For any traffic: from every place a client may stand at, it gets exactly what came after, or None (Hypothesis)."""
        tail = Tail(history_ms=50_000, history_events=5, memory_bytes=25_000, rooms={"a": 0, "b": 0, "c": 1}).begin()
        places: dict[str, list[tuple[dict[str, int], int]]] = {room: [(tail.history.head(room), 0)] for room in "abc"}
        published: dict[str, list[str]] = {room: [] for room in "abc"}
        for number, (room, argument) in enumerate(steps):
            if room == "wait":
                tail.now += argument
            elif room == "sweep":
                tail.history.sweep(tail.now)
            else:
                topic = CHAT if argument % 2 else COMBAT
                tail.publish(chat(room, str(number), text="x" * (argument + 1)), topic)
                published[room].append(str(number))
                places[room].append((tail.history.head(room), len(published[room])))

        for room in "abc":
            for place, seen in places[room]:
                missed = tail.ids_after(room, place)
                assert missed is None or missed == published[room][seen:]
            assert tail.ids_after(room, tail.history.head(room)) == []
        figures = tail.history.statistics()
        assert figures.used_bytes <= 25_000
        tail.now += DUPLICATE_WINDOW_S + 1
        tail.history.sweep(tail.now)
        figures = tail.history.statistics()
        assert (figures.rooms, figures.events, figures.used_bytes, figures.ids) == (0, 0, 0, 0)


class TestFrame:
    """The `event` message."""

    def test_is_what_the_protocol_says_and_made_once(self) -> None:
        """`["event", type, room, player, server_ms, data, id, cursor]`, the same bytes for every receiver."""
        tail = Tail().begin()
        record = chat("r", "1", text="héllo")
        event = tail.publish(record)
        assert event is not None

        for encoding in Encoding:
            frame = event.frame(encoding)
            assert frame is event.frame(encoding)
            assert read_frame(frame, encoding) == [
                "event", "chat", "r", "alice", record.server_ms, {"text": "héllo"}, "1", event.cursor,
            ]  # fmt: skip


class TestFollow:
    """Another generation of the catalog."""

    CATALOG = replace(
        CATALOG,
        types=MappingProxyType(
            {**CATALOG.types, "loot": replace(CATALOG.types["chat"], name="loot", topic="gamebus.loot")}
        ),
        topics=MappingProxyType(
            {**CATALOG.topics, "gamebus.loot": replace(CATALOG.topics[CHAT], name="gamebus.loot")},
        ),
    )

    def test_a_topic_that_comes_is_resumed_from_its_beginning(self) -> None:
        """Cursors and places from before it know nothing of it, and miss nothing of it."""
        tail = Tail().begin()
        tail.publish(chat("r", "1"))
        place = tail.history.head("r")
        cursor = tail.history.cursor("r", place)
        tail.history.follow(self.CATALOG)
        tail.publish(chat("r", "2"), "gamebus.loot")
        tail.publish(chat("r", "3"))

        assert tail.ids_after("r", place) == ["2", "3"]
        parsed = tail.history.parse("r", cursor)
        assert parsed is not None
        assert tail.ids_after("r", parsed) == ["2", "3"]
        assert not tail.history.is_ahead("r", place)

    def test_of_a_topic_that_goes_nothing_is_resumed(self) -> None:
        """And it stands in nobody's way."""
        tail = Tail().begin()
        tail.history.follow(self.CATALOG)
        place = tail.history.head("r")
        tail.publish(chat("r", "1"), "gamebus.loot")
        tail.publish(chat("r", "2"))
        tail.history.follow(CATALOG)

        assert tail.ids_after("r", place) == ["2"]
        assert tail.history.after("r", "gamebus.loot", 0).keys() == CATALOG_TOPICS
        tail.now += DUPLICATE_WINDOW_S * 2
        tail.history.sweep(tail.now)
        assert tail.history.statistics().rooms == 0


CATALOG_TOPICS = {CHAT, COMBAT}
