"""The server of the page."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gamebus_arena.config import WebConfig
from gamebus_arena.web import STATIC, make_app

APP = make_app(WebConfig("ws://127.0.0.1:8000/v1", "s" * 32))


async def get(path: str, *, host: str = "127.0.0.1:8080") -> tuple[int, dict[str, str], bytes]:
    """What a browser gets: status, headers, body."""
    route, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": route,
        "raw_path": route.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", host.encode())],
    }
    sent: list[Any] = []
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not requests:
            await asyncio.Event().wait()  # the browser stays
        return requests.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await APP(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


class TestPage:
    async def test_loads_and_connects_to_nothing_but_this_server_and_the_gateway(self) -> None:
        """The policy allows no inline script and no other host."""
        status, headers, body = await get("/")

        assert status == 200
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["connect-src"] == "'self' ws://127.0.0.1:8000"
        assert b"<script>" not in body
        assert b"style=" not in body

    @pytest.mark.parametrize(
        "file", sorted(path for path in STATIC.rglob("*") if path.suffix in {".html", ".css", ".js"})
    )
    def test_names_no_other_host(self, file: Any) -> None:
        """No file of the page refers to another host."""
        assert "http://" not in (text := file.read_text(encoding="utf-8"))
        assert "https://" not in text

    async def test_is_served_to_the_loopback_names_only(self) -> None:
        """A request under another site's name is refused (DNS rebinding)."""
        assert (await get("/token?name=ada", host="evil.example"))[0] == 400

    async def test_gets_its_gateway_and_its_token(self) -> None:
        """`/config` names the gateway, `/token` gives a name, its key and a token that no cache keeps."""
        _, _, body = await get("/config")
        assert json.loads(body) == {"gateway": "ws://127.0.0.1:8000/v1", "room": "arena"}

        _, headers, body = await get("/token?name=Zo%C3%AB")
        assert json.loads(body).keys() == {"player", "token", "key"}
        assert json.loads(body)["player"] == "Zoe"
        assert headers["cache-control"] == "no-store"

    @pytest.mark.parametrize("path", ["/../cli.py", "/%2e%2e/cli.py", "/nothing"])
    async def test_serves_its_own_files_only(self, path: str) -> None:
        """There is no way out of the folder."""
        assert (await get(path))[0] == 404
