"""Plays the scripted conversations of `tests/conformance` against the Python client.

The websocket is real; only time is not: the event loop's clock stands still until a script advances it, so what a client does
after ten minutes is seen at once, and nothing happens by the passing of time. See `tests/conformance/README.md` for the steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any, Final

import msgpack
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gamebus_client import GameClient, GameClientError
from gamebus_client.dialling import Dial

FOLDER: Final = Path(__file__).parents[1] / "conformance"
SCRIPTS: Final = sorted(FOLDER.glob("*.json"))
_PARTS: Final[dict[str, Any]] = json.loads((FOLDER / "parts" / "parts.json").read_text())
_SERVER_MS: Final = 1_700_000_000_000
_SPECIAL: Final = {
    "$nan": float("nan"),
    "$bytes": b"binary",
    "$lone_surrogate": "\ud800",
    "$too_large_integer": 2**53 + 2,
}


class ManualClockLoop(asyncio.SelectorEventLoop):
    """Sockets are real, time stands still until `advance`."""

    _elapsed_ms = 0
    _steps = 0

    @property
    def elapsed_ms(self) -> int:
        return self._elapsed_ms

    def time(self) -> float:
        # A microsecond for each step: sums of fractions of seconds may fall short of the instant that they mean.
        return 1_000 + self._elapsed_ms / 1_000 + self._steps / 1_000_000

    def advance(self, ms: int) -> None:
        self._elapsed_ms += ms
        self._steps += 1


class HalfJitter(Random):
    """The middle of every range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class _Wire:
    """The gateway's end of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.frames: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.ended = asyncio.Event()

    async def read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                frame = await self.connection.recv()
                self.frames.put_nowait(json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame))
        self.ended.set()

    async def send(self, message: list[Any], *, other_kind: bool = False) -> None:
        text = (self.connection.subprotocol == "gamebus.v1.json") is not other_kind
        await self.connection.send(json.dumps(message) if text else msgpack.packb(message))


class Conversation:
    """One script and one client.

    Args:
        encoding: `json` or `msgpack`.
        dial: opens the client's websockets.
    """

    def __init__(self, script: dict[str, Any], encoding: str, dial: Dial) -> None:
        self._dial = dial
        self._script = script
        self._encoding = encoding
        self._subprotocol = Subprotocol(f"gamebus.v1.{encoding}")
        self._bound: dict[str, Any] = {}
        self._connections: asyncio.Queue[_Wire] = asyncio.Queue()
        self._wire: _Wire | None = None
        self._refusals: list[int] = []
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._calls: dict[str, asyncio.Task[Any]] = {}
        self._syncs = 0

    async def play(self) -> None:
        """Play the script to its end, and see that nothing else happened."""
        async with serve(
            self._accept,
            "127.0.0.1",
            0,
            subprotocols=[self._subprotocol],
            select_subprotocol=self._select,
            compression=None,
            ping_interval=None,
            process_request=self._answer,
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            options = dict(self._script.get("options", {}))
            tokens = options.pop("tokens", None)
            timeout_ms = options.pop("connect_timeout_ms", 10_000)
            self._game = GameClient(
                f"ws://127.0.0.1:{port}",
                "token-1" if tokens is None else _in_turn(tokens),
                encoding="json" if self._encoding == "json" else "msgpack",
                rng=HalfJitter(),
                connect_timeout_s=timeout_ms / 1000,
                dial=self._dial,
                **options,
            )
            listening = asyncio.create_task(self._listen())
            await self._start("open", self._game.__aenter__())
            for number, step in enumerate(self._steps()):
                try:
                    await self._play(step)
                except AssertionError as error:
                    raise AssertionError(f"step {number}, {json.dumps(step)}: {error}") from None
            await self._end()
            await listening

    def _steps(self) -> Iterator[dict[str, Any]]:
        for step in self._script["steps"]:
            if "do" in step:
                yield from _PARTS["steps"][step["do"]]
            else:
                yield step

    async def _end(self) -> None:
        closes_itself = self._game.closed is None
        with contextlib.suppress(GameClientError):
            await self._calls["open"]
            await self._game.__aexit__(None, None, None)
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        if closes_itself:
            assert (await self._events.get())["kind"] == "closed"
        assert self._events.empty(), f"left over: {self._events.get_nowait()}"
        await self._nothing_left()
        assert self._connections.empty(), "an unexpected connection"

    async def _nothing_left(self) -> None:
        if self._wire is not None:
            await self._wire.ended.wait()
            assert self._wire.frames.empty(), f"left over: {self._wire.frames.get_nowait()}"

    # The gateway

    def _select(self, connection: ServerConnection, offered: Any) -> Subprotocol:
        assert list(offered) == [self._subprotocol]
        return self._subprotocol

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(HTTPStatus(self._refusals.pop(0)), "refused\n") if self._refusals else None

    async def _accept(self, connection: ServerConnection) -> None:
        wire = _Wire(connection)
        self._connections.put_nowait(wire)
        await wire.read()

    @property
    def _open(self) -> _Wire:
        assert self._wire is not None
        return self._wire

    # Steps

    async def _play(self, step: dict[str, Any]) -> None:
        ((name, value),) = step.items()
        await getattr(self, f"_do_{name}")(value)

    async def _do_connect(self, _: bool) -> None:
        await self._nothing_left()
        self._wire = await self._connections.get()

    async def _do_refuse(self, status: int) -> None:
        self._refusals.append(status)

    async def _do_expect(self, pattern: list[Any]) -> None:
        self._match(await self._next_frame(), pattern)

    async def _do_send(self, message: list[Any]) -> None:
        await self._open.send(self._fill(message))

    async def _do_send_other_kind(self, message: list[Any]) -> None:
        await self._open.send(message, other_kind=True)

    async def _do_close(self, code: int) -> None:
        await self._open.connection.close(code, "because")

    async def _do_cut(self, _: bool) -> None:
        self._open.connection.transport.abort()

    async def _do_expect_close(self, _: bool) -> None:
        await self._open.ended.wait()

    async def _do_advance_ms(self, ms: int) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ManualClockLoop)
        loop.advance(ms)
        # One round of the loop fires the timers, another runs what they woke.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _do_sync(self, _: bool) -> None:
        self._syncs += 1
        name = f"sync {self._syncs}"
        await self._start(name, self._game.ping())
        frame = await self._next_frame()
        assert frame[0] == "ping", f"{frame} came"
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ManualClockLoop)
        await self._open.send(["pong", frame[1], _SERVER_MS + loop.elapsed_ms])
        await self._calls[name]

    async def _do_outcome(self, expected: dict[str, Any]) -> None:
        call = self._calls[expected["of"]]
        await asyncio.wait((call,))
        if "error" not in expected:
            self._match(_plain(await call), expected["ok"], part=True)
            return
        error = asyncio.CancelledError() if call.cancelled() else call.exception()
        assert error is not None, f"no error but {call.result()}"
        kind = "cancelled" if isinstance(error, asyncio.CancelledError) else _snake(type(error).__name__)
        code = getattr(error, "code", None)
        self._match({"error": kind, "code": code}, {"code": "$any"} | expected | {"of": "$any"}, part=True)

    async def _do_client_event(self, pattern: dict[str, Any]) -> None:
        self._match(await self._events.get(), pattern, part=True)

    async def _do_check(self, expected: dict[str, Any]) -> None:
        counts = dataclasses.asdict(self._game.statistics())
        dropped = {f"dropped_{reason}": count for reason, count in counts["realtime_dropped"].items()}
        names = ("connected", "player", "session")
        known = {name: getattr(self._game, name) for name in names} | {"server_ms": self._game.server_ms()}
        self._match(counts | dropped | known, expected, part=True)

    async def _do_client(self, step: dict[str, Any]) -> None:
        call = {name: self._fill(value) for name, value in step.items()}
        name = call.pop("call")
        wanted = call.pop("as", name)
        if name == "cancel":
            self._calls[call["of"]].cancel()
        elif name == "close":
            await self._start(wanted, self._game.__aexit__(None, None, None))
        elif "returns" in call or "raises" in call:
            self._call_now(name, call)
        else:
            await self._start(wanted, getattr(self._game, name)(*_positional(call), **_in_seconds(call)))

    def _call_now(self, name: str, call: dict[str, Any]) -> None:
        expected = {key: call.pop(key) for key in ("returns", "raises") if key in call}
        arguments = _positional(call)
        found: dict[str, Any]
        try:
            found = {"returns": getattr(self._game, name)(*arguments, **call)}
        except GameClientError as error:
            found = {"raises": _snake(type(error).__name__)}
        self._match(found, expected)

    async def _start(self, name: str, call: Any) -> None:
        self._calls[name] = asyncio.create_task(call)
        # It runs to where it waits before the next step.
        await asyncio.sleep(0)

    async def _listen(self) -> None:
        async for message in self._game:
            self._events.put_nowait({"kind": _snake(type(message).__name__)} | _plain(message))

    async def _next_frame(self) -> list[Any]:
        getting = asyncio.create_task(self._open.frames.get())
        ending = asyncio.create_task(self._open.ended.wait())
        await asyncio.wait((getting, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not getting.done():
            getting.cancel()
            raise AssertionError(f"the connection ended with {self._open.connection.close_code}")
        return getting.result()

    # Patterns

    def _fill(self, value: Any) -> Any:
        """A value with what its `$` names stand for."""
        if isinstance(value, str) and value.startswith("$"):
            return _SPECIAL[value] if value in _SPECIAL else (self._bound | _PARTS["values"])[value.lstrip("$=")]
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        return {key: self._fill(item) for key, item in value.items()} if isinstance(value, dict) else value

    def _match(self, found: Any, pattern: Any, *, part: bool = False) -> None:
        assert self._matches(found, pattern, part=part), f"{found} came"

    def _matches(self, found: Any, pattern: Any, *, part: bool = False) -> bool:
        if pattern == "$any":
            return True
        if isinstance(pattern, str) and pattern.startswith("$="):
            return bool(self._bound.setdefault(pattern[2:], found) == found)
        if isinstance(pattern, dict):
            return (
                isinstance(found, dict)
                and (part or found.keys() == pattern.keys())
                and all(key in found and self._matches(found[key], pattern[key]) for key in pattern if key != "of")
            )
        if isinstance(pattern, list):
            same = isinstance(found, list | tuple) and len(found) == len(pattern)
            return same and all(map(self._matches, found, pattern))
        if isinstance(pattern, int | float) and not isinstance(pattern, bool):
            return isinstance(found, int | float) and not isinstance(found, bool) and abs(found - pattern) < 0.01
        return type(found) is type(pattern) and bool(found == pattern)


def play(path: Path, encoding: str, dial: Dial) -> None:
    """Play one file."""
    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        runner.run(Conversation(json.loads(path.read_text()), encoding, dial).play())


def _in_turn(tokens: list[str]) -> Any:
    remaining = list(tokens)
    return lambda: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def _plain(value: Any) -> Any:
    """A message or a result as a script writes it."""
    if isinstance(value, float):
        return {"rtt_ms": value * 1000}
    if not dataclasses.is_dataclass(value):
        return None if isinstance(value, GameClient) else value
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return fields | ({"delay_ms": fields["delay_s"] * 1000} if "delay_s" in fields else {})


_POSITIONAL: Final = ("room", "type", "data", "events", "text", "x", "y", "z", "token")


def _positional(call: dict[str, Any]) -> list[Any]:
    return [call.pop(name) for name in _POSITIONAL if name in call]


def _in_seconds(call: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: value for name, value in call.items() if name != "timeout_ms"},
        **({"timeout_s": call["timeout_ms"] / 1000} if "timeout_ms" in call else {}),
    }
