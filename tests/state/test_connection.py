"""The connection against a real server that dies, stalls and refuses."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from importlib.resources import files

import pytest

from gamebus.errors import ConfigurationError, StateError
from gamebus.settings import RedisSettings
from gamebus.state.connection import Connection, connect
from gamebus.state.presence import PresenceState
from gamebus.state.scripts import Script, load_script
from tests.redis_server import running_redis_server


class TestConnect:
    def test_a_bad_url_is_a_configuration_error(self) -> None:
        """A person must change the setting, and the message names it."""
        with pytest.raises(ConfigurationError, match="GAMEBUS_REDIS__URL"):
            connect(RedisSettings(url="http://127.0.0.1"))

    def test_a_brace_in_the_prefix_is_a_configuration_error(self) -> None:
        """It would put every key of the game into one slot of a cluster."""
        with pytest.raises(ConfigurationError, match="KEY_PREFIX"):
            connect(RedisSettings(key_prefix="{game}:"))


class TestScripts:
    async def test_a_script_that_the_server_does_not_know_is_sent_once(self, connection: Connection) -> None:
        """After a restart or a failover the script cache is empty; callers must not notice."""
        text = f"-- {uuid.uuid4()}\nreturn ARGV[1]"
        script = Script("echo", text, hashlib.sha1(text.encode()).hexdigest())
        key = connection.keys.room("arena", "none")

        results = await connection.run_many(script, [([key], ["a"]), ([key], ["b"])])

        assert results == [b"a", b"b"]
        assert await connection.run(script, [key], ["c"]) == b"c"
        assert connection.statistics().scripts_loaded_total == 1

    async def test_calls_for_several_rooms_are_one_operation(self, connection: Connection) -> None:
        """Rooms are in different slots of a cluster; one round trip must serve them all the same."""
        presence = PresenceState(connection)

        await presence.refresh([(f"room-{index}", "alice", "s1") for index in range(50)], 0)

        rooms = [f"room-{index}" for index in range(50)]
        assert set((await presence.members(rooms, 0)).values()) == {frozenset({"alice"})}

    async def test_a_script_error_is_a_state_error(self, connection: Connection) -> None:
        """Whatever Redis refuses reaches callers as one kind of error."""
        key = connection.keys.room("arena", "presence")
        await connection.execute("SET", key, "not a sorted set")

        with pytest.raises(StateError, match="refresh_presence"):
            await PresenceState(connection).refresh([("arena", "alice", "s1")], 0)

        assert connection.statistics().failures_total == 1

    def test_every_script_says_what_it_does_and_which_keys_it_takes(self) -> None:
        """The files are read by operators."""
        names = [entry.name.removesuffix(".lua") for entry in files("gamebus.state").joinpath("lua").iterdir()]
        assert names
        for name in names:
            text = load_script(name).text
            assert text.startswith("-- "), name
            assert "-- KEYS" in text, name


class TestLoss:
    async def test_a_server_that_is_down_is_a_state_error_and_a_new_one_is_used(self) -> None:
        """Redis comes back at the same address; the pool must not keep dead connections."""
        with running_redis_server() as server:
            connection = connect(RedisSettings(url=server.url, timeout_s=1))
            await connection.execute("PING")

            server.kill()
            with pytest.raises(StateError, match="PING"):
                await connection.execute("PING")

            server.start()
            await connection.execute("PING")
            await connection.close()

    async def test_a_stalled_server_costs_no_more_than_the_deadline(self) -> None:
        """A hung Redis must not hang its callers, however many there are."""
        with running_redis_server() as server:
            connection = connect(RedisSettings(url=server.url, timeout_s=0.3, max_connections=2))
            await connection.execute("PING")

            server.pause()
            outcomes = await asyncio.gather(*(connection.execute("PING") for _ in range(8)), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StateError] * 8

            server.resume()
            await connection.execute("PING")
            await connection.close()

    async def test_out_of_memory_and_read_only_are_state_errors(self) -> None:
        """They pass when an operator acts; no record is at fault."""
        with running_redis_server() as server:
            connection = connect(RedisSettings(url=server.url, timeout_s=1))
            await connection.execute("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StateError, match="memory"):
                await PresenceState(connection).join("arena", "alice", "s1", 0)

            await connection.execute("CONFIG", "SET", "maxmemory", "0")
            await connection.execute("REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(StateError):
                await PresenceState(connection).join("arena", "alice", "s1", 0)
            await connection.close()

    async def test_more_callers_than_connections_wait(self) -> None:
        """redis-py's usual pool refuses at once; a burst of joins must not fail."""
        with running_redis_server() as server:
            connection = connect(RedisSettings(url=server.url, max_connections=2))

            await asyncio.gather(*(connection.execute("PING") for _ in range(100)))

            await connection.close()

    async def test_closing_is_completed_when_it_is_cancelled(self) -> None:
        """A process that is told to end twice leaves Redis no connection to nobody."""
        with running_redis_server() as server:
            connection = connect(RedisSettings(url=server.url))
            await connection.execute("PING")

            closing = asyncio.create_task(connection.close())
            for _ in range(3):
                # Its tasks are made, and have not begun.
                await asyncio.sleep(0)
                closing.cancel()
            await asyncio.wait([closing])

            assert closing.cancelled()
            witness = connect(RedisSettings(url=server.url))
            async with asyncio.timeout(10):
                while len((await witness.execute("CLIENT", "LIST")).splitlines()) > 1:  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(0.01)
            await witness.close()
