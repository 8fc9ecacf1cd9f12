"""What the doctor says of a real Kafka."""

from __future__ import annotations

from gamebus.catalog_file import parse_catalog
from gamebus.delivery.topics import create_topics
from gamebus.doctor.finding import Grade
from gamebus.doctor.kafka import examine_kafka
from gamebus.settings import KafkaSettings


class TestExamineKafka:
    async def test_it_names_what_is_missing_until_it_is_there(self, bootstrap_servers: str, topic_prefix: str) -> None:
        """Topics that do not exist, then consumers that nobody has started, each with the command that mends it."""
        settings = KafkaSettings(
            bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, group_prefix=topic_prefix
        )
        catalog = parse_catalog(topic_prefix=topic_prefix)

        findings = await examine_kafka(settings, catalog)
        missing = [finding for finding in findings if finding.name.startswith("topic ")]
        assert {finding.name for finding in missing} == {f"topic {name}" for name in catalog.topics}
        assert {finding.fix for finding in missing} == {"gamebus topics create"}

        await create_topics(bootstrap_servers, catalog)
        found = {finding.name: finding for finding in await examine_kafka(settings, catalog)}
        assert found["kafka topics"].grade is Grade.OK
        assert found["kafka brokers"].grade is Grade.WARN
        for kind in ("realtime", "durable"):
            consumers = found[f"consumers {topic_prefix}{kind}"]
            assert (consumers.grade, consumers.fix) == (Grade.FAIL, f"gamebus processor {kind}")

    async def test_no_kafka_is_one_failure(self) -> None:
        """And not one for each question."""
        (finding,) = await examine_kafka(KafkaSettings(bootstrap_servers="127.0.0.1:1"), parse_catalog())
        assert finding.grade is Grade.FAIL
        assert "gamebus stack up" in finding.fix
