"""The living gateways, against a real server."""

from __future__ import annotations

from gamebus.state.connection import Connection
from gamebus.state.gateways import EXPIRY_MS, GatewayState


class TestGateways:
    async def test_each_hears_of_all(self, connection: Connection) -> None:
        """Who announces himself learns who else lives; who withdraws is named no more."""
        gateways = GatewayState(connection)
        assert await gateways.announce("ws://a/v1") == ("ws://a/v1",)
        assert set(await gateways.announce("ws://b/v1")) == {"ws://a/v1", "ws://b/v1"}
        await gateways.withdraw("ws://a/v1")
        assert await gateways.announce("ws://b/v1") == ("ws://b/v1",)

    async def test_the_dead_are_forgotten(self, connection: Connection) -> None:
        """A gateway whose announcement has expired, by the clock of Redis, is not named; the key does not outlive the last one."""
        gateways = GatewayState(connection)
        await gateways.announce("ws://a/v1")
        key = connection.keys.shared("gateways", "live")
        seconds, _ = await connection.execute("TIME")
        await connection.execute("ZADD", key, (int(seconds) - 1) * 1000, "ws://dead/v1")
        assert await gateways.announce("ws://a/v1") == ("ws://a/v1",)
        assert 0 < await connection.execute("PTTL", key) <= EXPIRY_MS
