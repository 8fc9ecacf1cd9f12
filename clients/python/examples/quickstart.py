"""Join a room, move, say hello, and print what happens: python quickstart.py ws://127.0.0.1:8000 TOKEN"""

import asyncio
import sys

from gamebus_client import GameClient


async def main(url: str, token: str) -> None:
    async with GameClient(url, token) as game:
        await game.join("arena-1")
        game.move("arena-1", 1.0, 0.0, 2.0)  # at most once: returns at once, True when it was written
        await game.chat("arena-1", "hello")  # at least once: returns when it is safe on all replicas
        async for message in game:
            print(message)


asyncio.run(main(*sys.argv[1:]))
