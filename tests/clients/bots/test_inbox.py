"""What comes is handled in order, in slices, and within bounds."""

from __future__ import annotations

import asyncio

import pytest

from gamebus_bots import inbox as inbox_module
from gamebus_bots.inbox import Inbox


class Time:
    """A clock that a handler moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(inbox_module, "clock", made)
    return made


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


class TestInbox:
    async def test_handles_in_the_order_of_arrival_with_the_time_of_arrival(self, time: Time) -> None:
        """However late something is handled: it came when it came."""
        inbox = Inbox()
        handled: list[tuple[bytes, float]] = []
        for chunk in (b"a", b"b"):
            inbox.put(lambda chunk: handled.append((chunk, inbox.came_s)), chunk)
            time.now_s += 1
        assert handled == []
        await turns(2)
        assert handled == [(b"a", 100.0), (b"b", 101.0)]

    async def test_gives_way_to_the_loop_between_two_slices(self, time: Time) -> None:
        """What takes long is no reason to send late: the loop has its turn after each slice."""
        inbox = Inbox()
        order: list[str] = []

        def slow(chunk: bytes) -> None:
            order.append(chunk.decode())
            time.now_s += 0.002

        for chunk in (b"1", b"2", b"3"):
            inbox.put(slow, chunk)
        asyncio.get_running_loop().call_soon(order.append, "timer")
        await turns(4)
        assert order == ["1", "timer", "2", "3"]

    async def test_handles_everything_at_once_past_its_limit(self, time: Time) -> None:
        """Memory is bounded: nothing more is read until what waits has been handled."""
        inbox = Inbox(limit_bytes=3)
        handled: list[bytes] = []
        inbox.put(handled.append, b"ab")
        assert handled == []
        inbox.put(handled.append, b"cd")
        assert handled == [b"ab", b"cd"]
        inbox.put(handled.append, b"e")
        await turns(2)
        assert handled == [b"ab", b"cd", b"e"]

    async def test_goes_on_after_a_handler_that_fails(self, time: Time) -> None:
        """One connection's failure is not the end of the others."""
        inbox = Inbox()
        handled: list[bytes] = []
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

        def fail(_: bytes) -> None:
            raise ValueError("broken")

        inbox.put(fail, b"a")
        inbox.put(handled.append, b"b")
        await turns(3)
        assert handled == [b"b"]
        assert [str(failure) for failure in failures] == ["broken"]

    async def test_tells_how_long_the_oldest_waited(self, time: Time) -> None:
        """Once for each slice: when what it begins with came, and when its turn came."""
        waits: list[tuple[float, float]] = []
        inbox = Inbox(waited=lambda came_s, now_s: waits.append((came_s, now_s)))
        for chunk in (b"a", b"b"):
            inbox.put(lambda _: None, chunk)
            time.now_s += 0.5
        await turns(2)
        assert waits == [(100.0, 101.0)]
