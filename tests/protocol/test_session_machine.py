"""Session under arbitrary conversations (Hypothesis): a model of what a connection may do beside the real thing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gamebus.catalog import Role
from gamebus.events import any_value
from gamebus.protocol.claims import Claims
from gamebus.protocol.codes import CloseCode
from gamebus.protocol.effects import Close, Effect, Join, Leave, Open, PublishDurable, PublishRealtime, Refresh, Send
from gamebus.protocol.frames import Encoding, encode
from gamebus.protocol.session import State
from tests.protocol.talk import CATALOG, HOUR_MS, Talk

ROOMS = st.sampled_from(["arena:1", "arena:2", "lobby", "secret"])
NAMES = st.sampled_from(["alice", "bob"])
IDS = st.sampled_from(["1", "2", "x" * 64])
TYPES = st.sampled_from(list(CATALOG.types))
ALLOWED_ROOMS = st.sampled_from([None, ("arena:*",), ("arena:1", "lobby"), ()])
ROLES = st.sampled_from(list(Role))

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
DATA = {
    "position": st.builds(lambda seq: [seq, 1.0, 2.0, 3.0], st.integers(0, 9)),
    "heartbeat": st.builds(lambda seq: [seq, 5], st.integers(0, 9)),
    "kill": st.just({"killer": "a", "victim": "b", "weapon": "axe", "at_ms": 5}),
    "death": st.just({"victim": "b", "cause": "lava", "at_ms": 5}),
    "chat": st.builds(lambda text: {"text": f" {text} "}, st.sampled_from(["hi", "é", ""])),
}


@st.composite
def publishes(draw: st.DrawFn) -> list[Any]:
    """A publish without its `"pub"`: mostly right, sometimes with one wrong field, sometimes of another length."""
    type_ = draw(TYPES)
    fields: list[Any] = [type_, draw(ROOMS), draw(DATA[type_])]
    if CATALOG.types[type_].durable:
        fields.append(draw(IDS))
    if draw(st.integers(0, 3)) == 0:
        fields = [*fields[:3], fields[3] if len(fields) > 3 else None, draw(NAMES)]
    if draw(st.integers(0, 3)) == 0:
        fields[draw(st.integers(0, len(fields) - 1))] = draw(JUNK)
    if draw(st.integers(0, 9)) == 0:
        fields = fields[: draw(st.integers(0, 4))] + draw(st.lists(JUNK, max_size=3))
    return fields


class SessionMachine(RuleBasedStateMachine):
    """Talks to one session, and knows from the effects alone what it may do next."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk(hello=False)
        self.claims: Claims | None = None
        self.rooms: set[str] = set()
        self.closed = False
        # Newest accepted `seq` of positions.
        self.seqs: dict[tuple[str, str], int] = {}

    @initialize(encoding=st.sampled_from(list(Encoding)), role=ROLES, rooms=ALLOWED_ROOMS)
    def connect(self, encoding: Encoding, role: Role, rooms: tuple[str, ...] | None) -> None:
        """Open a connection."""
        self.talk = Talk(role, encoding=encoding, rooms=rooms, hello=False)

    @rule(resume=st.dictionaries(ROOMS, st.text("abc", max_size=3), max_size=3))
    def hello(self, resume: dict[str, str]) -> None:
        """Say hello, the first time or again."""
        first = self.claims is None
        effects = self._say("hello", "good", {"resume": resume})
        if first and not self.closed:
            assert isinstance(effects[0], Open)
            assert sum(isinstance(effect, Join) for effect in effects) + self._refused(effects) == len(resume)

    @rule(room=ROOMS)
    def join(self, room: str) -> None:
        """Join a room: entered or refused."""
        effects = self._say("join", room)
        if self.claims is not None and not self.closed:
            assert effects == [Join(room, None)] if self.claims.allows(room) else self._refused(effects) <= 1

    @rule(room=ROOMS)
    def leave(self, room: str) -> None:
        """Leave a room: always answered."""
        effects = self._say("leave", room)
        if self.claims is not None and not self.closed:
            assert effects == [Leave(room)]

    @rule(fields=publishes())
    def publish(self, fields: list[Any]) -> None:
        """Publish: at most one effect, or a refusal."""
        before = self._statistics()
        effects = self._say("pub", *fields)
        self._account(effects, 1, before)

    @rule(items=st.lists(publishes() | JUNK, min_size=1, max_size=6))
    def batch(self, items: list[Any]) -> None:
        """Publish several: each is accepted, stale or refused, exactly once."""
        before = self._statistics()
        effects = self._say("batch", items)
        self._account(effects, len(items), before)

    @rule(message=st.lists(JUNK, min_size=1, max_size=4))
    def junk(self, message: list[Any]) -> None:
        """Say anything."""
        self._say(*message)

    @rule(op=st.sampled_from(["join", "leave", "batch", "ping", "token", "hello"]), fields=st.lists(JUNK, max_size=3))
    def wrong_fields(self, op: str, fields: list[Any]) -> None:
        """A known operation with anything for its fields."""
        self._say(op, *fields)

    @rule(t=st.integers(-5, 5) | st.text("ab", max_size=3))
    def ping(self, t: float | str) -> None:
        """Ping: a pong, or refused by rate."""
        effects = self._say("ping", t)
        if self.claims is not None and not self.closed:
            assert effects == [Send(["pong", t, self.talk.now_ms])] or self._refused(effects) == len(effects)

    @rule(role=ROLES, rooms=ALLOWED_ROOMS, sub=st.sampled_from(["alice"] * 9 + ["bob"]))
    def refresh(self, role: Role, rooms: tuple[str, ...] | None, sub: str) -> None:
        """Refresh the token."""
        claims = Claims(sub, role, self.talk.now_ms + HOUR_MS, rooms)
        self.talk.tokens["new"] = claims
        was_open = self.claims is not None and not self.closed
        effects = self._say("token", "new")
        if was_open and sub == "alice":
            assert effects[0] == Refresh(claims)
            assert all(claims.allows(room) for room in self.rooms)

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0, 1800.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._take(self.talk.wait(seconds))

    @precondition(lambda self: self.claims is not None)
    @rule(payload=st.binary(max_size=30) | st.text(max_size=30))
    def garbage(self, payload: bytes | str) -> None:
        """Send anything at all."""
        self._take(self.talk.frame(payload))

    @invariant()
    def agrees(self) -> None:
        """The model and the session agree on the rooms and on the state."""
        session = self.talk.session
        assert (session.state is State.CLOSED) is self.closed
        if not self.closed:
            assert session.rooms == self.rooms
            assert session.claims == self.claims
            assert session.deadline is not None

    def _say(self, *message: Any) -> list[Effect]:
        return self._take(self.talk.say(*message))

    def _take(self, effects: list[Effect]) -> list[Effect]:
        assert not (self.closed and effects), "an effect after Close"
        for place, effect in enumerate(effects):
            assert not self.closed, "an effect after Close"
            match effect:
                case Close(code):
                    assert isinstance(code, CloseCode)
                    assert place == len(effects) - 1
                    self.closed = True
                case Open(claims) | Refresh(claims):
                    self.claims = claims
                case Join(room):
                    assert self.claims is not None
                    assert self.claims.allows(room)
                    self.rooms.add(room)
                case Leave(room):
                    self.rooms.discard(room)
                case PublishRealtime() | PublishDurable():
                    self._check_publish(effect)
                case Send(message):
                    for encoding in Encoding:
                        encode(message, encoding)
        return effects

    def _check_publish(self, effect: PublishRealtime | PublishDurable) -> None:
        claims = self.claims
        assert claims is not None
        assert claims.role in effect.event_type.roles
        assert claims.allows(effect.room)
        assert effect.room in self.rooms or claims.role is Role.SERVER
        assert effect.player == claims.sub or claims.role is Role.SERVER
        assert effect.event_type.durable is isinstance(effect, PublishDurable)
        any_value(effect.data)
        effect.event_type.validate(effect.data)
        if isinstance(effect, PublishDurable):
            assert effect.publisher == claims.sub
        elif effect.event_type.name == "position":
            last = self.seqs.get((effect.room, effect.player), -1)
            assert effect.data[0] > last
            self.seqs[effect.room, effect.player] = effect.data[0]

    def _statistics(self) -> tuple[int, int, int]:
        statistics = self.talk.session.statistics()
        return statistics.stale, sum(statistics.refused.values()), statistics.errors_suppressed

    def _account(self, effects: list[Effect], sent: int, before: tuple[int, int, int]) -> None:
        if self.claims is None or self.closed:
            return
        published = sum(isinstance(effect, PublishRealtime | PublishDurable) for effect in effects)
        stale, refused, suppressed = (now - then for now, then in zip(self._statistics(), before, strict=True))
        assert published + stale + refused == sent
        assert self._refused(effects) + suppressed == refused

    @staticmethod
    def _refused(effects: list[Effect]) -> int:
        return sum(isinstance(effect, Send) and effect.message[0] in ("error", "nack") for effect in effects)


