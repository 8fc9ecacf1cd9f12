"""`gamebus demo` as a new user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from tests.integration.command_kit import environment, gamebus

PLAYERS, ROOMS, SECONDS = 8, 2, 10
KEYS = {
    "durable": {
        "published",
        "acked",
        "nacked",
        "unknown",
        "applied",
        "duplicates_applied",
        "lost",
        "delivered_to_clients",
    },
    "realtime": {
        *("attempted", "processed", "dropped", "lost_on_wire", "dropped_on_failed_commit"),
        *("lost_in_crash", "skipped", "duplicates", "unknown"),
    },
    "latency_ms": {"position_p50", "position_p99", "ack_p50", "ack_p99", "chat_p50", "chat_p99"},
}


class TestDemo:
    async def test_proves_every_promise_and_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """Bots play for ten seconds through real servers; the summary has the keys that scripts rely on, every acknowledged event
        was applied once, every realtime event is accounted for, and no process of it lives on."""
        folder, file = tmp_path / "demo", tmp_path / "out.json"
        arguments = ["--players", str(PLAYERS), "--rooms", str(ROOMS), "--seconds", str(SECONDS), "--port", "0"]

        done = await gamebus(environment(), "demo", *arguments, "--folder", str(folder), "--json", str(file))

        assert done.code == 0, done.output + done.errors
        summary = json.loads(file.read_text())
        assert summary.keys() == {"players", "rooms", "seconds", "ok", *KEYS}
        assert {name: set(summary[name]) for name in KEYS} == KEYS
        assert summary["ok"] is True
        assert (summary["players"], summary["rooms"]) == (PLAYERS, ROOMS)
        durable, realtime = summary["durable"], summary["realtime"]
        assert durable["acked"] == durable["applied"] > 0
        assert durable["unknown"] == durable["lost"] == durable["duplicates_applied"] == 0
        # Each event reaches everybody in its room, its publisher included.
        assert durable["delivered_to_clients"] >= durable["acked"] * PLAYERS // ROOMS
        terms = ("processed", "lost_on_wire", "dropped_on_failed_commit", "lost_in_crash", "skipped", "unknown")
        assert realtime["attempted"] == sum(realtime[term] for term in terms) + sum(realtime["dropped"].values()) > 0
        assert realtime["unknown"] == realtime["duplicates"] == 0
        assert all(summary["latency_ms"].values())
        assert _processes_that_name(folder) == []


def _processes_that_name(folder: Path) -> list[str]:
    """Command lines of running processes with this folder in them."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]
