"""Keep-alive pings and the timer wheel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gamebus.gateway.keepalive import Keepalive, Liveness, TimerWheel


def keepalive(first_s: float = 10.0) -> Keepalive:
    return Keepalive(interval_s=10.0, timeout_s=5.0, first_s=first_s, now=0.0)


class TestKeepalive:
    def test_a_peer_that_answers_is_pinged_every_interval(self) -> None:
        """The interval counts from ping to ping, however late the answers come."""
        alive = keepalive()

        assert alive.on_time(10.0, last_received=0.0) is Liveness.PING
        assert alive.deadline == 15.0
        assert alive.on_time(15.0, last_received=14.9) is Liveness.WAIT
        assert alive.deadline == 20.0
        assert alive.on_time(20.0, last_received=14.9) is Liveness.PING

    def test_silence_after_a_ping_is_death(self) -> None:
        """Nothing at all for 5 s after a ping ends the connection (4002)."""
        alive = keepalive()
        alive.on_time(10.0, last_received=9.99)

        assert alive.on_time(14.9, last_received=9.99) is Liveness.WAIT
        assert alive.on_time(15.0, last_received=9.99) is Liveness.DEAD

    def test_any_byte_is_an_answer(self) -> None:
        """A pong may wait behind a large message, so the arrival of anything counts."""
        alive = keepalive()
        alive.on_time(10.0, last_received=0.0)

        assert alive.on_time(15.0, last_received=10.0) is Liveness.WAIT

    def test_a_timeout_longer_than_the_interval_pings_again_at_once(self) -> None:
        """Odd settings slow pings down, they do not break them."""
        alive = Keepalive(interval_s=1.0, timeout_s=5.0, first_s=1.0, now=0.0)
        alive.on_time(1.0, last_received=0.0)

        assert alive.on_time(6.0, last_received=2.0) is Liveness.WAIT
        assert alive.on_time(6.0, last_received=2.0) is Liveness.PING

    def test_a_pong_tells_the_round_trip_of_its_ping_once(self) -> None:
        """Pongs that nobody asked for are allowed, and tell nothing."""
        alive = keepalive()
        assert alive.answered(5.0) is None
        alive.on_time(10.0, last_received=0.0)

        assert alive.answered(10.25) == 0.25
        assert alive.answered(10.5) is None


class TestTimerWheel:
    def test_an_item_is_due_at_its_time_and_once(self) -> None:
        """Never before its time, and within one slot after it."""
        wheel: TimerWheel[str] = TimerWheel(now=100.0, resolution_s=0.1)
        wheel.schedule("a", 101.05)

        assert wheel.advance(101.0) == []
        assert wheel.advance(101.15) == ["a"]
        assert wheel.advance(200.0) == []

    def test_scheduling_again_moves_an_item(self) -> None:
        """A close that starts now does not wait for the ping that was due later."""
        wheel: TimerWheel[str] = TimerWheel(now=0.0, resolution_s=0.1)
        wheel.schedule("a", 10.0)
        wheel.schedule("a", 1.0)

        assert wheel.advance(1.1) == ["a"]
        assert wheel.advance(20.0) == []

    def test_a_removed_item_is_never_due(self) -> None:
        """A connection that is gone gets no more of its own time."""
        wheel: TimerWheel[str] = TimerWheel(now=0.0)
        wheel.schedule("a", 1.0)
        wheel.remove("a")
        wheel.remove("a")

        assert wheel.advance(100.0) == []
        assert len(wheel) == 0

    def test_the_past_is_due_at_the_next_slot(self) -> None:
        """A deadline that has passed already is not lost."""
        wheel: TimerWheel[str] = TimerWheel(now=50.0, resolution_s=0.1)
        wheel.advance(60.0)
        wheel.schedule("a", 10.0)

        assert wheel.advance(60.2) == ["a"]

    def test_beyond_the_span_an_item_is_due_early(self) -> None:
        """Its owner schedules it again; a token that lives an hour needs no wheel of an hour."""
        wheel: TimerWheel[str] = TimerWheel(now=0.0, resolution_s=1.0, slots=10)
        wheel.schedule("a", 3600.0)

        assert wheel.advance(8.0) == []
        assert wheel.advance(10.0) == ["a"]

    @given(
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("schedule"), st.integers(0, 5), st.floats(0, 30)),
                st.tuples(st.just("remove"), st.integers(0, 5), st.just(0.0)),
                st.tuples(st.just("advance"), st.just(0), st.floats(0, 15)),
            ),
            max_size=40,
        )
    )
    def test_it_agrees_with_a_sorted_list(self, steps: list[tuple[str, int, float]]) -> None:
        """No item is lost, doubled, early within the span, or later than a slot (Hypothesis)."""
        resolution_s, slots = 0.5, 16
        span = resolution_s * slots
        wheel: TimerWheel[int] = TimerWheel(now=0.0, resolution_s=resolution_s, slots=slots)
        now = 0.0
        expected: dict[int, tuple[float, float]] = {}
        for step, item, value in steps:
            if step == "schedule":
                wheel.schedule(item, now + value)
                expected[item] = (now + min(value, span - 2 * resolution_s), now + value + 2 * resolution_s)
            elif step == "remove":
                wheel.remove(item)
                expected.pop(item, None)
            else:
                now += value
                due = wheel.advance(now)
                assert len(due) == len(set(due))
                for found in due:
                    earliest, _ = expected.pop(found)
                    assert earliest <= now
                assert all(latest > now for _, latest in expected.values())
        assert len(wheel) == len(expected)
