"""The outbox of one client."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gamebus.gateway.outbox import Outbox
from gamebus.protocol.frames import Encoding
from tests.gateway.hub_kit import ManualLoop


@dataclass(frozen=True)
class NamedEvent:
    """An event whose frame is its name."""

    name: str
    size: int = 4

    @property
    def cursor(self) -> str:
        """Where to resume."""
        return f"after {self.name}"

    def frame(self, encoding: Encoding) -> bytes:
        """The name, padded."""
        return self.name.encode().ljust(self.size, b".")


class CountingRoom:
    """Owes a tick per miss, and says how often it was asked."""

    def __init__(self, name: bytes = b"tick") -> None:
        self.name = name
        self.asked = 0

    def catch_up(self, outbox: Outbox) -> bytes | None:
        """One frame."""
        self.asked += 1
        return self.name


class Line:
    """A transport: `capacity` bytes until it asks for a pause."""

    def __init__(self, limit_bytes: int = 100) -> None:
        self.loop = ManualLoop()
        self.capacity = 1 << 30
        self.written: list[bytes] = []
        self.overflows = 0
        self.outbox = Outbox(
            self.write,
            encoding=Encoding.MSGPACK,
            on_overflow=self.overflowed,
            call_soon=self.loop.call_soon,
            limit_bytes=limit_bytes,
        )

    def write(self, frame: bytes) -> None:
        """Take a frame; past the capacity ask for a pause within the call, as transports do."""
        self.written.append(frame)
        self.capacity -= len(frame)
        if self.capacity < 0:
            self.outbox.pause()

    def overflowed(self) -> None:
        """Count."""
        self.overflows += 1

    def take(self, size: int) -> None:
        """The peer reads."""
        self.capacity = size
        self.outbox.resume()
        self.loop.settle()


class TestFrames:
    """Control and durable frames."""

    def test_an_open_transport_gets_frames_at_once(self) -> None:
        """Nothing is queued for a client that reads."""
        line = Line()

        line.outbox.send(b"one")
        line.outbox.event("r", NamedEvent("two"))

        assert line.written == [b"one", b"two."]
        assert line.outbox.writable
        assert line.outbox.statistics().peak_bytes == 0

    def test_a_pause_within_a_write_stops_the_flush(self) -> None:
        """asyncio's transports call `pause_writing` from within `write`: nothing may follow until they resume."""
        line = Line()
        line.outbox.pause()
        for name in (b"1", b"2", b"3"):
            line.outbox.send(name)

        line.take(0)
        assert line.written == [b"1"]

        line.take(10)
        assert line.written == [b"1", b"2", b"3"]
        assert line.outbox.writable

    def test_overflow_is_reported_once_and_never_from_within_a_send(self) -> None:
        """A broadcast must not be re-entered by the close of one of its receivers, and a close happens once."""
        line = Line(limit_bytes=10)
        line.outbox.pause()
        line.outbox.send(b"12345678")
        line.outbox.send(b"12345678")
        line.outbox.send(b"12345678")
        assert line.overflows == 0

        line.loop.settle()

        assert line.overflows == 1
        assert line.outbox.statistics().overflowed
        line.take(1000)
        assert line.written == []

    def test_a_frame_larger_than_the_bound_passes_alone(self) -> None:
        """Else a `joined` of a huge room could never be sent to a client whose transport is full for a moment."""
        line = Line(limit_bytes=10)
        line.outbox.pause()

        line.outbox.send(b"x" * 50)
        assert not line.outbox.statistics().overflowed

        line.outbox.send(b"y")
        assert line.outbox.statistics().overflowed

    def test_the_bound_is_of_what_waits_now(self) -> None:
        """A client may get any amount, as long as it reads."""
        line = Line(limit_bytes=10)
        for _ in range(100):
            line.outbox.pause()
            line.outbox.send(b"12345678")
            line.take(1000)

        assert len(line.written) == 100
        assert line.outbox.statistics().queued_bytes == 0
        assert line.outbox.statistics().peak_bytes == 8


class TestReservation:
    """A place for an answer that is not known yet."""

    def test_later_frames_wait_for_it(self) -> None:
        """`pong` to a `ping` that follows a `join` comes after `joined`."""
        line = Line()
        answer = line.outbox.reserve()
        line.outbox.send(b"pong")
        assert line.written == []
        assert not line.outbox.empty

        line.outbox.fill(answer, b"joined")

        assert line.written == [b"joined", b"pong"]
        assert line.outbox.writable

    def test_withdrawn_it_lets_the_others_pass(self) -> None:
        """A connection that ends while it joins still gets its `bye`."""
        line = Line()
        answer = line.outbox.reserve()
        line.outbox.send(b"bye")

        line.outbox.fill(answer, b"")

        assert line.written == [b"bye"]

    def test_answers_count(self) -> None:
        """A client that joins again and again without reading is cut off."""
        line = Line(limit_bytes=100)
        line.outbox.pause()
        for _ in range(20):
            line.outbox.fill(line.outbox.reserve(), b"joined....")

        line.loop.settle()

        assert line.overflows == 1


