"""Every alert fires for its fault, and for none of the others' good figures."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gamebus.alerts.alert import Scope
from gamebus.alerts.rules import ALERTS
from gamebus.cli import _metrics, app
from gamebus.settings import Settings
from tests.alerts.kit import GATEWAY, PROCESSOR, RecordedBoard, Scene, named

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "gamebus.rules.yml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)"
)

Samples = dict[str, float]


def well(second: int) -> Samples:
    """What gateway and processors say of a game that goes well, after so many seconds."""
    return {
        "gateway_connections": 40,
        "gateway_errors_total{code=rate_limited}": 0,
        "gateway_errors_total{code=bad_data}": second,
        "hub_overflows_total": 2,
        "process_event_loop_lag_seconds": 0.02,
        "redis_failures_total": 3,
        "realtime_publisher_attempted_total": 800 * second,
        "realtime_publisher_written_total": 800 * second,
        "realtime_publisher_dropped_total{reason=expired}": 3 * second,
        "realtime_publisher_batches_total": 100 * second,
        "realtime_publisher_brokers": 3,
        "realtime_publisher_connected": 3,
        "realtime_publisher_buffer_available_bytes": 60_000_000,
        "realtime_publisher_buffered_bytes": 4_000_000,
        "durable_publisher_accepted_total": 50 * second,
        "durable_publisher_failed_total": 0,
        "durable_publisher_unknown_total": 1,
        "durable_publisher_overloaded_total": 0,
        "realtime_consumer_assigned": 12,
        "realtime_consumer_records_total": 800 * second,
        "realtime_consumer_commits_total": 20 * second,
        "realtime_consumer_commit_seconds_total": 0.1 * second,
        "realtime_consumer_lag": 10,
        "realtime_consumer_rebalances_total": 4,
        "realtime_account_events_total{term=attempted}": 800 * second,
        "realtime_account_events_total{term=processed}": 797 * second,
        "realtime_account_events_total{term=dropped}": 3 * second,
        "realtime_account_events_total{term=duplicates}": 0,
        "realtime_account_events_total{term=unknown}": 5,
        "durable_consumer_partitions": 12,
        "durable_consumer_commits_total": second,
        "durable_consumer_commit_seconds_total": 0.1 * second,
        "durable_consumer_lag": 0,
        "durable_consumer_rebalances_total": 4,
        "durable_consumer_dead_letters_total": 7,
    }


FAULTS: dict[str, Callable[[int], Samples]] = {
    "EventLoopBlocked": lambda second: {"process_event_loop_lag_seconds": 0.7},
    "RedisFailing": lambda second: {"redis_failures_total": 3 + second},
    "BrokerUnreachable": lambda second: {"realtime_publisher_connected": 2},
    "RealtimeSendsFell": lambda second: {"realtime_publisher_written_total": 300 * second},
    "RealtimeErrorRate": lambda second: {"realtime_publisher_dropped_total{reason=expired}": 10 * second},
    "DurableErrorRate": lambda second: {"durable_publisher_failed_total": second},
    "BufferNearlyFull": lambda second: {
        "realtime_publisher_buffer_available_bytes": 6_000_000,
        "realtime_publisher_buffered_bytes": 58_000_000,
    },
    "BatchesSmall": lambda second: {"realtime_publisher_batches_total": 700 * second},
    "ConsumedBelowSent": lambda second: {"realtime_consumer_records_total": 390 * second},
    "RealtimeCommitSlow": lambda second: {"realtime_consumer_commit_seconds_total": 12 * second},
    "DurableCommitSlow": lambda second: {"durable_consumer_commit_seconds_total": 0.6 * second},
    "RealtimeLagGrowing": lambda second: {"realtime_consumer_lag": 30 * second},
    "DurableLagGrowing": lambda second: {"durable_consumer_lag": 30 * second},
    "RealtimeRebalanceStorm": lambda second: {"realtime_consumer_rebalances_total": second // 8},
    "DurableRebalanceStorm": lambda second: {"durable_consumer_rebalances_total": second // 8},
    "DeadLetters": lambda second: {"durable_consumer_dead_letters_total": 7 + second // 20},
    "RealtimeLoss": lambda second: {"realtime_account_events_total{term=processed}": 791 * second},
    "RealtimeDuplicates": lambda second: {"realtime_account_events_total{term=duplicates}": second // 20},
    "RealtimeUnknown": lambda second: {"realtime_account_events_total{term=unknown}": 5 + second // 20},
    "ClientsRateLimited": lambda second: {"gateway_errors_total{code=rate_limited}": 10 * second},
    "ClientsRefused": lambda second: {"gateway_errors_total{code=not_joined}": 10 * second},
    "SlowReaders": lambda second: {"hub_overflows_total": second // 20},
}
ABSENT = {
    "NoGateway": "gateway_",
    "NoRealtimeProcessor": "realtime_consumer_",
    "NoDurableProcessor": "durable_consumer_",
}
SECONDS = 70


def fired(says: Callable[[int], Samples | None]) -> tuple[set[str], RecordedBoard, Scene]:
    """The alerts that fire after a while of this."""
    scene, board = Scene(), RecordedBoard()
    for second in range(SECONDS):
        said = says(second)
        scene.say({} if said is None else {GATEWAY: said})
        readings = {alert.name: alert.values(scene.fleet, scene.now) for alert in ALERTS}
        board.update(ALERTS, readings, scene.now)
    return {active.alert.name for active in board.firing}, board, scene


class TestAlerts:
    def test_a_game_that_goes_well_is_no_alarm(self) -> None:
        """Losses within the target, a client that errs now and then, what happened long ago."""
        _, board, _ = fired(well)
        assert (board.firing, board.pending, board.history) == ([], [], [])

    @pytest.mark.parametrize("name", FAULTS)
    def test_a_fault_is_an_alarm_and_no_other(self, name: str) -> None:
        """Each condition is seen in the figures that it is about, and told of the process that has it."""
        names, board, scene = fired(lambda second: well(second) | FAULTS[name](second))
        assert names == {name}
        (active,) = board.firing
        assert active.subject.name == ("" if active.alert.scope is Scope.FLEET else GATEWAY.name)

        gauges = {sample: value for sample, value in well(0).items() if not sample.partition("{")[0].endswith("_total")}
        over = well(SECONDS) | FAULTS[name](SECONDS) | gauges
        for _ in range(2 * SECONDS):
            scene.say({GATEWAY: over})
            board.update(ALERTS, {alert.name: alert.values(scene.fleet, scene.now) for alert in ALERTS}, scene.now)
        assert board.firing == []
        assert name in {resolved.alert.name for resolved in board.history}

    @pytest.mark.parametrize("name", ABSENT)
    def test_a_role_that_nobody_has_is_an_alarm(self, name: str) -> None:
        """A game without gateways or processors is not a quiet one."""
        names, _, _ = fired(
            lambda second: {
                sample: value for sample, value in well(second).items() if not sample.startswith(ABSENT[name])
            }
        )
        assert names == {name}

    def test_a_process_that_falls_silent_is_an_alarm(self) -> None:
        """And what it counted is none any more."""
        names, board, _ = fired(lambda second: well(second) if second < SECONDS - 10 else None)
        assert names == {"ProcessSilent", *ABSENT}
        assert board.firing[-1].subject == GATEWAY

    def test_every_alert_was_raised_here(self) -> None:
        """An alert whose condition no test knows may never fire."""
        assert {alert.name for alert in ALERTS} == {*FAULTS, *ABSENT, "ProcessSilent"}

    def test_few_events_make_no_share(self) -> None:
        """One lost position of three is no trend."""
        scene = Scene()
        for second in range(20):
            scene.say({GATEWAY: {"realtime_publisher_attempted_total": second, "realtime_publisher_written_total": 0}})
        assert scene.values("RealtimeSendsFell") == {}

    def test_a_record_that_is_late_is_no_loss(self) -> None:
        """Counted as lost on the wire until it came, and as processed then: both counters keep it."""
        scene = Scene()
        for second in range(40):
            terms = {"attempted": 100 * second, "processed": 100 * second, "lost_on_wire": 50 * second}
            scene.say({PROCESSOR: {f"realtime_account_events_total{{term={name}}}": n for name, n in terms.items()}})
        assert list(scene.values("RealtimeLoss").values()) == [0]

    @pytest.mark.parametrize(("lost", "told"), [(False, False), (True, True)])
    def test_what_is_late_for_seconds_is_no_alarm_and_what_never_comes_is_one(self, lost: bool, told: bool) -> None:
        """A machine without CPU: for six seconds an event of ten has not come when it is counted, and then it comes or it does not."""
        scene, board = Scene(), RecordedBoard()
        alert = named("RealtimeLoss")
        for second in range(60):
            attempted = 400 * second
            late = 40 * min(second, 6)
            processed = attempted - (late if lost or second <= 6 else 0)
            terms = {"attempted": attempted, "processed": processed}
            scene.say({PROCESSOR: {f"realtime_account_events_total{{term={name}}}": n for name, n in terms.items()}})
            board.update([alert], {alert.name: alert.values(scene.fleet, scene.now)}, scene.now)
        assert bool(board.firing or board.history) is told

    def test_the_beginning_of_a_game_is_no_alarm(self) -> None:
        """Processors say what they have read a second after the gateway has said what it wrote."""
        scene, board = Scene(), RecordedBoard()
        alert = named("ConsumedBelowSent")
        for second in range(40):
            gateway = {"realtime_publisher_written_total": 400.0 * second}
            read = max(0.0, 400.0 * (second - 1) - 100)
            scene.say({GATEWAY: gateway, PROCESSOR: {"realtime_consumer_records_total": read}})
            for half in (0.0, 0.5):
                board.update([alert], {alert.name: alert.values(scene.fleet, scene.now + half)}, scene.now + half)
        assert (board.firing, board.history) == ([], [])

    def test_figures_of_the_fleet_are_those_of_all_processes(self) -> None:
        """What one process sends another one reads."""
        scene = Scene()
        for second in range(20):
            gateway = {"realtime_publisher_written_total": 100.0 * second}
            scene.say({GATEWAY: gateway, PROCESSOR: {"realtime_consumer_records_total": 75.0 * second}})
        assert list(scene.values("ConsumedBelowSent").values()) == [0.75]


class TestDefinitions:
    def test_look_at_metrics_that_exist(self) -> None:
        """With labels that these metrics have."""
        known = {metric.name.removeprefix("gamebus_"): metric for _, metric in _metrics.metrics()}
        for selector in (selector for alert in ALERTS for selector in alert.expression.selectors()):
            assert selector.metric in known
            assert selector.label in ("", known[selector.metric].label)

    def test_take_rates_of_counters_and_levels_of_gauges(self) -> None:
        """Anything else would be a figure without a meaning."""
        for alert in ALERTS:
            for function, name in re.findall(r"(\w*)\(gamebus_(\w+)", alert.promql()):
                assert (function in ("rate", "increase")) == name.endswith("_total"), alert.name

    def test_have_one_threshold_and_all_their_words(self) -> None:
        """Who is woken up is told what is the case, why, and what to do."""
        for alert in ALERTS:
            assert (alert.above is None) != (alert.below is None)
            assert min(len(alert.summary), len(alert.cause), len(alert.action)) > 20, alert.name
        assert len({alert.name for alert in ALERTS}) == len({alert.anchor for alert in ALERTS}) == len(ALERTS)

    def test_have_a_paragraph_in_the_runbook(self) -> None:
        """Where the link of the alert leads."""
        headings = re.findall(
            r"^### (.+)$", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.MULTILINE
        )
        anchors = {heading.lower().replace(" ", "-") for heading in headings}
        assert {alert.anchor for alert in ALERTS} <= anchors

    def test_name_settings_that_exist(self) -> None:
        """An operator is not sent to a setting of another version."""
        for section, name in re.findall(r"GAMEBUS_([A-Z]+)__([A-Z_]+)", " ".join(alert.action for alert in ALERTS)):
            model = Settings.model_fields[section.lower()].annotation
            assert name.lower() in getattr(model, "model_fields", {}), name


class TestRulesFile:
    def test_is_up_to_date(self) -> None:
        """Prometheus judges what the dashboard judges: run `make docs` after a change."""
        printed = CliRunner().invoke(app, ["alerts", "--format", "prometheus"])
        assert printed.exit_code == 0
        assert RULES.read_text(encoding="utf-8") == printed.stdout

    def test_and_for_people_as_text(self) -> None:
        """What is in the runbook is in the terminal, too."""
        printed = CliRunner().invoke(app, ["alerts"])
        assert [line.removeprefix("### ") for line in printed.stdout.splitlines() if line.startswith("### ")] == [
            alert.title for alert in ALERTS
        ]

    def test_is_yaml_of_these_alerts(self) -> None:
        """Expressions and words arrive unharmed."""
        (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
        by_name = {rule["alert"]: rule for rule in group["rules"]}
        assert by_name.keys() == {f"Gamebus{alert.name}" for alert in ALERTS}
        for rule, expected in zip(group["rules"], ALERTS, strict=True):
            assert rule["expr"] == expected.promql()
            assert (rule["for"], rule["labels"]) == (f"{expected.for_s:g}s", {"severity": str(expected.severity)})
            assert expected.summary in rule["annotations"]["summary"]
        assert named("RealtimeSendsFell").promql() == (
            "sum by (job, instance) (rate(gamebus_realtime_publisher_written_total[20s])) / "
            "(sum by (job, instance) (rate(gamebus_realtime_publisher_attempted_total[20s])) > 10) < 0.5"
        )

    @needs_promtool
    def test_is_accepted_by_prometheus(self) -> None:
        """As its own tool says."""
        promtool("check", "rules", str(RULES))

    @needs_promtool
    def test_is_judged_by_prometheus_as_by_the_dashboard(self, tmp_path: Path) -> None:
        """A gateway that is well for a minute raises nothing; then it drops what it is given, and then it does not answer."""
        labels = 'job="gamebus", instance="g"'
        series = {
            f"up{{{labels}}}": "1x12 0x12",
            f"gamebus_realtime_publisher_attempted_total{{{labels}}}": "0+4000x24",
            f'gamebus_realtime_publisher_dropped_total{{{labels}, reason="expired"}}': "0x12 100+100x12",
        }
        expected = {"ProcessSilent": 12, "RealtimeErrorRate": 0.025}
        test = {
            "interval": "5s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {"expr": named(name).promql(), "eval_time": at, "exp_samples": samples}
                for name, value in expected.items()
                for at, samples in (("60s", []), ("105s", [{"labels": f"{{{labels}}}", "value": value}]))
            ],
        }
        path = tmp_path / "tests.yml"
        path.write_text(yaml.safe_dump({"evaluation_interval": "5s", "tests": [test]}), encoding="utf-8")
        promtool("test", "rules", str(path))


def promtool(*arguments: str) -> None:
    checked = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
