"""The alerts of gamebus: the conditions of the seed's monitoring tables, and those of what gamebus adds to them."""

from __future__ import annotations

from typing import Final

from gamebus.alerts.alert import Alert, Scope, Severity
from gamebus.alerts.expression import (
    Absence,
    Expression,
    Growth,
    Increase,
    Level,
    Rate,
    Ratio,
    Shortfall,
    Silence,
    metric,
)
from gamebus.alerts.history import SILENT_S

LOSS_TARGET: Final = 0.01
"""Share of at-most-once events that may be lost; the dashboard marks what is above it."""

# Fewer events a second than this make no share: one of three is no trend.
_FEW_PER_S: Final = 10.0
_MANY_BATCHES_PER_S: Final = 500.0
_SLOW_COMMIT_S: Final = 0.5

_FAULTY: Final = ("bad_request", "unknown_type", "bad_data", "not_joined", "forbidden", "bad_token", "too_large")

_ATTEMPTED: Final = metric("realtime_publisher_attempted_total")
_WRITTEN: Final = metric("realtime_publisher_written_total")
_DURABLE_FAILED: Final = (
    metric("durable_publisher_failed_total"),
    metric("durable_publisher_unknown_total"),
    metric("durable_publisher_overloaded_total"),
)


def _account(*terms: str) -> Expression:
    return Rate((metric("realtime_account_events_total", term=terms),), over_s=30)


def _commit_latency(consumer: str) -> Expression:
    return Ratio(
        Rate((metric(f"{consumer}_commit_seconds_total"),), over_s=10),
        Rate((metric(f"{consumer}_commits_total"),), over_s=10),
    )


_PROCESSES: Final = (
    Alert(
        name="ProcessSilent",
        expression=Silence(),
        above=SILENT_S,
        for_s=0,
        keep_s=0,
        severity=Severity.CRITICAL,
        unit="seconds",
        summary="A gateway or processor says nothing any more.",
        cause="It was killed, its machine or its network is gone, or its event loop stands still.",
        action=(
            "Look at its last log lines and whether its supervisor starts it again. Clients of a dead gateway come back to another "
            "one and resume; the partitions of a dead processor move to the others when its session has timed out. The alert ends when "
            "a process of its role has come in its place, or a minute after its last word: if none came, the fleet is smaller now."
        ),
    ),
    Alert(
        name="NoGateway",
        expression=Absence(metric("gateway_connections")),
        above=0,
        scope=Scope.FLEET,
        severity=Severity.CRITICAL,
        unit="count",
        summary="No gateway is running: nobody can play.",
        cause="None was started, or all have died or cannot reach Redis.",
        action="Start one (`gamebus gateway`), and see `gamebus doctor` for what keeps it from starting.",
    ),
    Alert(
        name="NoRealtimeProcessor",
        expression=Absence(metric("realtime_consumer_assigned")),
        above=0,
        scope=Scope.FLEET,
        severity=Severity.CRITICAL,
        unit="count",
        summary="No realtime processor is running: positions in Redis grow old, and nobody counts what is lost.",
        cause="None was started, or all have died or cannot reach Redis.",
        action=(
            "Start one (`gamebus processor realtime`). Players still see each other: gateways read Kafka themselves. What "
            "was sent meanwhile is `skipped`."
        ),
    ),
    Alert(
        name="NoDurableProcessor",
        expression=Absence(metric("durable_consumer_partitions")),
        above=0,
        scope=Scope.FLEET,
        severity=Severity.CRITICAL,
        unit="count",
        summary="No durable processor is running: kills, deaths and chat have no effect in Redis yet.",
        cause="None was started, or all have died or cannot reach Redis.",
        action=(
            "Start one (`gamebus processor durable`). Nothing is lost: it goes on where the last one left off, as long as "
            "Kafka keeps the records."
        ),
    ),
    Alert(
        name="EventLoopBlocked",
        expression=Level((metric("process_event_loop_lag_seconds"),)),
        above=0.5,
        # The figure is the worst of ten seconds: one stall alone is over before that.
        for_s=15,
        unit="seconds",
        summary="The event loop of a process stands still for moments: everything that it does is late.",
        cause="Too little CPU: too many clients for one process, or a machine that others use, too.",
        action=(
            "Look at its CPU on the dashboard. At one core: more gateways (`--workers`) or processors. Below: something "
            "else takes the machine."
        ),
    ),
)

