"""Which gateway is played on, and the secret that its tokens are signed with."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

USUAL_URL: Final = "ws://127.0.0.1:8000/v1"

_ADDRESSES: Final = "dev.json"
_CONNECT_S: Final = 5.0


class NoTarget(Exception):
    """There is nothing to play on; the message says what to do."""


def find_url(url: str | None, folder: Path) -> str:
    """The address that was given, else that of a running `gamebus dev`, else the usual one.

    Raises:
        NoTarget: it is no websocket address, or nobody listens there.
    """
    found = url or _of_dev(folder) or USUAL_URL
    address = urlsplit(found)
    if address.scheme not in {"ws", "wss"} or not address.hostname:
        raise NoTarget(f"{found!r} is no websocket address: write ws://host:port or wss://host")
    port = address.port or (443 if address.scheme == "wss" else 80)
    try:
        socket.create_connection((address.hostname, port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise NoTarget(
            f"nobody listens at {found} ({error}): start a gateway with `gamebus dev`, or name one with --url"
        ) from error
    return found if address.path.strip("/") else f"{found.rstrip('/')}/v1"


def find_secret(secret: str, folder: Path) -> str:
    """The secret that was given, else that of `gamebus dev`.

    Raises:
        NoTarget: there is none.
    """
    if secret:
        return secret
    with suppress(OSError):
        return (folder / "secret").read_text(encoding="ascii").strip()
    raise NoTarget(
        "bots mint their own tokens: give the gateway's secret as --token-secret or GAMEBUS_AUTH__SECRET, "
        f"or the folder of `gamebus dev` as --folder ({folder} has no secret)"
    )


def _of_dev(folder: Path) -> str | None:
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads((folder / _ADDRESSES).read_text(encoding="utf-8"))["gateway"])
    return None
