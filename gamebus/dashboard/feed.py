"""Feeds: one reader of Redis for all viewers of a page.

Guarantees: a page that nobody looks at is not read; fifty viewers cost Redis what one does; a viewer who is slow gets the newest
frame next, and holds up nobody. Not guaranteed: every frame.

A frame is a JSON object: `at_ms` (when Redis was asked last), `redis` (whether it answered), `error` (why not), `firing` (how many alerts
fire), and `page`, which is the last one that could be read (`read_ms`), or null.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from gamebus.errors import StateError
from gamebus.telemetry.metrics import counter, gauge

INTERVAL_S: Final = 1.0

log = structlog.get_logger(__name__)


class Page(Protocol):
    """What one feed shows."""

    async def read(self) -> dict[str, Any]:
        """The page of this moment, ready for JSON.

        Raises:
            StateError: Redis could not answer.
        """


class TooManyFeeds(Exception):
    """More different pages are open than this dashboard serves."""


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """Figures of all feeds."""

    feeds: int = gauge("Pages that somebody looks at.")
    viewers: int = gauge("Browsers that look at them.")
    reads_total: int = counter("Times that a page was read from Redis.")
    failures_total: int = counter("Times that Redis did not answer.")


class Feeds:
    """The feeds of a dashboard, by the name of their page.

    Args:
        open_page: makes the page of a name.
        firing: how many alerts fire.
        max_feeds: bound of the pages that are open at the same time.
    """

    def __init__(
        self, open_page: Callable[[str], Page], *, firing: Callable[[], int] = lambda: 0, max_feeds: int = 256
    ) -> None:
        self._open_page = open_page
        self._firing = firing
        self._max_feeds = max_feeds
        self._feeds: dict[str, _Feed] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._reads = self._failures = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.Event().wait()

    async def frames(self, name: str) -> AsyncGenerator[str, None]:
        """The frames of a page, the last one at once, then one a second.

        Raises:
            TooManyFeeds: another page than all that are open, and there are as many as may be.
        """
        feed = self._feeds.get(name)
        if feed is None:
            if len(self._feeds) >= self._max_feeds:
                raise TooManyFeeds(name)
            assert self._tasks is not None, "run() comes first"
            feed = self._feeds[name] = _Feed(name, self._open_page(name), self._count, self._firing)
            feed.task = self._tasks.create_task(feed.run(), name=f"feed-{name}")
        feed.viewers += 1
        try:
            async for frame in feed.frames():
                yield frame
        finally:
            feed.viewers -= 1
            if not feed.viewers:
                self._feeds.pop(name)
                assert feed.task is not None
                feed.task.cancel()

    def statistics(self) -> FeedStatistics:
        """Figures of this moment."""
        return FeedStatistics(
            feeds=len(self._feeds),
            viewers=sum(feed.viewers for feed in self._feeds.values()),
            reads_total=self._reads,
            failures_total=self._failures,
        )

    def _count(self, *, failed: bool) -> None:
        self._reads += 1
        self._failures += failed


class _Feed:
    def __init__(self, name: str, page: Page, count: Callable[..., None], firing: Callable[[], int]) -> None:
        self.viewers = 0
        self.task: asyncio.Task[None] | None = None
        self._name = name
        self._page = page
        self._count = count
        self._firing = firing
        self._frame: str | None = None
        self._last: dict[str, Any] | None = None
        self._read_ms: int | None = None
        self._changed = asyncio.Condition()
        self._number = 0

    async def run(self) -> None:
        while True:
            asked_at = time.monotonic()
            frame: dict[str, Any] = {"at_ms": time.time_ns() // 1_000_000, "redis": True, "error": None}
            try:
                self._last = await self._page.read()
                self._read_ms = frame["at_ms"]
            except StateError as error:
                frame |= {"redis": False, "error": str(error)}
            except Exception as error:
                log.exception("page.failed", page=self._name)
                frame |= {"error": f"this page cannot be shown: {error!r}"}
            self._count(failed=not frame["redis"])
            frame |= {"firing": self._firing(), "page": self._last, "read_ms": self._read_ms}
            async with self._changed:
                self._frame = json.dumps(frame, separators=(",", ":"))
                self._number += 1
                self._changed.notify_all()
            await asyncio.sleep(max(0.0, INTERVAL_S - (time.monotonic() - asked_at)))

    async def frames(self) -> AsyncGenerator[str, None]:
        seen = 0
        while True:
            async with self._changed:
                while self._number == seen:
                    await self._changed.wait()
                frame, seen = self._frame, self._number
            assert frame is not None
            yield frame
