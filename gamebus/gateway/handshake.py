"""The opening handshake: which HTTP request becomes a connection (wire protocol, "Transport").

Pure: a request in, a response out. The checks come in the order in which a developer of a client meets them: path, upgrade,
headers of RFC 6455, origin, subprotocol, and only then whether there is room, so that a full gateway does not hide a mistake.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from gamebus.protocol.frames import Encoding

PATH: Final = "/v1"
RETRY_AFTER_S: Final = 5

# websockets logs two lines per connection at INFO; the gateway logs its own.
_log: Final = logging.getLogger("websockets.server")
_log.setLevel(logging.WARNING)

_OFFERED: Final[dict[Subprotocol, Encoding]] = {Subprotocol(encoding.subprotocol): encoding for encoding in Encoding}


def server_protocol(*, origins: Sequence[str], max_message_bytes: int) -> ServerProtocol:
    """The sans-I/O core of one connection: no extensions, so no compression, and messages up to `max_message_bytes`.

    Args:
        origins: allowed values of `Origin`; empty allows all. A request without one comes from no browser and is allowed.
    """
    return ServerProtocol(
        origins=[*map(Origin, origins), None] if origins else None,
        extensions=None,
        select_subprotocol=_select_subprotocol,
        max_size=max_message_bytes,
        logger=_log,
    )


def respond(protocol: ServerProtocol, request: Request, *, has_room: Callable[[], bool]) -> Response:
    """Answer the request that opens a connection: status 101 accepts it, any other one is an answer to give before closing.

    Args:
        has_room: asked once the request is found good; false answers 503.
    """
    if urlsplit(request.path).path != PATH:
        return protocol.reject(http.HTTPStatus.NOT_FOUND, f"The gateway listens on {PATH}.\n")
    response = protocol.accept(request)
    if response.status_code == http.HTTPStatus.BAD_REQUEST:
        # RFC 6455, section 4.4: a client that speaks another version learns which one is spoken here.
        response.headers["Sec-WebSocket-Version"] = "13"
    if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS and not has_room():
        response = protocol.reject(http.HTTPStatus.SERVICE_UNAVAILABLE, "The gateway is full.\n")
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def bad_request() -> bytes:
    """The answer to bytes that are not HTTP; websockets' core would only cut the connection."""
    body = b"Not an HTTP/1.1 request.\n"
    headers = Headers(
        [
            ("Connection", "close"),
            ("Content-Length", str(len(body))),
            ("Content-Type", "text/plain; charset=utf-8"),
        ]
    )
    return Response(http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.BAD_REQUEST.phrase, headers, body).serialize()


def encoding_of(protocol: ServerProtocol) -> Encoding:
    """How messages of an accepted connection are encoded."""
    return Encoding.JSON if protocol.subprotocol is None else _OFFERED[protocol.subprotocol]


def _select_subprotocol(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The client's first known one; none offered means JSON, so that any websocket tool can talk to the gateway by hand."""
    for subprotocol in offered:
        if subprotocol in _OFFERED:
            return subprotocol
    if offered:
        raise NegotiationError(f"unknown subprotocol; expected one of {', '.join(_OFFERED)}")
    return None
