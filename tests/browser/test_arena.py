"""The arena in a real browser, on `gamebus dev`: a real Kafka, a real Redis, the gateway, and Debian's Chromium without a window."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from gamebus.verify.proxy import Proxy
from gamebus_arena.arena_map import GROUND
from gamebus_arena.referee import BODY_M
from tests.browser.conftest import Dev, Visit
from tests.browser.visitor import running

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

DESKTOP = {"viewport": {"width": 1440, "height": 900}}
# Drawn without a graphics card: where the size does not matter, a small one leaves the processor to the game.
WINDOW = {"viewport": {"width": 800, "height": 500}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
SMALL_PHONE = PHONE | {"viewport": {"width": 360, "height": 640}}


class TestArena:
    async def test_two_pages_play_with_each_other(self, dev: Dev, visit: Visit, tmp_path: Path) -> None:
        """Two pages see each other move; a chat and a kill arrive once at both; nothing is loaded from elsewhere."""
        ada, bob = await visit(**DESKTOP), await visit(**PHONE)
        hosts: set[str] = set()
        ada.page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        await ada.enter(dev.addresses["arena"], "Ada")
        await bob.enter(dev.addresses["arena"], "Bob")

        await ada.stand(-6, -17.5)
        await bob.stand(2, -17.5)
        await ada.sees("Bob", 2, -17.5)
        await bob.sees("Ada", -6, -17.5)
        await ada.page.keyboard.down("d")
        await bob.until("game.bodies.some((body) => body.name === 'Ada' && body.x > -5)")
        await ada.page.keyboard.up("d")

        await ada.say("good luck!")
        await bob.reads("good luck!")
        await ada.reads("good luck!")

        await ada.page.mouse.move(*await ada.now("scene.screenOf(2, -17.5)"))
        await ada.page.mouse.down()
        for page in (ada, bob):
            await page.until("game.log.some(({ type, data }) => type === 'kill' && data.victim === 'Bob')")
        await ada.page.mouse.up()
        # What comes after the kill has come, so a second one would have come too.
        for page in (ada, bob):
            await page.until("game.log.filter(({ data }) => data.kind === 'spawn' && data.player === 'Bob').length > 1")
            await page.until("game.world.player('Ada').kills === 1 && game.world.player('Bob').deaths === 1")
            (kill,) = await page.events("kill")
            assert (kill["killer"], kill["victim"]) == ("Ada", "Bob")
            assert len(await page.events("death")) == 1
            assert await page.page.locator("#feed li").count() == 1
            assert await page.lines() == ["good luck!"]
        await ada.page.screenshot(path=tmp_path / "desktop.png")
        await bob.page.screenshot(path=tmp_path / "phone.png")
        print(f"screenshots in {tmp_path}")  # noqa: T201 - for people who look at them
        assert hosts == {urlsplit(dev.addresses["arena"]).netloc}

    async def test_a_page_whose_network_is_cut_resumes(self, dev: Dev, visit: Visit) -> None:
        """The page says that it reconnects and then that it missed nothing; every line of the chat is there once, one's own of
        the time without a network included; and the game goes on."""
        proxy = Proxy(target_port=dev.gateway_port)
        proxy.start()
        arguments = ("gamebus_arena", "web", "--port", "0", "--gateway", f"ws://127.0.0.1:{proxy.port}/v1")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(proxy.close)
            web = await stack.enter_async_context(running(*arguments, environment=dev.environment, log=dev.log))
            cleo, dan = await visit(**WINDOW), await visit(**WINDOW)
            # A page whose server has gone would complain of that.
            stack.push_async_callback(cleo.leave)
            await cleo.enter(web.said["arena"], "Cleo")
            await dan.enter(dev.addresses["arena"], "Dan")
            await dan.say("before")
            await cleo.reads("before")

            proxy.partition(lose=True, refuse=True)
            await proxy.reset()
            await cleo.until("document.getElementById('badge').dataset.state === 'waiting'")
            await cleo.say("from the tunnel")
            for text in ("can you", "hear", "me?"):
                await dan.say(text)
                await dan.reads(text)
            assert await cleo.lines() == ["before"]

            await proxy.restore()
            await cleo.until("document.getElementById('badge').textContent.includes('nothing missed')")
            for page in (cleo, dan):
                await page.reads("me?")
                await page.reads("from the tunnel")
                await dan.say(f"after, {await page.now('game.me')}")
                await page.reads(f"after, {await page.now('game.me')}")
                assert (await page.lines())[:5] == ["before", "can you", "hear", "me?", "from the tunnel"]
            await cleo.until("game.alive && game.self.placed")
            await cleo.stand(20, 17)
            await dan.sees("Cleo", 20, 17)
            # The refusals of the proxy are in the browser's console, and belong there.
            cleo.faults = [fault for fault in cleo.faults if "WebSocket connection to" not in fault]

    async def test_the_game_goes_on_after_the_death_of_the_gateway(self, dev: Dev, visit: Visit) -> None:
        """The gateway dies without a word and is started again: pages and game server resume, and the next shots are judged."""
        hal, ivy = await visit(**WINDOW), await visit(**WINDOW)
        for page, name in ((hal, "Hal"), (ivy, "Ivy")):
            await page.enter(dev.addresses["arena"], name)
        (gateway,) = [
            child
            for child in psutil.Process(dev.pid).children(recursive=True)
            if child.cmdline()[-4:-2] == ["gamebus", "gateway"]
        ]
        gateway.kill()
        for page in (hal, ivy):
            await page.until("document.getElementById('badge').dataset.state === 'waiting'")
        await ivy.say("anybody there?")
        for page in (hal, ivy):
            await page.until("document.getElementById('badge').dataset.state !== 'waiting' && connection.connected")
            await page.reads("anybody there?")
            await page.until("game.alive && game.self.placed")

        await hal.stand(-6, -17.5)
        await ivy.stand(2, -17.5)
        await hal.sees("Ivy", 2, -17.5)
        await hal.page.mouse.move(*await hal.now("scene.screenOf(2, -17.5)"))
        await hal.page.mouse.down()
        for page in (hal, ivy):
            await page.until("game.log.some(({ type, data }) => type === 'kill' && data.victim === 'Ivy')")
        for page in (hal, ivy):
            # A page that could not go on while it waited complains of that, and of nothing else.
            page.faults = [fault for fault in page.faults if "WebSocket connection to" not in fault]

    async def test_opponents_make_up_the_numbers(self, dev: Dev, visit: Visit) -> None:
        """Who comes alone finds opponents that move and shoot; each person who comes takes the place of one."""
        room = ("--room", "crowd", "--gateway", dev.addresses["gateway"])
        async with AsyncExitStack() as stack:
            for arguments in (("game", "--fighters", "3"), ("web", "--port", "0")):
                ready = await stack.enter_async_context(
                    running("gamebus_arena", *arguments, *room, environment=dev.environment, log=dev.log)
                )
            eve, fay = await visit(**WINDOW), await visit(**SMALL_PHONE)
            stack.push_async_callback(eve.leave)
            stack.push_async_callback(fay.leave)
            await eve.enter(ready.said["arena"], "Eve")
            # In the middle, where opponents come by.
            await eve.stand(0, -6)
            await eve.until("game.bodies.filter(({ bot }) => bot).length === 2")
            places = await eve.now("game.bodies.filter(({ bot }) => bot).map(({ name, x, z }) => [name, x, z])")
            for name, x, z in places:
                await eve.until(
                    "game.bodies.some((body) => body.name === argument[0]"
                    " && Math.hypot(body.x - argument[1], body.z - argument[2]) > 2)",
                    [name, x, z],
                )
            await eve.until("game.log.some(({ type, player }) => type === 'shot' && player.endsWith('.bot'))")

            await fay.enter(ready.said["arena"], "Fay")
            for page in (eve, fay):
                await page.until(
                    "game.world.ranking().length === 3 && game.world.ranking().filter(({ bot }) => bot).length === 1"
                )
                await page.until("!document.querySelector('#scores tbody').textContent.includes('undefined')")

    async def test_two_thumbs_move_and_shoot(self, dev: Dev, visit: Visit) -> None:
        """On a phone the left thumb walks and the right one aims and shoots, both at once; nothing of the page is off the screen."""
        page = await visit(**SMALL_PHONE)
        await page.enter(dev.addresses["arena"], "Jay")
        await page.stand(-10, -18)
        hands = await page.page.context.new_cdp_session(page.page)

        async def touch(kind: str, *points: tuple[int, int]) -> None:
            touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
            await hands.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

        await touch("touchStart", (80, 520))
        await touch("touchStart", (80, 520), (280, 520))
        await touch("touchMove", (120, 520), (320, 520))
        await page.until("game.self.x > -8")
        await page.until("game.log.some(({ type, player }) => type === 'shot' && player === game.me)")
        await touch("touchEnd")
        await page.until("game.self.vx === 0")

        await page.page.tap("#show-scores")
        outside = await page.page.evaluate(
            """() => [...document.querySelectorAll("#top, #tools, #scores, #scores td, #health, .stick, #dash")].filter((part) => {
                const { left, right, top, bottom } = part.getBoundingClientRect();
                return left < 0 || top < 0 || right > innerWidth || bottom > innerHeight;
            }).map((part) => part.id || part.tagName)"""
        )
        assert outside == []

    async def test_a_page_that_is_loaded_again_keeps_its_name_and_goes_on(self, dev: Dev, visit: Visit) -> None:
        """A reload is no new player, and somebody else who wants the same name gets another."""
        first, second = await visit(**WINDOW), await visit(**WINDOW)

        assert await first.enter(dev.addresses["arena"], "Kim") == "Kim"
        assert await first.enter(dev.addresses["arena"], "Kim") == "Kim"
        assert await second.enter(dev.addresses["arena"], "Kim") == "Kim-2"

    async def test_the_page_walks_by_the_rules_of_the_game_server(self, dev: Dev, visit: Visit) -> None:
        """Both know the same walls: from any place both settle at the same one."""
        page = await visit(**WINDOW)
        await page.enter(dev.addresses["arena"], "Gil")
        # The ground comes with the whole state, which may be later than the first life.
        await page.until("game.world.ground.walls.length > 0")
        places = [(x * 1.37 - 33, z * 1.13 - 22) for x in range(49) for z in range(39)]

        settled = await page.page.evaluate(
            """async ([places, radius]) => {
                const { settle } = await import("/js/ground.js");
                return places.map(([x, z]) => settle(arena.game.world.ground, x, z, radius));
            }""",
            [places, BODY_M],
        )

        assert [tuple(place) for place in settled] == [pytest.approx(GROUND.settle(place, BODY_M)) for place in places]
