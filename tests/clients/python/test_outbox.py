"""The outbox alone: outcomes, order, retries and deadlines, with time as a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gamebus_client import InvalidMessage, OutboxFull, OutcomeUnknown, PublishFailed, PublishRejected
from gamebus_client.codec import Nack
from gamebus_client.outbox import RESEND_WINDOW_S, Outbox


def never(room: str) -> bool:
    return False


def always(room: str) -> bool:
    return True


def outbox_with(*ids: str, limit: int = 10, deadline: float = 30.0) -> Outbox:
    outbox = Outbox(limit)
    for event_id in ids:
        outbox.add(event_id, "r", event_id, deadline=deadline)
    return outbox


class TestSending:
    def test_in_order_and_once_per_connection(self) -> None:
        """What was sent waits for its answer; it is not sent again on the same connection."""
        outbox = outbox_with("a", "b")
        assert list(outbox.due(0.0, always)) == ["a", "b"]
        assert list(outbox.due(1.0, always)) == []

    def test_again_after_a_reconnect_without_the_acked(self) -> None:
        """A reconnect repeats what has no answer, in the same order."""
        outbox = outbox_with("a", "b", "c")
        list(outbox.due(0.0, always))
        assert outbox.acked("b") == 1
        outbox.disconnected()
        assert list(outbox.due(1.0, always)) == ["a", "c"]
        assert outbox.acked("a") == 2

    def test_holds_back_rooms_that_are_not_ready(self) -> None:
        """Before a room is joined again the gateway would refuse its events."""
        outbox = Outbox(10)
        outbox.add("a", "r", "a", deadline=30)
        outbox.add("b", "s", "b", deadline=30)
        assert list(outbox.due(0.0, lambda room: room == "s")) == ["b"]
        assert list(outbox.due(0.0, always)) == ["a"]

    def test_refuses_past_the_bound_and_keeps_what_it_has(self) -> None:
        """The bound is a refusal, never a loss."""
        outbox = outbox_with("a", limit=1)
        with pytest.raises(OutboxFull) as caught:
            outbox.add("b", "r", "b", deadline=30)
        assert caught.value.id == "b"
        assert list(outbox.due(0.0, always)) == ["a"]

    def test_refuses_an_id_that_is_on_its_way(self) -> None:
        """An ack names only the id, so two events under one id could not be told apart."""
        outbox = outbox_with("a")
        with pytest.raises(InvalidMessage, match="'a'"):
            outbox.add("a", "s", "other", deadline=30)


class TestNack:
    def test_waits_for_retry_ms(self) -> None:
        """A refusal that passes is sent again after its delay, not before."""
        outbox = outbox_with("a")
        list(outbox.due(0.0, always))
        assert outbox.nacked(Nack("a", "unavailable", "later", 500), 1.0) is None
        assert outbox.next_wake(always) == 1.5
        assert list(outbox.due(1.4, always)) == []
        assert list(outbox.due(1.5, always)) == ["a"]

    def test_final_is_rejected(self) -> None:
        """No retry_ms: surely not written."""
        outbox = outbox_with("a")
        list(outbox.due(0.0, always))
        error = outbox.nacked(Nack("a", "bad_data", "no", None), 1.0)
        assert type(error) is PublishRejected
        assert (error.id, error.code) == ("a", "bad_data")
        assert len(outbox) == 0

    def test_final_after_a_lost_attempt_is_unknown(self) -> None:
        """The refusal speaks of the second attempt; the first may have been written."""
        outbox = outbox_with("a")
        list(outbox.due(0.0, always))
        outbox.disconnected()
        list(outbox.due(1.0, always))
        assert type(outbox.nacked(Nack("a", "forbidden", "no", None), 2.0)) is OutcomeUnknown

    def test_unknown_outcome_stays_unknown(self) -> None:
        """`unknown_outcome` may have been written, also when every later attempt is refused."""
        outbox = outbox_with("a")
        list(outbox.due(0.0, always))
        assert outbox.nacked(Nack("a", "unknown_outcome", "?", 10), 0.0) is None
        list(outbox.due(1.0, always))
        assert outbox.nacked(Nack("a", "unavailable", "no", 10), 1.0) is None
        [error] = outbox.expire(30.0)
        assert type(error) is OutcomeUnknown

    def test_past_the_deadline_ends_now(self) -> None:
        """Nobody waits for a retry that cannot happen."""
        outbox = outbox_with("a", deadline=5.0)
        list(outbox.due(0.0, always))
        error = outbox.nacked(Nack("a", "unavailable", "no broker", 6_000), 0.0)
        assert type(error) is PublishFailed
        assert error.code == "unavailable"

    def test_late_answers_are_ignored(self) -> None:
        """An event that was given up has had its outcome."""
        outbox = outbox_with()
        assert outbox.acked("a") == 0
        assert outbox.nacked(Nack("a", "bad_data", "no", None), 0.0) is None


class TestDeadline:
    def test_never_sent_is_failed(self) -> None:
        """What never left this process was surely not written."""
        [error] = outbox_with("a", deadline=5.0).expire(5.0)
        assert type(error) is PublishFailed
        assert error.code == "timeout"

    def test_sent_and_unanswered_is_unknown(self) -> None:
        """Silence is no refusal."""
        outbox = outbox_with("a", deadline=5.0)
        list(outbox.due(0.0, always))
        assert outbox.expire(4.9) == []
        [error] = outbox.expire(5.0)
        assert type(error) is OutcomeUnknown

    def test_re_sending_ends_after_ten_minutes(self) -> None:
        """The gateway forgets ids: later re-sends could have their effect twice, whatever the caller's deadline."""
        outbox = outbox_with("a", deadline=float("inf"))
        list(outbox.due(100.0, always))
        outbox.disconnected()
        assert outbox.next_wake(never) == 100.0 + RESEND_WINDOW_S
        assert list(outbox.due(100.0 + RESEND_WINDOW_S, always)) == []
        [error] = outbox.expire(100.0 + RESEND_WINDOW_S)
        assert type(error) is OutcomeUnknown

    @given(wait=st.floats(0, 100), deadline=st.floats(0.1, 100))
    def test_next_wake_is_never_in_the_past_for_live_events(self, wait: float, deadline: float) -> None:
        """A timer armed with it cannot spin: after what it wakes, every wake lies ahead, whether events can be sent or not."""
        for ready in (always, never):
            outbox = outbox_with("a", deadline=deadline)
            outbox.expire(wait)
            list(outbox.due(wait, ready))
            wake = outbox.next_wake(ready)
            assert wake is None or wake > wait

    @pytest.mark.parametrize("retry_ms", [0, 500])
    def test_an_attempt_that_became_due_meanwhile_is_not_missed(self, retry_ms: int) -> None:
        """The clock goes on between the nack and the look at the timer: the attempt is due then, not at the deadline."""
        outbox = outbox_with("a", deadline=30.0)
        list(outbox.due(0.0, always))
        outbox.nacked(Nack("a", "rate_limited", "slow down", retry_ms), 1.0)
        assert outbox.next_wake(always) == 1.0 + retry_ms / 1000


