"""The web application: static files, sign-in, and one stream of frames for each page (server-sent events).

======================  =========================================================================================
`GET /`                 the application; every path that is no file is its affair
`GET /static/...`       its files
`POST /sign-in`         `{"secret": ...}`, the password or a token; sets the cookie
`POST /sign-out`        ends the session
`GET /api/session`      who is signed in, and what may be done
`POST /api/actions`     asks gateways for an action (:mod:`gamebus.dashboard.actions`), where that is switched on
`GET /api/feed?page=P`  frames of a page (:mod:`gamebus.dashboard.feed`), once a second
======================  =========================================================================================

Pages: `overview`, `rooms[:TEXT]`, `room:ROOM`, `players[:TEXT]`, `processes`, `delivery`, `alerts`.

Guarantees: nothing but the sign-in and its files is served to a stranger; requests under another host name are refused (DNS
rebinding); a form of another site cannot act (`SameSite=Strict`, and the origin is compared); no script of another place runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gamebus.catalog import Catalog
from gamebus.dashboard.actions import ActionRefused, Actions, Audit
from gamebus.dashboard.alerts import Alerts, AlertWatch
from gamebus.dashboard.delivery import Delivery
from gamebus.dashboard.feed import Feeds, Page, TooManyFeeds
from gamebus.dashboard.overview import Overview
from gamebus.dashboard.players import Players
from gamebus.dashboard.processes import Processes
from gamebus.dashboard.rooms import RoomDetail, Rooms
from gamebus.dashboard.sign_in import SESSION_S, Credentials, Sessions, Throttle
from gamebus.errors import StateError
from gamebus.events import is_room
from gamebus.state.connection import Connection

STATIC: Final = Path(__file__).parent / "static"
COOKIE: Final = "gamebus_operator"

_MAX_TEXT: Final = 64
_MAX_BODY: Final = 4096
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Dashboard:
    """The dashboard of one game.

    Args:
        credentials: None lets everyone in.
        hosts: names under which browsers reach it.
        actions: whether operators may act.
    """

    def __init__(
        self,
        connection: Connection,
        catalog: Catalog,
        *,
        credentials: Credentials | None,
        hosts: list[str],
        actions: bool = False,
    ) -> None:
        self._actions = Actions(connection) if actions else None
        self._credentials = credentials
        self._sessions = Sessions()
        self._throttle = Throttle()
        self._alerts = AlertWatch(connection)
        self._pages: dict[str, Callable[[str], Page]] = {
            "overview": lambda _: Overview(connection, catalog),
            "rooms": lambda text: Rooms(connection, text),
            "room": lambda room: RoomDetail(connection, room),
            "players": lambda text: Players(connection, text),
            "processes": lambda _: Processes(connection),
            "delivery": lambda _: Delivery(connection, catalog),
            "alerts": lambda _: Alerts(self._alerts),
            "audit": lambda _: Audit(connection, enabled=actions),
        }
        self.feeds = Feeds(self._open_page, firing=lambda: self._alerts.firing)
        self.application: ASGIApp = Starlette(
            routes=[
                Route("/sign-in", self._sign_in, methods=["POST"]),
                Route("/sign-out", self._sign_out, methods=["POST"]),
                Route("/api/session", self._session),
                Route("/api/feed", self._feed),
                Route("/api/actions", self._act, methods=["POST"]),
                Mount("/static", StaticFiles(directory=STATIC)),
                Route("/{path:path}", self._index),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_SecurityHeaders)],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(self.feeds.run(), name="feeds")
            watching = tasks.create_task(self._alerts.run(), name="alerts")
            yield
            watching.cancel()
            feeding.cancel()

    def _open_page(self, name: str) -> Page:
        kind, _, text = name.partition(":")
        if kind == "room" and not is_room(text):
            raise LookupError(name)
        return self._pages[kind](text)

    async def _index(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def _session(self, request: Request) -> Response:
        operator = self._operator(request)
        return JSONResponse(
            {
                "operator": operator,
                "sign_in": self._credentials is not None,
                "actions": self._actions is not None,
                "version": version("gamebus"),
            },
            status_code=200 if operator is not None else 401,
        )

    async def _feed(self, request: Request) -> Response:
        if self._operator(request) is None:
            return JSONResponse({"error": "sign in first"}, status_code=401)
        name = request.query_params.get("page", "")
        if len(name) > _MAX_TEXT * 2:
            return JSONResponse({"error": f"a page name has at most {_MAX_TEXT * 2} characters"}, status_code=400)
        try:
            self._open_page(name)
        except LookupError:
            return JSONResponse({"error": f"there is no page {name!r}"}, status_code=404)
        frames = self.feeds.frames(name)
        try:
            first = await anext(frames)
        except TooManyFeeds:
            return JSONResponse({"error": "too many pages are open; close some"}, status_code=503)
        return StreamingResponse(
            _events(first, frames), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def _act(self, request: Request) -> Response:
        operator = self._operator(request)
        if operator is None:
            return JSONResponse({"error": "sign in first"}, status_code=401)
        # A form of another site cannot send JSON, and its origin is not ours.
        if not _same_origin(request) or request.headers.get("content-type") != "application/json":
            return JSONResponse({"error": "this form belongs to another site"}, status_code=403)
        if self._actions is None:
            return JSONResponse({"error": "actions are off; set GAMEBUS_DASHBOARD__ACTIONS=true"}, status_code=403)
        try:
            await self._actions.ask(operator, await _json(request), time.time_ns() // 1_000_000)
        except ActionRefused as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except StateError as error:
            return JSONResponse({"error": f"not asked: {error}"}, status_code=503)
        return JSONResponse({})

    async def _sign_in(self, request: Request) -> Response:
        now, source = time.monotonic(), request.client.host if request.client else ""
        if not _same_origin(request):
            return JSONResponse({"error": "this form belongs to another site"}, status_code=403)
        wait_s = self._throttle.wait_s(source, now)
        if wait_s:
            return JSONResponse(
                {"error": f"too many failures; try again in {wait_s:.0f} s"},
                status_code=429,
                headers={"Retry-After": f"{wait_s:.0f}"},
            )
        secret = await _secret(request)
        operator = self._credentials.operator(secret) if self._credentials is not None and secret is not None else None
        if operator is None:
            self._throttle.failed(source, now)
            return JSONResponse({"error": "neither the password nor an operator's token"}, status_code=401)
        self._throttle.succeeded(source)
        response = JSONResponse({"operator": operator})
        response.set_cookie(
            COOKIE,
            self._sessions.open(operator, now),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def _sign_out(self, request: Request) -> Response:
        if not _same_origin(request):
            return JSONResponse({"error": "this form belongs to another site"}, status_code=403)
        self._sessions.close(request.cookies.get(COOKIE))
        response = JSONResponse({})
        response.delete_cookie(COOKIE)
        return response

    def _operator(self, request: Request) -> str | None:
        if self._credentials is None:
            return "anyone"
        return self._sessions.operator(request.cookies.get(COOKIE), time.monotonic())


class _SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in _HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)


async def _events(first: str, frames: AsyncIterator[str]) -> AsyncIterator[str]:
    yield f"data: {first}\n\n"
    async for frame in frames:
        yield f"data: {frame}\n\n"


async def _secret(request: Request) -> str | None:
    """What a sign-in gives; None when it is nothing of the kind."""
    given = await _json(request)
    secret = given.get("secret") if isinstance(given, dict) else None
    return secret if isinstance(secret, str) else None


async def _json(request: Request) -> Any:
    """A body of JSON; None when it is none, or too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            return None
    try:
        return json.loads(body)
    except ValueError:
        return None


def _same_origin(request: Request) -> bool:
    """Whether a form was sent by a page of this dashboard. Browsers name the origin of every POST."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
