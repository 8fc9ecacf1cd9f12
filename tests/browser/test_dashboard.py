"""The dashboard in a real browser, beside a game that is played."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.async_api import Page, expect

from gamebus.catalog import Role
from gamebus.gateway.auth import mint_token
from gamebus.settings import RedisSettings
from gamebus.state.connection import connect
from gamebus.state.vitals import VitalsState
from gamebus_client import Closed, GameClient
from tests.browser.conftest import Dev, Visit
from tests.browser.visitor import running

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

DESKTOP = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "color_scheme": "light"}
PAGES = ("/", "/rooms", "/players", "/processes", "/delivery", "/alerts")
PATIENCE_MS = 40_000
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
EVIL = "<img src=x onerror=document.title=1>"

expect.set_options(timeout=PATIENCE_MS)


async def shown(page: Page, name: str) -> int:
    """A figure as an operator reads it."""
    text = await page.locator(".stat", has=page.get_by_text(name, exact=True)).locator("dd").first.inner_text()
    return int(re.sub(r"[^0-9]", "", text))


async def accounted(page: Page, term: str) -> int:
    """A term of the accounts of all at-most-once topics, as an operator reads them."""
    texts = (
        await page.locator(".waterfall tr", has=page.get_by_text(term, exact=True))
        .locator("td.number")
        .all_inner_texts()
    )
    return sum(int(text.replace(",", "")) for text in texts)


async def forget_the_dead(dev: Dev) -> None:
    """Those that other tests have killed stand on the pages for a minute, with what they counted, and then no more."""
    connection = connect(RedisSettings(url=dev.addresses["redis"]))
    vitals = VitalsState(connection)
    for process in await vitals.read():
        if not psutil.pid_exists(process.pid):
            await vitals.forget(process.id)
    await connection.close()


async def opened(page: Page, url: str) -> None:
    """A page with data."""
    await page.goto(url)
    await expect(page.get_by_text("● live")).to_be_visible()


async def fits(page: Page) -> None:
    """Nothing is wider than the screen. A phone makes its viewport as wide as what is in it, so that says nothing."""
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert await page.evaluate("document.documentElement.scrollWidth") <= width, page.url


@contextmanager
def stopped(dev: Dev, *names: str) -> Iterator[None]:
    """A server of the stack stands still."""
    children = psutil.Process(dev.pid).children(recursive=True)
    (process,) = (child for child in children if any(name in " ".join(child.cmdline()) for name in names))
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def gateway(dev: Dev) -> AsyncIterator[int]:
    """One more gateway of the game, which nobody starts again; its process id."""
    environment = dev.environment | {"GAMEBUS_KAFKA__BOOTSTRAP_SERVERS": dev.addresses["kafka"]}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gamebus", "gateway", "--port", "0", "--ops-port", "0"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=dev.log,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline(), "the gateway ended before it was ready"
        yield process.pid
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
        await process.wait()


async def play(dev: Dev, folder: Path) -> dict[str, Any]:
    """Let bots play for a while; their report."""
    report = folder / "bots.json"
    arguments = [
        "--players",
        "6",
        "--rooms",
        "2",
        "--ramp",
        "0s",
        "--duration",
        "15s",
        "--room-prefix",
        "watched",
        "--json",
        str(report),
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gamebus", "bots", "run", "steady", "--url", dev.addresses["gateway"], *arguments),
        env=dev.environment,
        stdout=dev.log,
        stderr=dev.log,
    )
    # 3: this machine was too busy for the latencies to mean anything.
    assert await process.wait() in (0, 3)
    told: dict[str, Any] = json.loads(report.read_text())
    return told


class TestDashboard:
    async def test_every_page_shows_the_game_that_is_played(self, dev: Dev, visit: Visit, tmp_path: Path) -> None:
        """What the bots counted is what operators read, on a desktop and on a phone; nothing is loaded from elsewhere."""
        url = dev.addresses["dashboard"]
        await forget_the_dead(dev)
        desktop, phone = (await visit(**DESKTOP)).page, (await visit(**PHONE)).page
        await opened(desktop, f"{url}/delivery")
        acked, applied = await shown(desktop, "Acked"), await shown(desktop, "Applied")
        sent = await accounted(desktop, "attempted")

        playing = asyncio.create_task(play(dev, tmp_path))
        await desktop.goto(f"{url}/rooms?q=watched")
        await expect(desktop.get_by_text("2 of ")).to_be_visible()
        await desktop.get_by_role("link", name="watched-1").click()
        await expect(desktop.get_by_role("heading", name="Room watched-1")).to_be_visible()
        await expect(desktop.locator(".lines").nth(1).locator("li").first).to_be_visible()
        assert await shown(desktop, "Players") == 3
        await opened(desktop, f"{url}/players")
        await expect(desktop.locator("tbody tr", has_text="watched")).to_have_count(6)
        await desktop.go_back()
        await expect(desktop.get_by_role("heading", name="Room watched-1")).to_be_visible()
        await desktop.screenshot(path=tmp_path / "room.png", full_page=True)
        for path in PAGES:
            for name, page in (("desktop", desktop), ("phone", phone)):
                await opened(page, url + path)
                await page.screenshot(path=tmp_path / f"{name}{path.replace('/', '-')}.png", full_page=True)
                await fits(page)
        told = await playing

        await opened(desktop, f"{url}/delivery")
        counted = told["figures"]
        await expect(
            desktop.locator(".stat", has=desktop.get_by_text("Acked", exact=True)).locator("dd").first
        ).to_have_text(f"{acked + counted['acked']:,}")
        await expect(
            desktop.locator(".stat", has=desktop.get_by_text("Applied", exact=True)).locator("dd").first
        ).to_have_text(f"{applied + counted['acked']:,}")
        async with asyncio.timeout(PATIENCE_MS / 1000):
            # Publishers report once a second, and processors account for it then.
            while await accounted(desktop, "attempted") < sent + counted["sent"]:  # noqa: ASYNC110 - a page has no event
                await asyncio.sleep(0.2)
        assert await accounted(desktop, "attempted") == sent + counted["sent"]
        print(f"screenshots in {tmp_path}")  # noqa: T201 - for people who look at them

    async def test_text_of_players_stays_text(self, dev: Dev, visit: Visit) -> None:
        """A chat of HTML is read, not run."""
        page = (await visit(**DESKTOP)).page
        secret = dev.environment["GAMEBUS_AUTH__SECRET"]
        token = mint_token(secret, sub="mallory", role=Role.PLAYER, now_ms=time.time_ns() // 1_000_000)
        async with GameClient(dev.addresses["gateway"], token) as game:
            await game.join("evil")
            await game.chat("evil", EVIL)
            await opened(page, f"{dev.addresses['dashboard']}/rooms/evil")
            await expect(page.locator(".lines li", has_text=EVIL)).to_be_visible()
            assert await page.locator(".lines img").count() == 0
            assert await page.title() == "gamebus"

    async def test_the_address_and_the_keyboard_lead_there(self, dev: Dev, visit: Visit) -> None:
        """`/` searches; what is searched for is in the address, which can be shared; back goes back."""
        page = (await visit(**DESKTOP)).page
        await opened(page, f"{dev.addresses['dashboard']}/rooms")
        await page.keyboard.press("/")
        await page.keyboard.type("nowhere")
        await expect(page).to_have_url(re.compile(r"/rooms\?q=nowhere$"))
        await expect(page.get_by_text("No room whose name holds “nowhere”.")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("searchbox")).to_have_value("nowhere")
        await page.get_by_role("link", name="Players").click()
        await expect(page.get_by_role("heading", name="Players")).to_be_visible()
        await page.go_back()
        await expect(page.get_by_role("searchbox")).to_have_value("nowhere")

    async def test_redis_that_stands_still_is_told(self, dev: Dev, visit: Visit) -> None:
        """A banner and the last frame, greyed; then recovery by itself."""
        page = (await visit(**DESKTOP)).page
        await opened(page, dev.addresses["dashboard"])
        with stopped(dev, "valkey-server", "redis-server"):
            await expect(page.get_by_text("Redis does not answer.")).to_be_visible()
            await expect(page.locator("div.stale .stat").first).to_be_visible()
            await expect(page.get_by_role("status").filter(has_text=re.compile(r"stale: \d+ s old"))).to_be_visible()
        await expect(page.get_by_text("Redis does not answer.")).to_be_hidden()
        await expect(page.get_by_text("● live")).to_be_visible()

    async def test_a_gateway_that_is_killed_is_an_alert_until_another_is_there(self, dev: Dev, visit: Visit) -> None:
        """The page names the process, the navigation of every page says that something is wrong, and both clear by themselves."""
        page, phone = (await visit(**DESKTOP)).page, (await visit(**PHONE)).page
        firing = page.get_by_role("region", name="Firing").locator("tr")
        async with gateway(dev) as pid:
            await opened(page, f"{dev.addresses['dashboard']}/processes")
            await expect(page.locator("tr", has_text=f":{pid}")).to_be_visible()
            os.kill(pid, signal.SIGKILL)
            await expect(page.get_by_role("link", name=re.compile(r"Alerts \d+ firing"))).to_be_visible()
            await page.get_by_role("link", name=re.compile("Alerts")).click()
            dead = firing.filter(has_text=f":{pid} gateway")
            await expect(dead).to_contain_text("Process silent")
            await opened(phone, f"{dev.addresses['dashboard']}/rooms")
            await expect(phone.locator("nav .badge")).to_be_attached()
            await fits(phone)
            await dead.get_by_role("link").click()
            await expect(page.locator("#process-silent")).to_be_in_viewport()
        async with gateway(dev):
            await expect(dead).to_be_hidden()
            over = page.get_by_role("region", name="Over").locator("tr", has_text=f":{pid} gateway")
            await expect(over).to_contain_text("Process silent")

    async def test_the_address_of_an_alert_leads_to_what_to_do(self, dev: Dev, visit: Visit) -> None:
        """A link in a ticket opens at its paragraph of the runbook, although that is there only once the page is."""
        page = (await visit(**DESKTOP)).page
        await opened(page, f"{dev.addresses['dashboard']}/alerts#slow-readers")
        await expect(page.locator("#slow-readers")).to_be_in_viewport()

    async def test_everyone_can_read_it(self, dev: Dev, visit: Visit) -> None:
        """No serious violation of accessibility, in the dark and in the light (axe-core)."""
        for options in (DESKTOP, PHONE):
            page = (await visit(**options)).page
            for path in (*PAGES, "/rooms/evil"):
                await opened(page, dev.addresses["dashboard"] + path)
                await page.evaluate(AXE.read_text(encoding="utf-8"))
                found = await page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})")
                serious = [
                    (violation["id"], [node["html"][:120] for node in violation["nodes"][:3]])
                    for violation in found["violations"]
                    if violation["impact"] in {"serious", "critical"}
                ]
                assert serious == [], (options["color_scheme"], path)

    async def test_operators_act(self, dev: Dev, visit: Visit) -> None:
        """A player is kicked after a question: his client hears why and stays away, and the audit names who, what and why."""
        environment = dev.environment | {
            "GAMEBUS_DASHBOARD__INSECURE": "true",
            "GAMEBUS_DASHBOARD__ACTIONS": "true",
        }
        secret = dev.environment["GAMEBUS_AUTH__SECRET"]
        token = mint_token(secret, sub="rowdy", role=Role.PLAYER, now_ms=time.time_ns() // 1_000_000)
        page = (await visit(**DESKTOP)).page
        async with (
            running("gamebus", "dashboard", "--port", "0", environment=environment, log=dev.log) as process,
            GameClient(dev.addresses["gateway"], token) as game,
        ):
            await game.join("rowdies")
            await opened(page, f"{process.said['dashboard']}/players?q=rowdy")
            await page.get_by_role("button", name="Kick rowdy").click()
            dialog = page.get_by_role("dialog", name="Kick rowdy")
            await dialog.get_by_label("Reason").fill("throws chairs")
            await dialog.get_by_role("button", name="Kick").click()
            async with asyncio.timeout(PATIENCE_MS / 1000):
                closed = [message async for message in game if isinstance(message, Closed)]
            assert [message.code for message in closed] == [4503]
            await opened(page, f"{process.said['dashboard']}/audit")
            row = page.locator("tbody tr", has_text="throws chairs")
            await expect(row).to_contain_text("kick")
            await expect(row).to_contain_text("closed 1 connections")
            await page.goto("about:blank")

    async def test_operators_sign_in(self, dev: Dev, visit: Visit) -> None:
        """A wrong password is refused with a word, the right one opens the dashboard until signing out."""
        environment = dev.environment | {"GAMEBUS_DASHBOARD__PASSWORD": "open sesame"}
        visitor = await visit(**DESKTOP)
        page = visitor.page
        async with running("gamebus", "dashboard", "--port", "0", environment=environment, log=dev.log) as process:
            await page.goto(process.said["dashboard"])
            await page.get_by_label("Password or operator token").fill("open says me")
            await page.keyboard.press("Enter")
            await expect(page.get_by_text("neither the password nor an operator's token")).to_be_visible()
            await page.get_by_label("Password or operator token").fill("open sesame")
            await page.keyboard.press("Enter")
            await expect(page.get_by_text("● live")).to_be_visible()
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_label("Password or operator token")).to_be_visible()
            await page.goto("about:blank")
        # The browser itself logs every 401, which were asked for here.
        visitor.faults[:] = [fault for fault in visitor.faults if "401" not in fault]