class TestSession:
    def test_any_conversation(self) -> None:
        """Sequences of valid and invalid messages never raise, and never let a publish pass that is not allowed."""
        run_state_machine_as_test(
            SessionMachine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None)
        )


class TestFuzz:
    @pytest.mark.parametrize("hello", [False, True])
    @given(payloads=st.lists(st.binary(max_size=60), max_size=5))
    def test_bytes(self, hello: bool, payloads: list[bytes]) -> None:
        """Arbitrary bytes end in 4500, or in an answer, never in an exception."""
        talk = Talk(encoding=Encoding.MSGPACK, hello=hello)
        for payload in payloads:
            for effect in talk.frame(payload):
                assert not isinstance(effect, Close) or effect.code is CloseCode.PROTOCOL_VIOLATION

    @pytest.mark.parametrize(
        "head", [b"\x94\xa3pub\xa8position\xa1a", b"\x95\xa3pub\xa4chat\xa1a", b"\x92\xa5batch", b"\x92\xa4ping"]
    )
    @given(tail=st.binary(min_size=1, max_size=60))
    def test_bytes_behind_a_sensible_beginning(self, head: bytes, tail: bytes) -> None:
        """Arbitrary data in a known operation: published when valid, refused, or 4500 when it is no msgpack."""
        talk = Talk(encoding=Encoding.MSGPACK, joined=("a",))
        for effect in talk.frame(head + tail):
            assert isinstance(effect, PublishRealtime | PublishDurable | Send | Close)

    @given(text=st.text(max_size=100))
    def test_text(self, text: str) -> None:
        """Arbitrary text ends in 4500, or in an answer, never in an exception."""
        for effect in Talk().frame(text):
            assert isinstance(effect, Send | Close)
