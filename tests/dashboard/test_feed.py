"""One reader for all viewers of a page."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gamebus.dashboard.feed import Feeds, TooManyFeeds
from gamebus.errors import StateError


class Page:
    """Counts how often it is read; fails when it is told to."""

    def __init__(self) -> None:
        self.reads = 0
        self.error: Exception | None = None

    async def read(self) -> dict[str, Any]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return {"read": self.reads}


class TestFeeds:
    async def test_viewers_share_what_is_read(self) -> None:
        """Fifty viewers cost Redis what one does, and nobody costs nothing."""
        page = Page()
        async with asyncio.TaskGroup() as tasks:
            feeds = Feeds(lambda _: page)
            running = tasks.create_task(feeds.run())
            await asyncio.sleep(0)
            viewers = [feeds.frames("overview") for _ in range(50)]
            frames = await asyncio.gather(*(anext(viewer) for viewer in viewers))

            assert {json.loads(frame)["page"]["read"] for frame in frames} == {1}
            assert feeds.statistics().viewers == 50
            for viewer in viewers:
                await viewer.aclose()
            assert (feeds.statistics().feeds, feeds.statistics().viewers) == (0, 0)
            running.cancel()
        assert page.reads == feeds.statistics().reads_total

    async def test_a_redis_that_is_away_leaves_the_last_page(self) -> None:
        """A banner and the last frame, then recovery by itself."""
        page = Page()
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            feeds = Feeds(lambda _: page)
            running = tasks.create_task(feeds.run())
            await asyncio.sleep(0)
            viewer = feeds.frames("overview")
            first = json.loads(await anext(viewer))
            assert (first["redis"], first["read_ms"]) == (True, first["at_ms"])
            page.error = StateError("Redis does not answer")
            frame = json.loads(await anext(viewer))
            assert (frame["redis"], frame["error"], frame["page"]) == (False, "Redis does not answer", {"read": 1})
            assert frame["read_ms"] == first["at_ms"] < frame["at_ms"]
            page.error = None
            frame = json.loads(await anext(viewer))
            assert (frame["redis"], frame["error"], frame["page"]) == (True, None, {"read": 3})
            await viewer.aclose()
            running.cancel()

    async def test_a_page_that_cannot_be_made_harms_no_other(self) -> None:
        """A bug in one page is told there."""
        good, bad = Page(), Page()
        bad.error = ZeroDivisionError("oops")
        async with asyncio.TaskGroup() as tasks:
            feeds = Feeds(lambda name: {"good": good, "bad": bad}[name])
            running = tasks.create_task(feeds.run())
            await asyncio.sleep(0)
            wrong, right = feeds.frames("bad"), feeds.frames("good")
            assert "oops" in json.loads(await anext(wrong))["error"]
            assert json.loads(await anext(right))["page"] == {"read": 1}
            await wrong.aclose()
            await right.aclose()
            running.cancel()

    async def test_the_pages_that_are_open_are_bounded(self) -> None:
        """Whoever opens a page for every name that there is cannot fill the memory."""
        async with asyncio.TaskGroup() as tasks:
            feeds = Feeds(lambda _: Page(), max_feeds=1)
            running = tasks.create_task(feeds.run())
            await asyncio.sleep(0)
            first, again = feeds.frames("room:a"), feeds.frames("room:a")
            await anext(first)
            await anext(again)
            with pytest.raises(TooManyFeeds):
                await anext(feeds.frames("room:b"))
            await first.aclose()
            await again.aclose()
            other = feeds.frames("room:b")
            await anext(other)
            await other.aclose()
            running.cancel()
