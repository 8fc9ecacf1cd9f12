"""What Prometheus and Grafana are given: they ask for what gamebus exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gamebus.cli import _metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
ROWS = ["Clients", "Events", "Delivery", "Kafka", "Redis", "Runtime"]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)"
)


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((GRAFANA / "gamebus.json").read_text(encoding="utf-8"))
    return parsed


def queries(dashboard: dict[str, Any]) -> list[str]:
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return asked + [annotation["expr"] for annotation in dashboard["annotations"]["list"]]


def promtool(*arguments: str | Path) -> None:
    checked = subprocess.run(["promtool", "check", *arguments], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


class TestGrafana:
    def test_every_query_names_a_metric_that_exists(self, dashboard: dict[str, Any]) -> None:
        """By its kind: counters as rates, gauges as they are, histograms by their buckets; with labels that it has."""
        kinds = {metric.name: (component, metric) for component, metric in _metrics.metrics()}
        for query in queries(dashboard):
            named = re.findall(r"(?:(\w*)\()?\b((?:gamebus|process)_\w+|ALERTS)\b(?:{(\w+))?", query)
            assert named, query
            for function, name, label in named:
                if name == "ALERTS":
                    continue
                if name in _metrics.STANDARD:
                    counted, labels = name.endswith("_total"), {"job"}
                else:
                    component, metric = kinds[name.removesuffix("_bucket")]
                    assert (metric.kind == "histogram") == name.endswith("_bucket"), query
                    counted, labels = metric.kind != "gauge", {metric.label or "", *component.labels}
                assert (function in {"rate", "increase"}) == counted, query
                assert not label or label in labels, query

    def test_rows_are_those_of_an_operator(self, dashboard: dict[str, Any]) -> None:
        """From the players down to the machine; no panel is alone or on another one."""
        assert [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"] == ROWS
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not cells & taken, panel["title"]
            assert max(x for x, _ in cells) < 24
            taken |= cells
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)

    def test_shows_what_the_seed_monitors(self, dashboard: dict[str, Any]) -> None:
        """Sends, errors, buffer, batches; consumed, commit latency, lag."""
        text = " ".join(queries(dashboard))
        for name in (
            *("written_total", "dropped_total", "buffer_available_bytes", "batches_total"),
            *("processed_total", "commit_seconds_total", "consumer_lag"),
        ):
            assert name in text

    def test_asks_the_source_that_is_provisioned(self, dashboard: dict[str, Any]) -> None:
        """Its dashboard is where Grafana looks for it, and its data source the Prometheus of the same network."""
        (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
        asked = {panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"}
        assert asked == {source["uid"]}
        compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
        assert source["url"] == "http://prometheus:9090"
        (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/gamebus.yml").read_text())["providers"]
        mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
        assert f"{provider['options']['path']}/gamebus.json" in mounted
        assert compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in mounted

    @needs_promtool
    def test_queries_are_promql(self, dashboard: dict[str, Any], tmp_path: Path) -> None:
        """As Prometheus' own tool reads them."""
        rules = [
            {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
            for number, query in enumerate(queries(dashboard))
        ]
        path = tmp_path / "queries.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
        promtool("rules", path)


class TestPrometheus:
    def test_reads_the_alerts(self) -> None:
        """Often enough for their windows."""
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
        assert [(PROMETHEUS / name).exists() for name in config["rule_files"]] == [True]
        assert config["global"]["scrape_interval"] == "5s"

    @needs_promtool
    def test_its_configuration_is_accepted(self) -> None:
        """By its own tool."""
        promtool("config", PROMETHEUS / "prometheus.yml")