_PUBLISHING: Final = (
    Alert(
        name="BrokerUnreachable",
        expression=Shortfall(
            Level((metric("realtime_publisher_connected"),)), Level((metric("realtime_publisher_brokers"),))
        ),
        above=0,
        for_s=1,
        severity=Severity.CRITICAL,
        unit="count",
        summary="A gateway has no connection to brokers that lead partitions: it drops positions of the rooms that they lead.",
        cause="The broker is down or hangs, or the network between them is cut.",
        action=(
            "`gamebus doctor` says which brokers answer. The gateway dials again by itself; durable events wait in its "
            "outbox for up to ten seconds meanwhile."
        ),
    ),
    Alert(
        name="RealtimeSendsFell",
        expression=Ratio(Rate((_WRITTEN,)), Rate((_ATTEMPTED,)), floor=_FEW_PER_S),
        below=0.5,
        severity=Severity.CRITICAL,
        unit="ratio",
        summary="A gateway sends less than half of the positions that it is given.",
        cause="Its brokers cannot be reached or take nothing more, or their partitions have no leader.",
        action=(
            "Check connectivity: the reason is the label of `gamebus_realtime_publisher_dropped_total`. `not_connected` and "
            "`no_leader`: brokers; `expired`: a broker that hangs, or a gateway without CPU; `backpressure`: see "
            "`BufferNearlyFull`."
        ),
    ),
    Alert(
        name="RealtimeErrorRate",
        expression=Ratio(Rate((metric("realtime_publisher_dropped_total"),)), Rate((_ATTEMPTED,)), floor=_FEW_PER_S),
        above=LOSS_TARGET,
        unit="ratio",
        summary="A gateway drops more than 1 % of the positions that it is given.",
        cause="As for sends that fell; less of it.",
        action="Investigate the reasons: the label of `gamebus_realtime_publisher_dropped_total`, and the page Delivery by publisher.",
    ),
    Alert(
        name="DurableErrorRate",
        expression=Ratio(
            Rate(_DURABLE_FAILED, over_s=10),
            Rate((metric("durable_publisher_accepted_total"), metric("durable_publisher_overloaded_total")), over_s=10),
        ),
        above=0.01,
        severity=Severity.CRITICAL,
        unit="ratio",
        summary="More than 1 % of the durable events of a gateway are refused, or their outcome is unknown.",
        cause="Fewer in-sync replicas than `min.insync.replicas`, or a broker that does not answer in time.",
        action="`gamebus topics check` and `gamebus doctor`. Nothing acknowledged is lost; clients send again what was refused or unknown.",
    ),
    Alert(
        name="BufferNearlyFull",
        expression=Ratio(
            Level((metric("realtime_publisher_buffer_available_bytes"),)),
            Level((metric("realtime_publisher_buffer_available_bytes"), metric("realtime_publisher_buffered_bytes"))),
        ),
        below=0.1,
        for_s=2,
        unit="ratio",
        summary="Less than 10 % of the send buffer of a gateway is free; when it is full, positions are dropped (`backpressure`).",
        cause="Brokers take less than players send: a slow broker, a slow network, or more players than this cluster serves.",
        action=(
            "If brokers are well, raise `GAMEBUS_REALTIME__BUFFER_BYTES` or reduce the rate: `per_second` of the "
            "type in the catalog, fewer players a gateway."
        ),
    ),
    Alert(
        name="BatchesSmall",
        expression=Ratio(
            Rate((_WRITTEN,), over_s=10),
            Rate((metric("realtime_publisher_batches_total"),), over_s=10),
            floor=_MANY_BATCHES_PER_S,
        ),
        below=2,
        for_s=30,
        unit="count",
        summary="A gateway writes hundreds of batches a second with less than two positions in each.",
        cause="Linger is too short for this many partitions: each position costs brokers a batch of its own.",
        action="Increase `GAMEBUS_REALTIME__LINGER_MS` by a few milliseconds; positions grow older by as much.",
    ),
)

