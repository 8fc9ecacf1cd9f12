"""`GET /place` on the port of the websockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.server_kit import Harness, serving

URL = "ws://127.0.0.1:7/v1"


async def ask(harness: Harness, target: str, *headers: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Send a request as a browser's fetch does; status, headers in lower case, body."""
    reader, writer = await harness.raw("\r\n".join([f"GET {target} HTTP/1.1", "Host: test", *headers, "", ""]).encode())
    head, body = (await reader.read()).decode().split("\r\n\r\n", 1)
    writer.close()
    status, *lines = head.split("\r\n")
    named = dict(line.lower().split(": ", 1) for line in lines)
    assert int(named["content-length"]) == len(body)
    return int(status.split()[1]), named, json.loads(body)


class TestPlace:
    async def test_names_the_gateway_of_a_room(self) -> None:
        """The answer is JSON that any page may read while all origins are allowed, and that no cache may keep."""
        async with serving() as harness:
            harness.server.place = lambda room: URL if room == "arena:1/x" else None
            status, headers, body = await ask(harness, "/place?room=arena%3A1/x", "Origin: https://game.example")
            assert (status, body) == (200, {"room": "arena:1/x", "gateway": URL})
            assert headers["access-control-allow-origin"] == "*"
            assert headers["content-type"] == "application/json"
            assert headers["cache-control"] == "no-store"
            assert harness.server.statistics().placements_total == {"200": 1}
            assert harness.server.statistics().refused_total == {}

    @pytest.mark.parametrize(
        "query", ["", "?", "?room", "?room=", "?room=a%20b", "?room=a&room=b", f"?room={'a' * 129}"]
    )
    async def test_says_what_is_wrong_with_a_room(self, query: str) -> None:
        """A missing or an impossible room is 400 with words."""
        async with serving() as harness:
            harness.server.place = lambda _: URL
            status, _, body = await ask(harness, f"/place{query}")
            assert status == 400
            assert body["code"] == "bad_request"
            assert body["message"]

    async def test_a_gateway_that_does_not_know_its_url_says_so(self) -> None:
        """503, so that clients connect to the address that they have, and the operator learns the setting."""
        async with serving() as harness:
            status, _, body = await ask(harness, "/place?room=r")
            assert (status, body["code"]) == (503, "unavailable")
            assert "GAMEBUS_GATEWAY__ADVERTISED_URL" in body["message"]

    async def test_only_allowed_origins_may_read_it(self) -> None:
        """Pages of the allowed origins, and programs, which send none."""
        async with serving(origins=("https://game.example",)) as harness:
            harness.server.place = lambda _: URL
            status, headers, _ = await ask(harness, "/place?room=r", "Origin: https://game.example")
            assert (status, headers["access-control-allow-origin"]) == (200, "https://game.example")
            assert (await ask(harness, "/place?room=r"))[0] == 200
            status, headers, body = await ask(harness, "/place?room=r", "Origin: https://evil.example")
            assert (status, body["code"]) == (403, "forbidden")
            assert "access-control-allow-origin" not in headers
