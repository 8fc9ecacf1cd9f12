"""docker-compose.yml keeps its promises on paper: no engine is needed to see that it cannot lose what it acknowledges."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest
import yaml

from tests.deploy import compose_checks as checks
from tests.deploy.compose_checks import CHECKS, ROOT, Check, Compose

FAULTS: Final[tuple[tuple[Check, str, Any], ...]] = (
    (checks.only_known_keys, "services.gateway.container_name", "gateway"),
    (checks.only_known_keys, "version", "3"),
    (checks.only_known_keys, "services.gateway.healthcheck.intervall", "5s"),
    (checks.only_known_keys, "services.kafka-1.environment.KAFKA_AUTO_CREATE_TOPICS_ENABLE", False),
    (checks.images_are_pinned, "services.redis.image", "redis:latest"),
    (checks.images_are_pinned, "services.redis.image", "redis"),
    (checks.memory_is_limited, "services.bots.deploy", {}),
    (checks.heap_fits_its_limit, "services.kafka-3.deploy.resources.limits.memory", "768m"),
    (checks.acknowledged_survives_one_broker, "services.kafka-2.environment.KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", 1),
    (checks.acknowledged_survives_one_broker, "services.kafka-2.environment.KAFKA_MIN_INSYNC_REPLICAS", 1),
    (
        checks.acknowledged_survives_one_broker,
        "services.kafka-2.environment.KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE",
        "true",
    ),
    (checks.brokers_form_one_cluster, "services.kafka-2.environment.KAFKA_NODE_ID", 3),
    (checks.brokers_form_one_cluster, "services.kafka-2.environment.CLUSTER_ID", "AAAAAAAAAAAAAAAAAAAAAA"),
    (checks.listeners_are_reachable, "services.kafka-2.ports", ["127.0.0.1:29093:9092"]),
    (
        checks.listeners_are_reachable,
        "services.kafka-2.environment.KAFKA_ADVERTISED_LISTENERS",
        "PLAINTEXT://kafka-1:19092,PLAINTEXT_HOST://localhost:39092",
    ),
    (
        checks.listeners_are_reachable,
        "services.kafka-2.environment.KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    ),
    (checks.published_ports_are_loopback_and_distinct, "services.redis.ports", ["6379:6379"]),
    (checks.published_ports_are_loopback_and_distinct, "services.redis.ports", ["0.0.0.0:6379:6379"]),
    (checks.published_ports_are_loopback_and_distinct, "services.redis.ports", ["127.0.0.1:8000:6379"]),
    (checks.data_is_in_named_volumes, "services.redis.volumes", ["./data:/data"]),
    (checks.data_is_in_named_volumes, "services.kafka-2.volumes", ["kafka-1:/var/lib/kafka/data"]),
    (checks.data_is_in_named_volumes, "services.kafka-2.environment.KAFKA_LOG_DIRS", "/tmp/kafka"),
    (checks.redis_keeps_its_data, "services.redis.command", "redis-server --appendonly no"),
    (checks.dependencies_make_sense, "services.gateway.depends_on", {"topic": {"condition": "service_started"}}),
    (checks.dependencies_make_sense, "services.gateway.depends_on.topics.condition", "service_healthy"),
    (checks.dependencies_make_sense, "services.bots.depends_on.gateway.condition", "service_completed_successfully"),
    (checks.dependencies_make_sense, "services.topics.depends_on", {}),
    (checks.commands_exist, "services.topics.command", "gamebus topics make"),
    (checks.commands_exist, "services.gateway.command", "gamebus gateway --listen 0.0.0.0"),
    (checks.commands_exist, "services.gateway.command", "gamebus gateway --port eight"),
    (checks.settings_exist, "services.gateway.environment.GAMEBUS_KAFKA__BOOTSTRAP", "kafka-1:19092"),
    (checks.settings_exist, "services.gateway.environment.GAMEBUS_LOG__FORMAT", "yaml"),
    (
        checks.addresses_lead_to_services,
        "services.gateway.environment.GAMEBUS_KAFKA__BOOTSTRAP_SERVERS",
        "kafka-1:9092",
    ),
    (checks.addresses_lead_to_services, "services.bots.command", "gamebus bots run --url ws://localhost:8000/v1"),
    (checks.secret_is_demanded, "services.gateway.environment.GAMEBUS_AUTH__SECRET", "${GAMEBUS_AUTH__SECRET:-secret}"),
    (checks.extras_stay_at_home, "services.gateway.profiles", ["bots"]),
    (checks.extras_stay_at_home, "services.grafana.profiles", []),
    (checks.files_are_there, "services.prometheus.volumes", ["./deploy/prometheus:/etc/prometheus"]),
    (checks.files_are_there, "services.prometheus.volumes", ["./deploy/nothing:/etc/prometheus:ro"]),
    (checks.files_are_there, "services.prometheus.volumes", ["data:/prometheus"]),
    (
        checks.every_process_is_scraped,
        "services.processor-durable.command",
        "gamebus processor durable --ops-port 9100",
    ),
    (
        checks.every_process_is_scraped,
        "services.processor-durable.command",
        "gamebus processor durable --ops-host 0.0.0.0 --ops-port 9101",
    ),
    (checks.builds_exist, "services.gateway.build.target", "gateway"),
)


@pytest.fixture(scope="module")
def compose() -> Compose:
    """The file as Compose sees it: anchors resolved, extensions (x-...) gone."""
    parsed: Compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return {key: value for key, value in parsed.items() if not key.startswith("x-")}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_has_no_fault(compose: Compose, check: Check) -> None:
    """The file as it is keeps every rule."""
    assert check(compose) == []


@pytest.mark.parametrize(("check", "path", "value"), FAULTS, ids=lambda part: getattr(part, "__name__", str(part)[:60]))
def test_sees_the_fault(compose: Compose, check: Check, path: str, value: object) -> None:
    """A check that finds nothing in a broken file would prove nothing about this one."""
    broken = copy.deepcopy(compose)
    *parts, last = path.split(".")
    place = broken
    for part in parts:
        place = place[part]
    place[last] = value

    assert check(broken)
