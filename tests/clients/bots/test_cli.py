"""`gamebus bots` as a process, against the relay."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from gamebus_bots.scenario_files import shipped
from tests.clients.bots.relay import SECRET, Faults, Relay

PROGRAM = "from gamebus_bots.cli import app; app()"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


class TestRun:
    async def test_reports_and_exits_0(self, tmp_path: Path) -> None:
        """A clean run shows progress and summary in lines, writes the report and the distributions, and exits 0 (3: a busy machine)."""
        path = tmp_path / "report.json"
        async with Relay() as relay:
            code, out, err = await finish(
                await start(
                    *("run", "steady", "--url", relay.url, "--token-secret", SECRET),
                    *("--players", "4", "--rooms", "2", "--duration", "2500ms"),
                    *("--ramp", "0s", "--warm-up", "0s", "--json", str(path), "--hgrm", str(tmp_path / "hgrm")),
                    *("--threshold", "sent>10", "--threshold", "gaps==0"),
                )
            )

        assert (code in (0, 3), err) == (True, "")
        assert "of 2.5 s" in out
        assert out.index("✓ sent>10") < out.index("RESULTS") < out.index("NETWORK") < out.index("every promise kept")
        report = json.loads(path.read_text())
        assert report["ok"] is True
        assert report["valid"] is (code == 0)
        assert report["scenario"]["players"] == 4
        assert report["figures"]["sent"] > 0
        assert report["environment"]["cpu"]
        assert (tmp_path / "hgrm" / "position.response.hgrm").exists()

    async def test_several_processes_are_one_run(self, tmp_path: Path) -> None:
        """Each plays whole rooms; counts and histograms are those of all."""
        path = tmp_path / "report.json"
        async with Relay() as relay:
            code, _, err = await finish(
                await start(
                    *("run", "steady", "--url", relay.url, "--players", "6", "--rooms", "3", "--processes", "2"),
                    *("--duration", "1500ms", "--ramp", "0s", "--warm-up", "0s", "--json", str(path)),
                    *("--token-secret", SECRET, "--rate-hz", "20"),
                )
            )

        assert (code in (0, 3), err) == (True, "")
        report = json.loads(path.read_text())
        assert report["options"]["processes"] == 2
        assert 1 <= report["seconds"] < 3
        assert set(relay.moves) == {f"bot-{number}" for number in range(1, 7)}
        assert report["figures"]["acked"] == len(relay.published)
        assert report["figures"]["delivered"] == sum(2 for _ in relay.published)
        assert relay.positions <= report["latencies"]["position.response"]["count"] + 6
        assert report["pairs"] == {"watched": 6, "all": 6}

    async def test_a_process_that_dies_fails_the_run(self) -> None:
        """Clearly, and without leaving the others behind."""
        async with Relay() as relay:
            process = await start(
                *("run", "steady", "--url", relay.url, "--players", "4", "--rooms", "2", "--processes", "2"),
                *("--duration", "60s", "--token-secret", SECRET),
            )
            await relay.playing.wait()
            workers = psutil.Process(process.pid).children()
            workers[0].kill()
            code, _, err = await finish(process)
            gone, alive = psutil.wait_procs(workers, timeout=20)

        assert code == 1
        assert "ended with -9 before the run was over" in err
        assert (len(gone), alive) == (2, [])

    async def test_a_crossed_threshold_exits_99(self) -> None:
        """As k6 does; an interrupt ends the run gracefully, with the summary."""
        async with Relay(enough=1) as relay:
            process = await start(
                *("run", "chat-storm", "--url", relay.url, "--players", "8", "--token-secret", SECRET),
                *("--threshold", "acked>=1000000", "--warm-up", "0s", "--ramp", "0s"),
            )
            await relay.reached.wait()
            process.send_signal(signal.SIGINT)
            code, out, _ = await finish(process)

        assert code == 99
        assert "✗ acked>=1000000" in out

    async def test_a_broken_promise_exits_1(self) -> None:
        """Duplicates are shown and fail the run."""
        async with Relay(Faults(duplicate=frozenset({1})), enough=1) as relay:
            process = await start("run", "chat-storm", "--url", relay.url, "--players", "8", "--token-secret", SECRET)
            await relay.reached.wait()
            process.send_signal(signal.SIGINT)
            code, out, _ = await finish(process)

        assert code == 1
        assert "FAILED" in out
        assert "1 duplicates" in out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("steady", "--url", "ws://127.0.0.1:9"), "gamebus dev"),
            (("nonsense",), "reconnect-storm"),
            (("steady", "--players", "1", "--rooms", "2"), "1 players in 2 rooms"),
            (("steady", "--duration", "soon"), "60s"),
            (("steady", "--threshold", "position_p98<1ms"), "position_p9"),
            (("hotspot", "--processes", "2"), "a room is played whole"),
            (("reconnect-storm", "--duration", "14s"), "would not come once in a duration of 14 s"),
            (("steady", "--json", "nowhere/report.json"), "cannot write to nowhere/report.json"),
        ],
    )
    async def test_wrong_usage_says_what_to_do(self, arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
        """Nonsense is refused with exit code 2 before anything is played."""
        async with Relay() as relay:
            given = arguments if "--url" in arguments else (*arguments, "--url", relay.url)
            code, _, err = await finish(await start("run", *given, "--token-secret", SECRET))

        assert code == 2
        assert words in " ".join(err.replace("│", " ").split())

    async def test_no_secret_is_wrong_usage(self, tmp_path: Path) -> None:
        """The message says what is missing."""
        async with Relay() as relay:
            code, _, err = await finish(
                await start("run", "steady", "--url", relay.url, "--folder", str(tmp_path), "--token-secret", "")
            )

        assert code == 2
        assert "secret" in err

    async def test_finds_a_running_dev(self, tmp_path: Path) -> None:
        """Address and secret come from the folder of `gamebus dev`."""
        async with Relay() as relay:
            (tmp_path / "dev.json").write_text(json.dumps({"gateway": relay.url}))
            (tmp_path / "secret").write_text(SECRET)
            code, out, _ = await finish(
                await start(
                    *("run", "steady", "--players", "2", "--duration", "500ms", "--ramp", "0s", "--warm-up", "0s"),
                    *("--folder", str(tmp_path)),
                )
            )

        assert code in (0, 3)
        assert "every promise kept" in out


class TestScenarios:
    async def test_are_listed_with_a_line_each(self) -> None:
        """Every one that ships."""
        code, out, _ = await finish(await start("scenarios"))
        assert code == 0
        for name, scenario in shipped().items():
            assert any(line.startswith(name) and scenario.about[:30] in line for line in out.splitlines())


class TestCompare:
    async def test_unlike_runs_are_refused(self, tmp_path: Path) -> None:
        """With what differs, and exit code 1; --force shows them all the same, and like runs need no force."""
        paths = [tmp_path / name for name in ("a.json", "b.json")]
        async with Relay() as relay:
            code, _, _ = await finish(
                await start(
                    *("run", "steady", "--url", relay.url, "--token-secret", SECRET, "--players", "2", "--rooms", "1"),
                    *("--duration", "500ms", "--ramp", "0s", "--warm-up", "0s", "--json", str(paths[0])),
                )
            )
        assert code in (0, 3)
        # A busy machine must not decide this test.
        report = json.loads(paths[0].read_text()) | {"invalid": None}
        paths[0].write_text(json.dumps(report))
        paths[1].write_text(json.dumps(report | {"scenario": report["scenario"] | {"players": 3}}))

        code, _, err = await finish(await start("compare", *map(str, paths)))
        assert code == 1
        assert "unlike: scenario's players: 2 and 3" in err
        code, out, _ = await finish(await start("compare", "--force", *map(str, paths)))
        assert code == 0
        assert "position_response_p99" in out
        code, out, err = await finish(await start("compare", str(paths[0]), str(paths[0])))
        assert (code, err) == (0, "")

    async def test_something_else_is_wrong_usage(self, tmp_path: Path) -> None:
        """A file that is no report."""
        path = tmp_path / "other.json"
        path.write_text("{}")
        code, _, err = await finish(await start("compare", str(path), str(path)))
        assert code == 2
        assert "no report" in err


class TestFindLimit:
    async def test_ends_where_a_threshold_is_crossed(self, tmp_path: Path) -> None:
        """Against a figure that grows with the players alone: the largest count below it, or where the generator was at its end."""
        path = tmp_path / "limit.json"
        async with Relay() as relay:
            code, out, _ = await finish(
                await start(
                    *(
                        "find-limit",
                        "--url",
                        relay.url,
                        "--token-secret",
                        SECRET,
                        "--json",
                        str(path),
                        "--duration",
                        "300ms",
                    ),
                    *("--start", "2", "--most", "16", "--ramp", "0s", "--warm-up", "0s"),
                    *("--threshold", "connections<=6"),
                )
            )
        outcome = json.loads(path.read_text())
        steps = {step["players"]: step["step"] for step in outcome["steps"]}
        assert next(iter(steps)) == 2
        assert {players for players, step in steps.items() if step == "kept"} <= {1, 2, 3, 4, 5}
        assert "kept" not in {step for players, step in steps.items() if players > 5}
        assert outcome["limit"] == max((players for players, step in steps.items() if step == "kept"), default=0)
        assert code == (0 if outcome["limit"] else 1)
        assert f"{outcome['limit']} players keep" in out or not outcome["limit"]

    async def test_needs_a_threshold(self) -> None:
        """Without one there is no limit."""
        code, _, err = await finish(await start("find-limit", "--token-secret", SECRET))
        assert code == 2
        assert "--threshold" in err