class OutboxMachine(RuleBasedStateMachine):
    """Any interleaving: each event ends once, and one that may be written never ends as failed or rejected."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(5)
        self.now = 0.0
        self.count = 0
        self.waiting: set[str] = set()
        self.ended: set[str] = set()
        # What the gateway could know: an attempt without a certain refusal.
        self.maybe: set[str] = set()
        self.in_flight: set[str] = set()
        self.sent: list[str] = []

    def end(self, error: Exception | None, event_id: str) -> None:
        assert event_id in self.waiting
        self.waiting.discard(event_id)
        self.in_flight.discard(event_id)
        assert event_id not in self.ended
        self.ended.add(event_id)
        if event_id in self.maybe and error is not None:
            assert type(error) is OutcomeUnknown
        if event_id not in self.maybe and error is not None:
            assert type(error) is not OutcomeUnknown

    @rule(span=st.floats(0.1, 50))
    def add(self, span: float) -> None:
        event_id = str(self.count)
        if len(self.waiting) == 5:
            with pytest.raises(OutboxFull):
                self.outbox.add(event_id, "r", event_id, deadline=self.now + span)
            return
        self.count += 1
        self.outbox.add(event_id, "r", event_id, deadline=self.now + span)
        self.waiting.add(event_id)

    @rule()
    def send(self) -> None:
        frames = [str(frame) for frame in self.outbox.due(self.now, always)]
        assert frames == sorted(frames, key=int)
        assert self.in_flight.isdisjoint(frames)
        assert self.waiting.issuperset(frames)
        self.in_flight.update(frames)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), retry_ms=st.none() | st.integers(0, 60_000), code=st.sampled_from(["x", "unknown_outcome"]))
    def nack(self, data: st.DataObject, retry_ms: int | None, code: str) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.in_flight)))
        self.in_flight.discard(event_id)
        if code == "unknown_outcome":
            self.maybe.add(event_id)
        error = self.outbox.nacked(Nack(event_id, code, "", retry_ms), self.now)
        if error is not None:
            self.end(error, event_id)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.in_flight)))
        assert self.outbox.acked(event_id) > 0
        self.end(None, event_id)

    @rule()
    def disconnect(self) -> None:
        self.outbox.disconnected()
        self.maybe |= self.in_flight
        self.in_flight.clear()

    @rule(step=st.floats(0, 30))
    def pass_time(self, step: float) -> None:
        self.now += step
        for error in self.outbox.expire(self.now):
            if error.id in self.in_flight:
                self.maybe.add(error.id)
            self.end(error, error.id)

    @invariant()
    def holds_what_waits(self) -> None:
        assert len(self.outbox) == len(self.waiting) <= 5


TestOutboxMachine = OutboxMachine.TestCase
