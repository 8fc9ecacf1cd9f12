"""Topics that the catalog would not make."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def create_topic(
    bootstrap_servers: str, name: str, *, partitions: int = 1, replicas: int = 1, config: dict[str, str] | None = None
) -> None:
    """Create a topic; returns when every partition has a leader. The answer to a creation comes before brokers know of it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, replicas, topic_configs=config or {})])
        async with asyncio.timeout(60):
            while True:
                (topic,) = await admin.describe_topics([name])
                if len(topic["partitions"]) == partitions and all(part["leader"] >= 0 for part in topic["partitions"]):
                    return
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
