"""The takeover channel against a real server."""

from __future__ import annotations

import asyncio

from gamebus.settings import RedisSettings
from gamebus.state.connection import Connection, connect
from gamebus.state.sessions import SessionState
from tests.redis_server import running_redis_server


async def hear(sessions: SessionState, heard: asyncio.Queue[tuple[str, str]]) -> None:
    async for message in sessions.listen():
        heard.put_nowait(message)


async def announce_until_heard(
    sessions: SessionState, heard: asyncio.Queue[tuple[str, str]], player: str, session: str
) -> None:
    """Announce again until the listener, which may still be dialling, has heard it."""
    async with asyncio.timeout(20):
        while True:
            await sessions.announce(player, session)
            try:
                async with asyncio.timeout(0.1):
                    while await heard.get() != (player, session):
                        pass
                    return
            except TimeoutError:
                continue


class TestSessions:
    async def test_every_gateway_hears_of_a_new_session(self, connection: Connection) -> None:
        """A player who connects elsewhere is closed with 4501 wherever he was."""
        sessions = SessionState(connection)
        here: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        there: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        listeners = [asyncio.create_task(hear(sessions, queue)) for queue in (here, there)]

        await announce_until_heard(sessions, here, "alice", "s1")
        await announce_until_heard(sessions, there, "alice", "s2")

        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)

    async def test_the_holder_is_the_session_announced_last(self, connection: Connection) -> None:
        """Of two gateways that take a player at once exactly one keeps him."""
        sessions = SessionState(connection)
        assert await sessions.holder("alice") is None

        await asyncio.gather(sessions.announce("alice", "s1"), sessions.announce("alice", "s2"))
        await sessions.announce("bob", "s3")

        assert await sessions.holder("alice") in {"s1", "s2"}
        assert await sessions.holder("bob") == "s3"

    async def test_a_listener_outlives_a_restart_of_redis(self) -> None:
        """After Redis has come back, takeovers work again without a restart of the gateway."""
        with running_redis_server() as server:
            connection = connect(RedisSettings(url=server.url, timeout_s=1))
            sessions = SessionState(connection)
            heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
            listener = asyncio.create_task(hear(sessions, heard))
            await announce_until_heard(sessions, heard, "alice", "s1")

            server.kill()
            server.start()

            await announce_until_heard(sessions, heard, "alice", "s2")
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
            await connection.close()
