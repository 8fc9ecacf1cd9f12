"""`gamebus verify` as a whole: a run that must be silent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gamebus.verify.anomaly import ANOMALIES
from gamebus.verify.checker import count
from gamebus.verify.run import Run
from tests.integration.command_kit import environment, gamebus

FAULTS = ["broker_kill", "gateway_kill", "gateway_stop", "durable_kill", "realtime_kill", "redis_kill", "half_open"]
SEED = 11


@pytest.mark.timeout(300)
class TestVerify:
    async def test_no_promise_is_broken_under_faults(self, tmp_path: Path) -> None:
        """A fixed sequence of crashes and stalls on three brokers: no anomaly, every fault recovered from, the loss accounted for."""
        file, folder = tmp_path / "verdict.json", tmp_path / "run"
        arguments = ["--minutes", "1.1", "--seed", str(SEED), "--faults", ",".join(FAULTS), "--json", str(file)]

        done = await gamebus(environment(), "verify", *arguments, "--folder", str(folder), deadline_s=280)

        assert done.code == 0, done.output + done.errors
        verdict = json.loads(file.read_text())
        assert verdict["ok"] is True
        assert verdict["seed"] == SEED
        assert verdict["anomalies"] == dict.fromkeys(ANOMALIES, 0)
        assert set(verdict["faults"]) == set(FAULTS)
        assert all(spread["max"] is not None for spread in verdict["recovery_s"].values())
        assert verdict["operations"]["durable_ok"] > 0
        loss = verdict["loss"]
        assert loss["attempted"] == sum(count for name, count in loss.items() if name != "attempted") > 0
        assert len(list((folder / "history").glob("*.jsonl"))) == 7
        assert f"--seed {SEED}" in done.output

    async def test_every_broken_promise_is_found(self, tmp_path: Path) -> None:
        """With a wrong version of our code for each promise, the whole run shows every anomaly by name: none of them is a check
        that cannot fail."""
        said: list[str] = []
        run = Run(
            folder=tmp_path / "run",
            minutes=0.4,
            # Partitions have to change hands.
            faults=["rebalance_storm"],
            seed=SEED,
            say=said.append,
            extra={"GAMEBUS_TEST_MUTATIONS": "tests.verify.mutations"},
            settle_s=10.0,
        )

        verdict = await run.run()

        assert [name for name, number in count(verdict.anomalies).items() if not number] == []
        assert not verdict.ok

    async def test_an_unknown_fault_is_named(self) -> None:
        """A misspelt name says which there are, and nothing is started."""
        done = await gamebus(environment(), "verify", "--faults", "broker_kil", deadline_s=60)

        assert done.code == 2
        assert "broker_kil" in done.errors
