"""A dashboard on a real port, and a browser reduced to its requests."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from gamebus.catalog_file import parse_catalog
from gamebus.dashboard.server import DashboardServer
from gamebus.settings import AuthSettings, DashboardSettings, RedisSettings, Settings

SECRET = "0123456789abcdef0123456789abcdef"


class Browser:
    """Requests to one dashboard; keeps the cookie that it was given."""

    def __init__(self, url: str) -> None:
        self.netloc = urlsplit(url).netloc
        self.cookie: str | None = None

    async def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        return await asyncio.to_thread(self._request, method, path, body, headers)

    async def frame(self, page: str) -> dict[str, Any]:
        """The first frame of a page."""
        return await asyncio.to_thread(self._frame, page)

    async def sign_in(self, secret: str, **headers: str) -> int:
        status, answered, _ = await self.request("POST", "/sign-in", {"secret": secret}, **headers)
        if status == 200:
            self.cookie = answered["set-cookie"].partition(";")[0]
        return status

    def _request(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        connection = self._send(method, path, body, headers)
        response = connection.getresponse()
        answer = (response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        connection.close()
        return answer

    def _frame(self, page: str) -> dict[str, Any]:
        connection = self._send("GET", f"/api/feed?page={quote(page)}", None, {})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        line = response.readline()
        connection.sock.close()
        frame: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
        return frame

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self.netloc, timeout=60)
        cookies = {"Cookie": self.cookie} if self.cookie else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers | cookies)
        return connection


@asynccontextmanager
async def running_dashboard(redis: RedisSettings, **dashboard: Any) -> AsyncIterator[Browser]:
    """A dashboard on a free port of this machine."""
    settings = Settings(
        redis=redis,
        auth=AuthSettings(secret=SECRET),
        dashboard=DashboardSettings(port=0, **dashboard),
    )
    server = DashboardServer(settings, parse_catalog())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.run())
        yield Browser(server.url)
        server.stop()
