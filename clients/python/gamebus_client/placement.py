"""Where to connect: the given gateway, or the one that it names for a room.

Guarantees: asking never ends a client and takes at most two seconds; whoever cannot be asked, or names nothing usable, is
connected to. An attempt that failed at a named gateway is followed by one at the given address, which is asked again after that.
A `wss://` address is never left for a `ws://` one, since the token goes where the connection goes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from http.client import HTTPException
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import urlopen

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

_TIMEOUT_S: Final = 2.0
_MAX_ANSWER_BYTES: Final = 16 * 1024

_log = logging.getLogger(__name__)


class Placement:
    """Chooses the address of each attempt.

    Args:
        url: the given address, path included.
        room: to be near to; None: the given address always.
    """

    def __init__(self, url: str, room: str | None) -> None:
        self._url = url
        self._room = room
        self._failed = False

    async def url(self) -> str:
        """Where to connect now."""
        if self._room is None or self._failed:
            self._failed = False
            return self._url
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await asyncio.to_thread(_get, place_url(self._url, self._room))
            return _gateway(answer, secure=parse_uri(self._url).secure)
        except (OSError, HTTPException, InvalidURI, ValueError, TimeoutError) as error:
            _log.info("%s names no gateway: %s", self._url, error or type(error).__name__)
            return self._url

    def failed(self, url: str) -> bool:
        """No connection could be had at `url`; true when that is not the given address, so that not all hope is lost."""
        self._failed = bool(url) and url != self._url
        return self._failed


def place_url(url: str, room: str) -> str:
    """Address at which the gateway at `url` says where a room belongs: `/place` beside its `/v1`."""
    parts = urlsplit(url)
    path = f"{parts.path.rpartition('/')[0]}/place"
    return urlunsplit((parts.scheme.replace("ws", "http", 1), parts.netloc, path, f"room={quote(room, safe='')}", ""))


def _get(url: str) -> bytes:
    with urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310 - the scheme is http or https
        answer: bytes = response.read(_MAX_ANSWER_BYTES)
        return answer


def _gateway(answer: bytes, *, secure: bool) -> str:
    match json.loads(answer):
        case {"gateway": str(url)} if parse_uri(url).secure or not secure:
            return url
    raise ValueError("its answer holds no gateway to go to")
