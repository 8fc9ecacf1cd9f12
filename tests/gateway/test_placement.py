"""Which gateway should take a room."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from gamebus.errors import StateError
from gamebus.gateway.placement import Placement, advertised_url, choose
from gamebus.settings import GatewaySettings

URLS = st.sets(st.integers(1, 99).map(lambda number: f"ws://g{number}/v1"), min_size=2, max_size=9)


class HandState:
    """Gateways in the test's hands."""

    def __init__(self, *others: str) -> None:
        self.live = set(others)
        self.away = False
        self.announced = asyncio.Event()

    async def announce(self, url: str) -> tuple[str, ...]:
        self.announced.set()
        if self.away:
            raise StateError("away")
        self.live.add(url)
        return tuple(self.live)

    async def withdraw(self, url: str) -> None:
        self.live.discard(url)


class TestChoose:
    @settings(deadline=None)
    @given(URLS, st.integers(0, 1000))
    def test_a_gateway_that_goes_moves_only_its_own_partitions(self, urls: set[str], partition: int) -> None:
        """The death of a gateway disturbs the rooms of no other one."""
        chosen = choose(partition, urls)
        for gone in urls - {chosen}:
            assert choose(partition, urls - {gone}) == chosen

    @settings(deadline=None)
    @given(URLS, st.integers(0, 1000))
    def test_the_answer_does_not_depend_on_the_order(self, urls: set[str], partition: int) -> None:
        """Every gateway gives the same answer, in whatever order Redis names them."""
        assert choose(partition, sorted(urls)) == choose(partition, sorted(urls, reverse=True))

    def test_partitions_are_spread(self) -> None:
        """Each of three gateways takes about a third."""
        urls = ["ws://a/v1", "ws://b/v1", "ws://c/v1"]
        chosen = [choose(partition, urls) for partition in range(3000)]
        assert all(850 < chosen.count(url) < 1150 for url in urls)


class TestPlacement:
    async def test_names_gateways_while_redis_says_that_they_live(self) -> None:
        """A gateway answers for all; when Redis has been away for longer than an announcement holds, for itself only."""
        state, now = HandState("ws://other/v1"), 100.0
        placement = Placement(state, partition=len, clock=lambda: now)
        assert placement.place("r") is None
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(placement.run("ws://self/v1"))
            await state.announced.wait()
            await asyncio.sleep(0)
            rooms = ["x" * length for length in range(1, 60)]
            assert {placement.place(room) for room in rooms} == {"ws://self/v1", "ws://other/v1"}
            now = 105.0
            assert {placement.place(room) for room in rooms} == {"ws://self/v1"}
            placement.stop()
            await running
        assert state.live == {"ws://other/v1"}

    async def test_redis_may_be_away(self) -> None:
        """Without Redis a gateway names itself, and stops without an error."""
        state = HandState()
        state.away = True
        placement = Placement(state, partition=len)
        placement.stop()
        await placement.run("ws://self/v1")
        async with asyncio.TaskGroup() as tasks:
            placement = Placement(state, partition=len)
            tasks.create_task(placement.run("ws://self/v1"))
            await state.announced.wait()
            assert placement.place("r") == "ws://self/v1"
            placement.stop()

    async def test_a_gateway_without_a_url_names_nobody(self) -> None:
        """No client is sent to an address such as 0.0.0.0."""
        url = "ws://0.0.0.0:8000/v1"
        assert advertised_url(GatewaySettings(host="0.0.0.0"), url) == ""
        assert advertised_url(GatewaySettings(host="0.0.0.0", advertised_url="wss://game.example/v1"), url)
        placement = Placement(HandState("ws://other/v1"), partition=len)
        await placement.run("")
        assert placement.place("r") is None
