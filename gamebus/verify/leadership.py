"""Who leads: the quorum of controllers, and the partitions of topics.

Three requests of Kafka's protocol that aiokafka's admin client does not offer (Kafka 4.3 takes all three versions below).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

from gamebus.delivery.realtime_connection import DIAL_ERRORS, dial
from gamebus.errors import StackError

_CLIENT_ID: Final = "gamebus-verify"
_METADATA_TOPIC: Final = "__cluster_metadata"
_PREFERRED: Final = 0
_TIMEOUT_MS: Final = 10_000
# KIP-460: the preferred replica leads already.
_ELECTION_NOT_NEEDED: Final = 84
_TAGS: Final = ("tags", TaggedFields)
_REPLICAS: Final = CompactArray(("replica_id", Int32), ("log_end_offset", Int64), _TAGS)


class DescribeQuorumResponseV0(Response):
    """KIP-595."""

    API_KEY = 55
    API_VERSION = 0
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        ("current_voters", _REPLICAS),
                        ("observers", _REPLICAS),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class DescribeQuorumRequestV0(RequestStruct):
    """KIP-595."""

    FLEXIBLE_VERSION = True
    API_KEY = 55
    API_VERSION = 0
    RESPONSE_TYPE = DescribeQuorumResponseV0
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), _TAGS)),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class DescribeQuorumRequest(Request[DescribeQuorumRequestV0]):
    """Asks who leads the quorum of controllers."""

    API_KEY: ClassVar[int] = 55

    def build(self, request_struct_class: type[DescribeQuorumRequestV0]) -> DescribeQuorumRequestV0:
        """In the version that the broker takes."""
        return request_struct_class([(_METADATA_TOPIC, [(0, {})], {})], {})


class ElectLeadersResponseV1(Response):
    """KIP-460."""

    API_KEY = 43
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "topics",
            Array(
                ("name", String("utf-8")),
                (
                    "partitions",
                    Array(("partition", Int32), ("error_code", Int16), ("error_message", String("utf-8"))),
                ),
            ),
        ),
    )


class ElectLeadersRequestV1(RequestStruct):
    """KIP-460."""

    API_KEY = 43
    API_VERSION = 1
    RESPONSE_TYPE = ElectLeadersResponseV1
    SCHEMA = Schema(
        ("election_type", Int8),
        ("topics", Array(("name", String("utf-8")), ("partitions", Array(Int32)))),
        ("timeout_ms", Int32),
    )


class ElectLeadersRequest(Request[ElectLeadersRequestV1]):
    """Makes the preferred replica of each partition its leader."""

    API_KEY: ClassVar[int] = 43

    def __init__(self, partitions: dict[str, list[int]]) -> None:
        self._partitions = partitions

    def build(self, request_struct_class: type[ElectLeadersRequestV1]) -> ElectLeadersRequestV1:
        """In the version that the broker takes."""
        return request_struct_class(_PREFERRED, list(self._partitions.items()), _TIMEOUT_MS)


async def active_controller(bootstrap_servers: str) -> int:
    """Node id of the active controller. (The `controller_id` of Kafka's metadata is any broker in KRaft.)

    Raises:
        StackError: nobody says.
    """
    answer = await _ask(bootstrap_servers, DescribeQuorumRequest())
    leaders = [int(partition[2]) for _, partitions, *_ in answer.topics for partition in partitions]
    if answer.error_code or not leaders or leaders[0] < 0:
        raise StackError(f"Kafka names no active controller (error {answer.error_code})")
    return leaders[0]


async def move_leaders(bootstrap_servers: str, topics: Sequence[str], rng: Random) -> int:
    """Give every partition of `topics` another preferred replica, drawn from its replicas, and let that one lead; how many moved.

    Replicas stay where they are. A partition whose new leader is not in sync keeps its old one.

    Raises:
        StackError: Kafka refused.
    """
    reassignments: list[Any] = []
    for topic in await _described(bootstrap_servers, topics):
        replicas = {
            int(partition["partition"]): _with_another_first(partition, rng)
            for partition in sorted(topic["partitions"], key=lambda one: int(one["partition"]))
        }
        reassignments.append((topic["topic"], [(number, order, {}) for number, order in replicas.items()], {}))
    tags: Any = {}
    altered = await _ask(bootstrap_servers, AlterPartitionReassignmentsRequest(_TIMEOUT_MS, reassignments, tags))
    errors = {code for _, partitions, _ in altered.responses for _, code, *_ in partitions if code}
    if altered.error_code or errors:
        raise StackError(
            f"the order of replicas was not changed: Kafka's errors {sorted(errors | {altered.error_code})}"
        )

    wanted = {name: [number for number, *_ in partitions] for name, partitions, _ in reassignments}
    elected = await _ask(bootstrap_servers, ElectLeadersRequest(wanted))
    if elected.error_code not in {0, _ELECTION_NOT_NEEDED}:
        raise StackError(f"no leader was elected: Kafka's error {elected.error_code}")
    return sum(code == 0 for _, partitions in elected.topics for _, code, _ in partitions)


def _with_another_first(partition: dict[str, Any], rng: Random) -> list[int]:
    replicas = sorted(int(node) for node in partition["replicas"])
    others = [node for node in replicas if node != partition["leader"]]
    first = rng.choice(others or replicas)
    return [first, *(node for node in replicas if node != first)]


async def _described(bootstrap_servers: str, topics: Sequence[str]) -> list[dict[str, Any]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, client_id=_CLIENT_ID)
    await admin.start()
    try:
        found: list[dict[str, Any]] = await admin.describe_topics(sorted(topics))
    finally:
        await admin.close()
    return sorted(found, key=lambda topic: str(topic["topic"]))


async def _ask(bootstrap_servers: str, request: Any) -> Any:
    """The answer of the first broker that gives one; brokers hand these requests on to the active controller."""
    errors = []
    for address in bootstrap_servers.split(","):
        host, _, port = address.rpartition(":")
        try:
            connection = await dial(host, int(port), client_id=_CLIENT_ID)
        except DIAL_ERRORS as error:
            errors.append(f"{address}: {str(error) or type(error).__name__}")
            continue
        try:
            return await connection.send(request)
        finally:
            connection.close()
    raise StackError(f"no broker answers ({'; '.join(errors)})")