class TestTicks:
    """Ticks behind a slow reader."""

    def test_however_many_were_missed_one_is_owed_per_room(self) -> None:
        """Memory of a stalled client does not grow with time."""
        line = Line()
        rooms = [CountingRoom(b"a"), CountingRoom(b"b")]
        line.outbox.pause()
        for _ in range(1000):
            for room in rooms:
                assert line.outbox.miss_tick(room)
        assert line.outbox.statistics().missed_rooms == 2
        assert line.outbox.statistics().queued_bytes == 0

        line.take(1000)

        assert line.written == [b"a", b"b"]
        assert [room.asked for room in rooms] == [1, 1]

    def test_a_closed_outbox_owes_nothing(self) -> None:
        """A client that was cut off keeps no room busy."""
        line = Line()
        line.outbox.close()

        assert not line.outbox.miss_tick(CountingRoom())


class TestReplay:
    """Missed events."""

    def test_is_paced_by_the_reader_and_not_counted(self) -> None:
        """A client may resume from far back through a slow line: history is no reason to cut it off."""
        line = Line(limit_bytes=10)
        line.capacity = 8
        events = [NamedEvent(f"e{index:02}") for index in range(30)]

        line.outbox.replay("r", events, "given")

        assert line.written == [b"e00.", b"e01.", b"e02."]
        assert line.outbox.replay_cursor("r") == "after e02"
        assert line.outbox.statistics().queued_bytes == 0
        while not line.outbox.writable:
            line.take(8)
        assert line.written == [event.frame(Encoding.MSGPACK) for event in events]
        assert line.overflows == 0
        assert line.outbox.replay_cursor("r") is None

    def test_live_events_of_the_room_follow_behind_others_do_not_wait(self) -> None:
        """Order holds within the room; a long replay is no reason to delay other rooms and answers."""
        line = Line()
        line.outbox.pause()
        line.outbox.replay("r", [NamedEvent("old1"), NamedEvent("old2")], "given")
        line.outbox.event("r", NamedEvent("live"))
        line.outbox.event("other", NamedEvent("otherlive"))
        line.outbox.send(b"pong")

        line.take(1000)

        assert line.written == [b"otherlive", b"pong", b"old1", b"old2", b"live"]

    def test_live_events_behind_it_count(self) -> None:
        """A client that resumes and stops reading is cut off like any other."""
        line = Line(limit_bytes=10)
        line.outbox.pause()
        line.outbox.replay("r", [NamedEvent("old1")], "given")
        for index in range(4):
            line.outbox.event("r", NamedEvent(f"new{index}"))

        line.loop.settle()

        assert line.overflows == 1

    def test_hands_the_loop_back(self) -> None:
        """A kernel that takes megabytes at once does not let one replay hold up the other clients."""
        line = Line()
        line.outbox.replay("r", [NamedEvent("e", size=30_000) for _ in range(10)], "given")
        at_once = len(line.written)

        assert at_once < 10
        line.outbox.send(b"pong")
        line.loop.settle()
        assert len(line.written) == 11
        assert line.written.index(b"pong") == at_once
        assert line.outbox.writable

    def test_leaving_the_room_ends_it(self) -> None:
        """After `left` nothing of the room may come, and nothing of it counts any more."""
        line = Line()
        room = CountingRoom()
        line.outbox.pause()
        line.outbox.replay("r", [NamedEvent("old1")], "given")
        line.outbox.event("r", NamedEvent("live"))
        line.outbox.miss_tick(room)

        line.outbox.forget("r", room)
        line.outbox.send(b"left")
        line.take(1000)

        assert line.written == [b"left"]
        assert line.outbox.statistics().queued_bytes == 0


class TestAnyReader:
    """Whatever a reader does."""

    @given(
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("send"), st.integers(1, 9)),
                st.tuples(st.just("event"), st.sampled_from("ab")),
                st.tuples(st.just("replay"), st.sampled_from("ab")),
                st.tuples(st.just("take"), st.integers(0, 60)),
                st.tuples(st.just("pause"), st.just(0)),
            ),
            max_size=60,
        )
    )
    def test_every_frame_once_in_order_per_room(self, steps: list[tuple[str, int | str]]) -> None:
        """For any mix of sends, replays, pauses and reads: control frames in order, each room's events in order, none twice."""
        line = Line(limit_bytes=1 << 20)
        expected: dict[str, list[str]] = {"": [], "a": [], "b": []}
        for number, (step, argument) in enumerate(steps):
            name = f"{number:03}"
            if step == "send":
                expected[""].append(name)
                line.outbox.send(f"-{name}".encode())
            elif step == "event":
                room = str(argument)
                expected[room].append(name)
                line.outbox.event(room, NamedEvent(room + name))
            elif step == "replay" and line.outbox.replay_cursor(str(argument)) is None:
                room = str(argument)
                # A replay begins when a room is joined, so no older event of the room can be waiting.
                if line.outbox.writable or not expected[room]:
                    names = [f"{name}x{index}" for index in range(5)]
                    expected[room] += names
                    line.outbox.replay(room, [NamedEvent(room + event) for event in names], "given")
            elif step == "take":
                line.take(int(argument))
            elif step == "pause":
                line.outbox.pause()
        line.take(1 << 30)

        for key, names in expected.items():
            prefix = key or "-"
            got = [frame.decode().rstrip(".")[1:] for frame in line.written if frame.decode().startswith(prefix)]
            assert got == names
        assert line.outbox.writable
        assert line.outbox.empty
        assert line.outbox.statistics().queued_bytes == 0
