"""The page, and the three things it asks for: where the gateway is, a token, and whether this process lives.

Guarantees: the page may load and connect to nothing but this server and the gateway (Content-Security-Policy); requests under
another host's name are refused. Not guaranteed: identity, see :mod:`gamebus_arena.tokens`; TLS.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gamebus_arena.config import WebConfig
from gamebus_arena.tokens import Names, mint

STATIC: Final = Path(__file__).with_name("static")
_MAX_QUERY: Final = 200


def make_app(config: WebConfig) -> Starlette:
    """The web application."""
    names = Names(config.secret)

    async def settings(_: Request) -> JSONResponse:
        return JSONResponse({"gateway": config.gateway, "room": config.room})

    async def token(request: Request) -> JSONResponse:
        now_s = time.time()
        query = request.query_params
        player = names.claim(query.get("name", "")[:_MAX_QUERY], query.get("key"), now_s=now_s)
        signed = mint(config.secret, player, "player", config.room, now_s=now_s)
        return JSONResponse({"player": player, "token": signed, "key": names.key(player)})

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/config", settings),
            Route("/token", token),
            Route("/healthz", health),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", *config.hosts]),
            Middleware(_SafeHeaders, gateway=config.gateway),
        ],
    )


class _SafeHeaders:
    """Adds what tells the browser to trust nobody else, and to ask again for files that may have changed."""

    def __init__(self, app: ASGIApp, *, gateway: str) -> None:
        self._app = app
        address = urlsplit(gateway)
        self._headers = {
            "content-security-policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                f"connect-src 'self' {address.scheme}://{address.netloc}; base-uri 'none'; form-action 'none'; "
                "frame-ancestors 'none'"
            ),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers["cache-control"] = "no-store" if "etag" not in headers else "no-cache"
            await send(message)

        await self._app(scope, receive, send_with_headers)
