"""The sans-I/O protocol, fed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from gamebus_client import Event, InvalidMessage, ProtocolViolation
from gamebus_client.codec import CODECS
from gamebus_client.protocol import ClientProtocol, State

JSON = CODECS["json"]
MSGPACK = CODECS["msgpack"]

WELCOME = JSON.encode(["welcome", "s", "alice", {"server_ms": 1}])


def protocol() -> ClientProtocol:
    return ClientProtocol(JSON, client="test", outbox_limit=10)


def joined(room: str, cursor: str, *, recovered: bool | None = None) -> Any:
    info = {"cursor": cursor, "players": [], "positions": [], "tick_hz": 20, "recovered": recovered}
    return JSON.encode(["joined", room, info])


def sent(client: ClientProtocol) -> list[Any]:
    return [JSON.unpack(frame) for frame in client.frames_to_send()]


class TestProtocol:
    def test_requests_before_welcome_wait_for_it(self) -> None:
        """Nothing but hello goes out first; joins and publishes follow the welcome, publishes after their room."""
        client = protocol()
        client.join("r")
        client.publish("r", "chat", {"text": "hi"}, "a", player=None, now=0.0, deadline=30.0)
        client.publish("elsewhere", "kill", {}, "b", player=None, now=0.0, deadline=30.0)
        client.connect("token", 0.0)
        assert sent(client) == [["hello", "token", {"client": "test"}]]
        client.receive(WELCOME, 0.0)
        assert sent(client) == [["join", "r"], ["pub", "kill", "elsewhere", {}, "b"]]
        client.receive(joined("r", "c0"), 0.0)
        assert sent(client) == [["pub", "chat", "r", {"text": "hi"}, "a"]]

    def test_only_delivered_events_move_the_cursor(self) -> None:
        """An event that the program did not get is asked for again."""
        client = protocol()
        client.join("r")
        client.connect("t", 0.0)
        client.receive(WELCOME, 0.0)
        client.receive(joined("r", "c0"), 0.0)
        frame = JSON.encode(["event", "chat", "r", "p", 1, {}, "id", "c1"])
        [event] = client.receive(frame, 0.0)
        client.disconnect(1006, "")
        client.connect("t", 0.0)
        assert sent(client)[-1][2]["resume"] == {"r": "c0"}
        client.receive(WELCOME, 0.0)
        client.receive(joined("r", "c0", recovered=True), 0.0)
        assert isinstance(event, Event)
        client.delivered(event)
        client.disconnect(1006, "")
        client.connect("t", 0.0)
        assert sent(client)[-1][2]["resume"] == {"r": "c1"}

    def test_an_ack_does_not_move_the_cursor(self) -> None:
        """Events before the acked one may still be on their way."""
        client = protocol()
        client.join("r")
        client.connect("t", 0.0)
        client.receive(WELCOME, 0.0)
        client.receive(joined("r", "c0"), 0.0)
        client.publish("r", "chat", {}, "a", player=None, now=0.0, deadline=30.0)
        client.receive(JSON.encode(["ack", "a", "c9"]), 0.0)
        client.disconnect(1006, "")
        sent(client)
        client.connect("t", 0.0)
        assert sent(client)[0][2]["resume"] == {"r": "c0"}

    def test_leave_and_join_at_once_ends_joined(self) -> None:
        """Answers come in order: the `left` of the first leave does not undo the second join."""
        client = protocol()
        client.connect("t", 0.0)
        client.receive(WELCOME, 0.0)
        client.join("r")
        client.receive(joined("r", "c0"), 0.0)
        client.leave("r")
        client.join("r")
        client.receive(JSON.encode(["left", "r"]), 0.0)
        assert client.rooms == ("r",)
        assert not client.ready("r")
        client.receive(joined("r", "c1"), 0.0)
        assert client.ready("r")

    @pytest.mark.parametrize("frame", [["ack", "a", "c"], ["event", "t", "r", "p", 1, {}, "i", "c"], ["left", "r"]])
    def test_nothing_comes_before_welcome(self, frame: list[Any]) -> None:
        """A gateway that talks before welcome is no gateway."""
        client = protocol()
        client.connect("t", 0.0)
        with pytest.raises(ProtocolViolation):
            client.receive(JSON.encode(frame), 0.0)

    def test_a_second_welcome_is_a_violation(self) -> None:
        """One welcome opens one connection."""
        client = protocol()
        client.connect("t", 0.0)
        client.receive(WELCOME, 0.0)
        with pytest.raises(ProtocolViolation):
            client.receive(WELCOME, 0.0)

    @pytest.mark.parametrize(
        ("bye", "code", "terminal", "at_least_s"),
        [
            (None, 1006, False, 0.0),
            (None, 4502, True, 0.0),
            ([4000, "m", 2000], 4000, False, 2.0),
            ([4000, "m", 2000], 1006, False, 2.0),
            ([4501, "m", None], 1006, True, 0.0),
            ([4003, "m", None], 4003, True, 0.0),
        ],
    )
    def test_what_an_end_means(self, bye: list[Any] | None, code: int, *, terminal: bool, at_least_s: float) -> None:
        """The bye counts where the close frame did not get through, and its null means: do not come back."""
        client = protocol()
        client.connect("t", 0.0)
        if bye is not None:
            client.receive(JSON.encode(["bye", *bye]), 0.0)
        lost = client.disconnect(code, "")
        assert (lost.terminal, lost.at_least_s) == (terminal, at_least_s)
        assert client.state is State.DISCONNECTED

    def test_too_large_is_refused_here(self) -> None:
        """A message above the gateway's limit would end the connection with 1009."""
        client = protocol()
        client.connect("t", 0.0)
        client.receive(JSON.encode(["welcome", "s", "a", {"server_ms": 1, "limits": {"frame_bytes": 100}}]), 0.0)
        with pytest.raises(InvalidMessage, match="100"):
            client.publish("r", "chat", {"text": "ä" * 50}, "a", player=None, now=0.0, deadline=30.0)
        assert len(client.outbox) == 0
