"""The client does what every client of the bus does: the conversations of `tests/conformance`, in both encodings."""

from __future__ import annotations

from pathlib import Path

import pytest

from gamebus_client import link
from tests.clients.conformance import SCRIPTS, play

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_conversation(path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's own `about`."""
    # Their answers take real time, and the client's clock is turned by hand.
    monkeypatch.setattr(link, "_PING_INTERVAL_S", None)
    play(path, encoding)


def test_there_are_conversations() -> None:
    """An empty folder proves nothing."""
    assert len(SCRIPTS) >= 30