_PROCESSING: Final = (
    Alert(
        name="ConsumedBelowSent",
        expression=Ratio(
            Rate((metric("realtime_consumer_records_total"),), over_s=3), Rate((_WRITTEN,), over_s=3), floor=_FEW_PER_S
        ),
        below=0.5,
        # Soon: the sockets of a broker that hangs still take what is sent, so this is the first sign of it. Not sooner: when a game
        # begins, processors say a second later than gateways what they have done.
        for_s=2,
        scope=Scope.FLEET,
        unit="ratio",
        summary="Processors read less than half of the positions that gateways send.",
        cause="A broker that hangs, or processors that stand still or change partitions.",
        action=(
            "If lag grows, too: processors; look for one that dies or does not keep up. If not: brokers; `gamebus doctor` says which "
            "of them answer, and `lost_on_wire` on the page Delivery what was lost."
        ),
    ),
    *(
        Alert(
            name=f"{kind}CommitSlow",
            expression=_commit_latency(f"{kind.lower()}_consumer"),
            above=_SLOW_COMMIT_S,
            for_s=5,
            unit="seconds",
            summary=f"Commits of a {kind.lower()} processor take more than half a second in the mean.",
            cause="The broker that coordinates the group is busy, or its disk is.",
            action="Check the health of the brokers: CPU, disk, `gamebus doctor`. "
            + (
                "A realtime processor waits for its commit before it processes, so positions in Redis are as late."
                if kind == "Realtime"
                else "Effects are not later for it; more is read again after a crash."
            ),
        )
        for kind in ("Realtime", "Durable")
    ),
    *(
        Alert(
            name=f"{kind}LagGrowing",
            expression=Growth((metric(f"{kind.lower()}_consumer_lag"),), over_s=20),
            above=500,
            for_s=10,
            unit="count",
            summary=f"The lag of a {kind.lower()} processor grew by more than 500 records in 20 s.",
            cause="More is sent than it processes: too few processors, or a slow Redis.",
            action="Scale consumers: start more processors, up to one for each partition. If Redis is slow, more processors do not help.",
        )
        for kind in ("Realtime", "Durable")
    ),
    *(
        Alert(
            name=f"{kind}RebalanceStorm",
            expression=Increase((metric(f"{kind.lower()}_consumer_rebalances_total"),), over_s=60),
            above=5,
            for_s=0,
            unit="count",
            summary=f"The group of {kind.lower()} processors was rebalanced more than five times within a minute.",
            cause="A processor that dies and comes back again and again, or one that is too busy to say in time that it lives.",
            action=(
                "Look for a processor with a short uptime; its log says why it ends. If none: CPU, or a longer "
                "`GAMEBUS_CONSUMER__SESSION_TIMEOUT_MS`."
            ),
        )
        for kind in ("Realtime", "Durable")
    ),
    Alert(
        name="DeadLetters",
        expression=Increase((metric("durable_consumer_dead_letters_total"),)),
        above=0,
        for_s=0,
        unit="count",
        summary="Durable events could not be processed and were put into the dead-letter topic.",
        cause="A publisher that sends what no handler takes, or a handler with a fault.",
        action="`gamebus dlq list` shows them and why; when the cause is mended, `gamebus dlq replay`.",
    ),
)

