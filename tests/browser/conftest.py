"""One `gamebus dev` and one Chromium for all browser tests: a real Kafka, a real Redis, the gateway, and no window."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.visitor import Visitor, clean_environment, running

Visit = Callable[..., Awaitable[Visitor]]


@dataclass(frozen=True)
class Dev:
    """A running `gamebus dev`, and how to start more processes beside it."""

    pid: int
    addresses: dict[str, Any]
    environment: dict[str, str]
    log: Any

    @property
    def gateway_port(self) -> int:
        return int(urlsplit(self.addresses["gateway"]).netloc.rpartition(":")[2])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dev]:
    """Without opponents: who is shot in these tests is known."""
    folder = tmp_path_factory.mktemp("arena")
    environment = clean_environment() | {"ARENA_FIGHTERS": "0"}
    with (folder / "dev.log").open("wb") as log:
        arguments = ("gamebus", "dev", "--port", "0", "--folder", str(folder / "stack"))
        async with running(*arguments, environment=environment, log=log) as process:
            secret = (folder / "stack" / "secret").read_text(encoding="ascii").strip()
            theirs = {"GAMEBUS_AUTH__SECRET": secret, "GAMEBUS_REDIS__URL": process.said["redis"]}
            yield Dev(process.pid, process.said, clean_environment() | theirs, log)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium is not None, "the browser tests need Chromium: apt-get install chromium"
    # The sandbox needs user namespaces, which root in a container has none of.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """Opens pages; when the test ends, none of them may have had anything to complain of."""
    visitors: list[Visitor] = []

    async def open_page(**options: Any) -> Visitor:
        context = await browser.new_context(**options)
        visitors.append(Visitor(await context.new_page()))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        await visitor.leave()
    assert [visitor.faults for visitor in visitors] == [[] for _ in visitors]
