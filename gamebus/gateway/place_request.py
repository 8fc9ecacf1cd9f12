"""`GET /place?room=ROOM`: which gateway should take a room, as JSON, on the port of the websockets.

Pure: a request in, a response out. Pages of the allowed origins may read the answer (the CORS protocol, Fetch standard); a GET
without headers of its own needs no preflight.
"""

from __future__ import annotations

import http
import json
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from gamebus.events import is_room

PATH: Final = "/place"


def asks(request: Request) -> bool:
    """Whether a request is for a place, not for a websocket."""
    return urlsplit(request.path).path == PATH


def respond(
    protocol: ServerProtocol, request: Request, *, place: Callable[[str], str | None], origins: Sequence[str]
) -> Response:
    """Answer a request for a place.

    Args:
        place: gives the URL of the gateway for a room; None: not known.
        origins: allowed values of `Origin`; empty allows all.
    """
    origin = request.headers.get("Origin")
    if origins and origin is not None and origin not in origins:
        return _refuse(protocol, http.HTTPStatus.FORBIDDEN, "forbidden", "this origin is not allowed")
    response = _answer(protocol, request, place)
    if not origins:
        response.headers["Access-Control-Allow-Origin"] = "*"
    elif origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
    return response


def _answer(protocol: ServerProtocol, request: Request, place: Callable[[str], str | None]) -> Response:
    rooms = parse_qs(urlsplit(request.path).query, keep_blank_values=True).get("room", [])
    if len(rooms) != 1:
        return _refuse(protocol, http.HTTPStatus.BAD_REQUEST, "bad_request", "name one room: /place?room=ROOM")
    if not is_room(rooms[0]):
        message = "a room is 1..128 of A-Z a-z 0-9 . _ - : /"
        return _refuse(protocol, http.HTTPStatus.BAD_REQUEST, "bad_request", message)
    url = place(rooms[0])
    if url is None:
        message = "this gateway does not know its own URL; set GAMEBUS_GATEWAY__ADVERTISED_URL"
        return _refuse(protocol, http.HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", message)
    return _json(protocol, http.HTTPStatus.OK, {"room": rooms[0], "gateway": url})


def _refuse(protocol: ServerProtocol, status: http.HTTPStatus, code: str, message: str) -> Response:
    return _json(protocol, status, {"code": code, "message": message})


def _json(protocol: ServerProtocol, status: http.HTTPStatus, body: dict[str, Any]) -> Response:
    # The core writes an answer that is no websocket, and closes, by one way only: `reject`.
    response = protocol.reject(status, json.dumps(body) + "\n")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    response.headers["Cache-Control"] = "no-store"
    return response
