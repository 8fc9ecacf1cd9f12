"""The load-test report in a real browser: one file, opened from the disk."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit
from tests.clients.bots.relay import SECRET, Relay

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="session")]

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
LOOKS: dict[str, dict[str, Any]] = {
    "desktop-light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "desktop-dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "color_scheme": "light"},
}


async def report(path: Path) -> None:
    """Play against a relay and write the page."""
    async with Relay() as relay:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gamebus", "bots", "run", "steady", "--url", relay.url, "--token-secret", SECRET),
            *("--players", "6", "--rooms", "2", "--duration", "4s", "--ramp", "0s", "--warm-up", "0s"),
            *("--threshold", "gaps==0", "--html", str(path)),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await process.wait() in (0, 3)


def watched(page: Page) -> list[str]:
    """Addresses that a page asks for."""
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    return requests


class TestReport:
    async def test_opens_by_itself(self, visit: Visit, tmp_path: Path) -> None:
        """Without an error, a request or a sideways scroll: every chart drawn, in the light, in the dark and on a phone; readable for all."""
        path = tmp_path / "report.html"
        await report(path)
        for name, options in LOOKS.items():
            page = (await visit(**options)).page
            requests = watched(page)
            await page.goto(path.as_uri())
            await expect(page.get_by_role("heading", name="steady")).to_be_visible()
            # Latency twice, spectrum, events, CPU, memory.
            await expect(page.locator("figure canvas")).to_have_count(6)
            await expect(page.locator("tr", has_text="gaps==0").first).to_contain_text("kept")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}
            await page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
            await page.evaluate(AXE.read_text(encoding="utf-8"))
            found = await page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})")
            assert [
                (violation["id"], violation["nodes"][0]["html"][:100]) for violation in found["violations"]
            ] == [], name
        print(f"screenshots in {tmp_path}")  # noqa: T201 - for people who look at them
