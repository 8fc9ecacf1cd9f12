"""A person with a browser, and the processes of a game that it visits."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Page

PATIENCE_S = 40.0

# Not `wait_for_function`: it makes its condition of a string in the page, which the page's own policy forbids.
_LOOK = """(argument) => new Promise((resolve) => {
  const look = () => {
    const { game, connection, scene } = globalThis.arena ?? {};
    const found = game && (() => (CONDITION))();
    if (found) resolve(found);
    else setTimeout(look, 20);
  };
  look();
})"""


class Visitor:
    """One page. `faults` collects what a person would find in its console."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)

    async def enter(self, url: str, name: str) -> str:
        """Come in through the lobby, as by keyboard; the name that the arena gave."""
        await self.page.goto(url)
        await self.page.fill("#name", name)
        await self.page.press("#name", "Enter")
        return str(await self.until("game.alive && game.self.placed && game.me"))

    async def leave(self) -> None:
        """Close the page."""
        await self.page.context.close()

    async def until(self, condition: str, argument: object = None) -> Any:
        """Wait until a condition on `game`, `connection`, `scene` and `argument` holds; its value."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.page.evaluate(_LOOK.replace("CONDITION", condition), argument)
        except TimeoutError:
            badge = await self.page.text_content("#badge")
            raise AssertionError(f"not within {PATIENCE_S:.0f} s: {condition} ({argument}); badge: {badge}") from None

    async def now(self, expression: str, argument: object = None) -> Any:
        """A value of the page."""
        return await self.page.evaluate(
            f"(argument) => {{ const {{ game, connection, scene }} = globalThis.arena; return {expression}; }}",
            argument,
        )

    async def stand(self, x: float, z: float) -> None:
        """Be somewhere: where a player is, its own page says."""
        await self.now("game.self.place(...argument)", [x, z])

    async def sees(self, name: str, x: float, z: float) -> None:
        """Wait until a player is drawn near a place and can be shot at."""
        await self.until(
            "game.bodies.some((body) => body.name === argument[0] && !body.guarded"
            " && Math.hypot(body.x - argument[1], body.z - argument[2]) < 0.3)",
            [name, x, z],
        )

    async def say(self, text: str) -> None:
        """Write into the chat, as by keyboard."""
        await self.page.keyboard.press("Enter")
        await self.page.keyboard.type(text)
        await self.page.keyboard.press("Enter")

    async def reads(self, text: str) -> None:
        """Wait until a line of the chat has come from the gateway."""
        await self.until(
            "[...document.querySelectorAll('#lines li[data-cursor] .text')].some((line) => line.textContent === argument)",
            text,
        )

    async def lines(self) -> list[str]:
        """What has been said, as shown: lines that came from the gateway."""
        found: list[str] = await self.page.eval_on_selector_all(
            "#lines li[data-cursor] .text", "(lines) => lines.map((line) => line.textContent)"
        )
        return found

    async def events(self, event_type: str) -> list[dict[str, Any]]:
        """Data of the events of a type that came, in order."""
        found: list[dict[str, Any]] = await self.now(
            "game.log.filter(({ type }) => type === argument).map(({ data }) => data)", event_type
        )
        return found


@dataclass(frozen=True, slots=True)
class Running:
    """A process that is ready. `said`: its ready line."""

    pid: int
    said: dict[str, Any]


@asynccontextmanager
async def running(
    *arguments: str, environment: Mapping[str, str], log: Any, patience_s: float = 150.0
) -> AsyncIterator[Running]:
    """A Python module as a process, from its ready line to its orderly end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(patience_s):
            line = await process.stdout.readline()
        assert line, f"{arguments} ended before it was ready"
        yield Running(process.pid, json.loads(line))
        process.terminate()
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of gamebus."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("GAMEBUS_", "ARENA_"))}
