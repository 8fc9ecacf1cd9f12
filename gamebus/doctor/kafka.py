"""Kafka: does it answer, do its topics keep their contract, do consumers keep up."""

from __future__ import annotations

from gamebus.catalog import Catalog, DeliveryClass
from gamebus.delivery.group_progress import watching
from gamebus.delivery.topics import check_topics, describe_topics
from gamebus.doctor.finding import Finding, fail, ok, warn
from gamebus.errors import ConfigurationError
from gamebus.settings import KafkaSettings

_KINDS = {DeliveryClass.AT_MOST_ONCE: "realtime", DeliveryClass.AT_LEAST_ONCE: "durable"}
# A processor that keeps up is within a poll or two of the end.
_MAX_LAG = 10_000


async def examine_kafka(settings: KafkaSettings, catalog: Catalog) -> list[Finding]:
    """Everything about Kafka; one failure where it does not answer."""
    try:
        return [
            *await _examine_topics(settings.bootstrap_servers, catalog),
            *await _examine_groups(settings, catalog),
        ]
    except ConfigurationError as error:
        return [fail("kafka", str(error), "gamebus stack up, or set GAMEBUS_KAFKA__BOOTSTRAP_SERVERS")]


async def _examine_topics(servers: str, catalog: Catalog) -> list[Finding]:
    differences = await check_topics(servers, catalog)
    brokers, states = await describe_topics(servers, catalog.topics)
    findings = [ok("kafka", f"brokers at {servers}: {brokers}")]
    if brokers < 3:
        findings.append(
            warn(
                "kafka brokers",
                f"only {brokers}: an acked event may not survive the loss of a disk",
                "run three brokers",
            )
        )
    findings += (
        fail(
            f"topic {different.topic}",
            f"{different.setting} is {different.actual}, must be {different.expected}",
            different.remedy,
        )
        for different in differences
    )
    leaderless = sorted(name for name, state in states.items() if state.leaderless)
    lagging = sorted(name for name, state in states.items() if state.in_sync < state.replicas)
    if leaderless:
        findings.append(
            fail(
                "kafka leaders",
                f"no leader for partitions of {', '.join(leaderless)}",
                "start the brokers that are down",
            )
        )
    if lagging:
        findings.append(
            warn(
                "kafka replicas", f"not all in sync: {', '.join(lagging)}", "start the brokers that are down, and wait"
            )
        )
    if not differences and not leaderless and not lagging:
        findings.append(ok("kafka topics", f"{len(states)} topics keep their contract, all replicas in sync"))
    return findings


async def _examine_groups(settings: KafkaSettings, catalog: Catalog) -> list[Finding]:
    findings = []
    _, states = await describe_topics(settings.bootstrap_servers, catalog.topics)
    async with watching(settings.bootstrap_servers) as progress:
        for delivery, kind in _KINDS.items():
            group, lag, unread = f"{settings.group_prefix}{kind}", 0, []
            for topic in catalog.event_topics(delivery):
                if topic.name not in states:
                    continue
                partitions = states[topic.name].partitions
                if len(await progress.assigned(group, topic.name)) < partitions:
                    unread.append(topic.name)
                known = await progress.progress(group, topic.name, partitions)
                lag += sum(at.left(at.end) for at in known.values() if at.committed is not None)
            name, fix = f"consumers {group}", f"gamebus processor {kind}"
            if unread:
                findings.append(fail(name, f"nobody reads all partitions of {', '.join(unread)}", fix))
            elif lag > _MAX_LAG:
                findings.append(warn(name, f"{lag:,} records behind", f"start more of: {fix}"))
            else:
                findings.append(ok(name, f"every partition is read, {lag:,} records behind"))
    return findings