_ACCOUNT: Final = (
    Alert(
        name="RealtimeLoss",
        # What is not processed, and not the sum of the losses: a record that is late counts as lost on the wire until it comes, and as
        # a counter that stays.
        expression=Ratio(Shortfall(_account("processed"), _account("attempted")), _account("attempted"), floor=1),
        above=LOSS_TARGET,
        # Longer than a record is late on a machine without CPU; what is lost is missing for the whole half minute.
        for_s=10,
        scope=Scope.FLEET,
        unit="ratio",
        summary="More than 1 % of the at-most-once events of the last half minute are lost.",
        cause="Any failure on their way: the term of the account that grows says where.",
        action=(
            "The page Delivery shows the terms by publisher, docs/delivery.md what each means. `dropped`: a gateway; "
            "`lost_on_wire`: a broker; the others: processors."
        ),
    ),
    Alert(
        name="RealtimeDuplicates",
        expression=Increase((metric("realtime_account_events_total", term="duplicates"),)),
        above=0,
        for_s=0,
        severity=Severity.CRITICAL,
        unit="count",
        summary="An at-most-once event was read twice. It was not processed again, and it must not happen.",
        cause="A fault of gamebus, or a topic whose log was replaced by an older copy.",
        action="Keep the logs of gateways and processors, and report it. `gamebus loss` names the publisher.",
    ),
    Alert(
        name="RealtimeUnknown",
        expression=Increase((metric("realtime_account_events_total", term="unknown"),)),
        above=0,
        for_s=0,
        unit="count",
        summary="Of some at-most-once events nobody can say what became of them.",
        cause="A gateway was killed with events that it had not reported yet (a second of them at most), or an account was lost.",
        action="After a known death of a gateway: nothing. Without one: look at which publisher it is on the page Delivery.",
    ),
)

_CLIENTS: Final = (
    Alert(
        name="ClientsRateLimited",
        expression=Rate((metric("gateway_errors_total", code="rate_limited"),)),
        above=5,
        for_s=1,
        unit="per_second",
        summary="Clients of a gateway send more than their rates allow; what is too much is refused.",
        cause="A flood: a client with a fault, an attack, or a game that sends more often than its catalog says.",
        action=(
            "The pages Rooms and Players show where it comes from. A client that goes on is closed (4004). If it is the "
            "game: `per_second` of the type in the catalog."
        ),
    ),
    Alert(
        name="ClientsRefused",
        expression=Rate((metric("gateway_errors_total", code=_FAULTY),)),
        above=5,
        for_s=1,
        unit="per_second",
        summary="Clients of a gateway send what it refuses.",
        cause="A client of another version than the catalog, or one that is not ours.",
        action="The label of `gamebus_gateway_errors_total` says why; the client is told the same in `error` and `nack`.",
    ),
    Alert(
        name="SlowReaders",
        expression=Increase((metric("hub_overflows_total"),)),
        above=0,
        for_s=0,
        unit="count",
        summary="A gateway cut off clients that read too slowly (4001); they resume.",
        cause="A client that hangs or has a bad network. Many of them: the network of the gateway.",
        action="A few: nothing. Many: the gateway's network, or rooms that are too large for their tick rate (docs/rooms.md).",
    ),
)

REDIS_FAILING: Final = Alert(
    name="RedisFailing",
    expression=Increase((metric("redis_failures_total"),), over_s=5),
    above=0,
    for_s=0,
    severity=Severity.CRITICAL,
    unit="count",
    summary="Redis refuses operations of a process, or does not answer in time.",
    cause="It is down, full (`maxmemory`), overloaded, or cut off.",
    action=(
        "`gamebus doctor` looks at its memory and its durability. Players go on playing; durable processors wait, positions "
        "in Redis grow old. While the dashboard itself cannot ask Redis, the other alerts stay as they were."
    ),
)

ALERTS: Final = (*_PROCESSES, REDIS_FAILING, *_PUBLISHING, *_PROCESSING, *_ACCOUNT, *_CLIENTS)
"""All alerts."""
