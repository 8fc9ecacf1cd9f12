"""The client does what every client of the bus does: the conversations of `tests/conformance`, in both encodings, on its own
connection and on that of the bots."""

from __future__ import annotations

from pathlib import Path

import pytest

from gamebus_bots import lean_connection
from gamebus_bots.inbox import Inbox
from gamebus_bots.lean_connection import Traffic, lean_dial
from gamebus_client import dialling
from tests.clients.conformance import SCRIPTS, play

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("dial", [dialling.dial, lean_dial(Traffic(), Inbox())], ids=["client", "bots"])
@pytest.mark.parametrize("encoding", ["msgpack", "json"])
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_conversation(path: Path, encoding: str, dial: dialling.Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's own `about`."""
    # Their answers take real time, and the client's clock is turned by hand.
    monkeypatch.setattr(dialling, "_PING_INTERVAL_S", None)
    monkeypatch.setattr(lean_connection, "_SILENCE_S", None)
    play(path, encoding, dial)


def test_there_are_conversations() -> None:
    """An empty folder proves nothing."""
    assert len(SCRIPTS) >= 30
