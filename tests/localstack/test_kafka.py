"""Settings of the brokers."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from gamebus.localstack.kafka import Broker, Cluster, ProxiedListener, _java_properties, new_cluster_id


def cluster(brokers: int) -> Cluster:
    """A cluster as `Stack` makes it."""
    return Cluster(
        id=new_cluster_id(),
        brokers=tuple(Broker(number, 9000 + number, 9100 + number) for number in range(1, brokers + 1)),
    )


class TestProperties:
    @pytest.mark.parametrize(("brokers", "in_sync"), [(1, 1), (3, 2)])
    def test_acknowledged_means_on_a_majority(self, brokers: int, in_sync: int) -> None:
        """Every topic, Kafka's own too, survives the loss of one of three brokers, and a single broker can serve at all."""
        settings = cluster(brokers).properties(cluster(brokers).brokers[0], data=Path("data"))

        for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
            assert settings[f"{topic}.replication.factor"] == str(brokers)
        for topic in ("transaction.state.log", "share.coordinator.state.topic"):
            assert settings[f"{topic}.min.isr"] == str(in_sync)
        assert settings["default.replication.factor"] == str(brokers)
        assert settings["min.insync.replicas"] == str(in_sync)

    def test_never_lose_or_invent_behind_the_back_of_the_bus(self) -> None:
        """No acknowledged record is lost to an unclean leader, no topic appears without its contract."""
        settings = cluster(3).properties(cluster(3).brokers[0], data=Path("data"))

        assert settings["unclean.leader.election.enable"] == "false"
        assert settings["auto.create.topics.enable"] == "false"

    def test_each_broker_is_found_where_it_says(self) -> None:
        """What a broker advertises is where it listens, and all know the same voters."""
        three = cluster(3)
        settings = [three.properties(broker, data=Path("data")) for broker in three.brokers]

        for broker, own in zip(three.brokers, settings, strict=True):
            assert own["advertised.listeners"] == f"PLAINTEXT://127.0.0.1:{broker.port}"
            assert own["listeners"].split(",")[0] == own["advertised.listeners"]
            assert f"{own['node.id']}@127.0.0.1:{broker.controller_port}" in own["controller.quorum.voters"].split(",")
        assert len({own["controller.quorum.voters"] for own in settings}) == 1

    def test_a_proxied_client_stays_behind_the_proxies(self) -> None:
        """Who asks at the listener behind a proxy is told proxies; brokers among themselves use none."""
        broker = Broker(1, 9001, 9101, ProxiedListener(port=9201, advertised_port=9301))
        settings = Cluster(id=new_cluster_id(), brokers=(broker,)).properties(broker, data=Path("data"))

        assert "PROXIED://127.0.0.1:9201" in settings["listeners"].split(",")
        assert settings["advertised.listeners"].split(",") == ["PLAINTEXT://127.0.0.1:9001", "PROXIED://127.0.0.1:9301"]
        assert "PROXIED:PLAINTEXT" in settings["listener.security.protocol.map"].split(",")
        assert settings["inter.broker.listener.name"] == "PLAINTEXT"

    def test_without_proxies_there_is_no_listener_for_them(self) -> None:
        """Nobody pays for what the verification needs."""
        settings = cluster(1).properties(cluster(1).brokers[0], data=Path("data"))

        assert not [value for value in settings.values() if "PROXIED" in value]


class TestJavaProperties:
    def test_a_folder_may_have_any_name(self) -> None:
        """Java reads properties as Latin-1 with escapes; a home folder need not be in English."""
        assert _java_properties({"log.dirs": "/home/jos\u00e9/\u65e5\u672c/a\\b"}) == (
            b"log.dirs=/home/jos\xe9/\\u65e5\\u672c/a\\\\b\n"
        )


class TestNewClusterId:
    def test_is_a_uuid_as_kafka_writes_it(self) -> None:
        """22 characters of URL-safe base64 that no tool takes for an option."""
        for _ in range(200):
            text = new_cluster_id()
            assert len(base64.urlsafe_b64decode(text + "==")) == 16
            assert not text.startswith("-")
