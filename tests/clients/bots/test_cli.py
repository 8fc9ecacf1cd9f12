"""`gamebus bots run` as a process, against the relay."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from tests.clients.bots.relay import SECRET, Faults, Relay

PROGRAM = "from gamebus_bots.cli import app; app()"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        "run",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


class TestRun:
    async def test_reports_and_exits_0(self, tmp_path: Path) -> None:
        """A clean run prints its summary, writes the report as JSON and exits 0."""
        path = tmp_path / "report.json"
        async with Relay() as relay:
            process = await start(
                "--url", relay.url, "--players", "4", "--seconds", "1", "--json", str(path), "--token-secret", SECRET
            )
            code, out, err = await finish(process)

        assert (code, err) == (0, "")
        assert "gamebus bots: ok" in out
        report = json.loads(path.read_text())
        assert report["ok"] is True
        assert report["players"] == 4
        assert report["realtime"]["sent"] > 0

    async def test_a_broken_promise_exits_1(self) -> None:
        """Duplicates are shown and fail the run; an interrupt ends it gracefully, with the summary."""
        async with Relay(Faults(duplicate=frozenset({1})), enough=1) as relay:
            process = await start("--url", relay.url, "--players", "8", "--token-secret", SECRET)
            await relay.reached.wait()
            process.send_signal(signal.SIGINT)
            code, out, _ = await finish(process)

        assert code == 1
        assert "FAILED" in out
        assert "1 duplicates" in out

    async def test_no_secret_is_wrong_usage(self) -> None:
        """The message says what is missing."""
        code, _, err = await finish(await start("--url", "ws://127.0.0.1:9", "--token-secret", ""))

        assert code == 2
        assert "secret" in err

    async def test_more_rooms_than_players_is_wrong_usage(self) -> None:
        """Nonsense is refused before anything is dialled."""
        code, _, err = await finish(await start("--players", "1", "--rooms", "2", "--token-secret", SECRET))

        assert code == 2
        assert "1 players in 2 rooms" in err
