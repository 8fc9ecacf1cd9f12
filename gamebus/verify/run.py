"""A verification run: a cluster, players on it, faults in turn, and the verdict of the checker.

The order of faults, what they meet, and the pauses between them come from one seed, so a run can be repeated; what the machine makes of
it cannot.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from gamebus.catalog import Catalog, Role
from gamebus.errors import StateError
from gamebus.gateway.auth import mint_token
from gamebus.settings import RedisSettings
from gamebus.verify import footsteps
from gamebus.verify.anomaly import Anomaly
from gamebus.verify.checker import check, count
from gamebus.verify.cluster import DURABLE, GATEWAYS, REALTIME, Cluster
from gamebus.verify.collect import collect_effects, collect_ledgers, collect_records, place
from gamebus.verify.faults import FAULTS, FaultKind
from gamebus.verify.history import Attempt, Delivered, Event, Fault, HistoryWriter, Killed, Ledger, read_history
from gamebus.verify.players import Player, PlayerConfig

_ROOMS: Final = ("arena", "lobby", "tower", "yard")
_PLAYERS_PER_ROOM: Final = 3
_WARM_UP_S: Final = 5.0
_PAUSE_S: Final = (2.0, 5.0)
_OVERLAPS: Final = 1 / 3
_RECOVERY_S: Final = 6.0
"""At the end people play on for so long, so that the recovery from the last fault is seen."""

_AUDIT_S: Final = 2.0
_REPORT_GAP_S: Final = 2.5
"""What a killed gateway attempted in its last moments may be in no report of it: reports go out once a second."""

_NEVER: Final = float("inf")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run ended."""

    seed: int
    minutes: float
    operations: dict[str, int]
    faults: dict[str, int]
    anomalies: list[Anomaly]
    recovery_s: dict[str, dict[str, float | None]]
    loss: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.anomalies

    def as_json(self) -> dict[str, Any]:
        """Keys are fixed: scripts read them."""
        return {
            "seed": self.seed,
            "minutes": self.minutes,
            "operations": self.operations,
            "faults": self.faults,
            "anomalies": count(self.anomalies),
            "recovery_s": self.recovery_s,
            "loss": self.loss,
            "ok": self.ok,
        }


@dataclass(slots=True)
class Run:
    """One run in one folder, which keeps its history."""

    folder: Path
    minutes: float
    faults: Sequence[str]
    seed: int
    say: Say
    extra: dict[str, str] = field(default_factory=dict)
    """Environment of the watched processes, beside their settings."""

    settle_s: float = 90.0
    """How long effects and accounts are waited for at the end."""

    async def run(self) -> Verdict:
        """Start, play under faults, settle, collect, judge; nothing runs any more when this returns or raises."""
        cluster = Cluster(self.folder, extra=self.extra)
        own = HistoryWriter(self.folder / "history" / "players.jsonl")
        try:
            self.say("starting three brokers, Redis, two gateways and four processors ...")
            await cluster.start()
            acked = await self._play(cluster, own)
            self.say("settling ...")
            for name in GATEWAYS:
                await cluster.remove(name)
            await self._settle(cluster, acked)
            # What follows keeps this process busy, and with it the proxies.
            for name in (*REALTIME, *DURABLE):
                await cluster.remove(name)
            events = await self._collect(cluster, own)
        finally:
            own.close()
            await cluster.stop()
        return self._judge(events)

    async def _play(self, cluster: Cluster, history: HistoryWriter) -> set[tuple[str, str, str]]:
        """Returns what was acknowledged: room, client and id."""
        players = self._players(cluster, history)
        async with asyncio.TaskGroup() as tasks:
            for player in players:
                tasks.create_task(player.run())
            auditing = tasks.create_task(self._audit(cluster, history))
            try:
                await asyncio.sleep(_WARM_UP_S)
                await self._break(cluster, history)
                await asyncio.sleep(_RECOVERY_S)
            finally:
                auditing.cancel()
                for player in players:
                    player.stop()
        return {name for player in players for name in player.acked}

    async def _audit(self, cluster: Cluster, history: HistoryWriter) -> None:
        """Read the account of every stream again and again, as an operator would: it has to hold each time."""
        assert cluster.servers is not None
        redis = RedisSettings(url=cluster.servers.redis)
        while True:
            await asyncio.sleep(_AUDIT_S)
            boots = [boot for of_gateway in cluster.boots.values() for boot in of_gateway]
            # No Redis, no report.
            with suppress(StateError, TimeoutError):
                for ledger in await collect_ledgers(redis, cluster.catalog, boots):
                    history.write(ledger)

    def _players(self, cluster: Cluster, history: HistoryWriter) -> list[Player]:
        def token_of(sub: str, role: str) -> str:
            return mint_token(cluster.secret, sub=sub, role=Role(role), now_ms=time.time_ns() // 1_000_000)

        configs = []
        for index, room in enumerate(_ROOMS):
            urls = cluster.urls
            configs.append(PlayerConfig(f"referee.{room}", urls[index % len(urls)], room, "server"))
            for number in range(_PLAYERS_PER_ROOM):
                url = urls[(index + number) % len(urls)]
                configs.append(PlayerConfig(f"player.{room}.{number}", url, room, "player"))
        return [Player(config, token_of=token_of, catalog=cluster.catalog, history=history) for config in configs]

    async def _break(self, cluster: Cluster, history: HistoryWriter) -> None:
        """Inject one fault after the other until the time is over; each of them once before any comes again. One in three begins
        while the one before it lasts."""
        rng = Random(self.seed)  # noqa: S311 - a schedule, no secret
        began = time.monotonic()
        deadline = began + self.minutes * 60
        waiting: list[str] = []
        async with asyncio.TaskGroup() as lasting:
            while self.faults and time.monotonic() < deadline:
                waiting = waiting or rng.sample(list(self.faults), len(self.faults))
                kind = FAULTS[waiting.pop()]
                # All is drawn before anything happens, so that the machine has no part in it.
                pause_s, overlap, lasts = rng.uniform(*_PAUSE_S), rng.random() < _OVERLAPS, rng.random()
                own = Random(rng.random())  # noqa: S311
                await asyncio.sleep(pause_s)
                fault = lasting.create_task(self._inject(kind, cluster, own, history, began))
                if overlap:
                    await asyncio.sleep(kind.duration_s * lasts)
                else:
                    await asyncio.wait([fault])
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))

    async def _inject(
        self, kind: FaultKind, cluster: Cluster, rng: Random, history: HistoryWriter, began: float
    ) -> None:
        injected_at = time.monotonic()
        self.say(f"{injected_at - began:6.1f} s  {kind.name}: {kind.imitates}")
        async with kind.inject(cluster, rng):
            await asyncio.sleep(kind.duration_s)
        healed_at = time.monotonic()
        history.write(Fault(kind.name, injected_at, healed_at))
        self.say(f"{healed_at - began:6.1f} s  {kind.name} healed")

    async def _settle(self, cluster: Cluster, acked: set[tuple[str, str, str]]) -> None:
        """Wait until Redis has what was acknowledged and every stream has its last account, or for a while."""
        assert cluster.servers is not None
        redis = RedisSettings(url=cluster.servers.redis)
        boots = [boot for of_gateway in cluster.boots.values() for boot in of_gateway]
        deadline = time.monotonic() + self.settle_s
        while time.monotonic() < deadline:
            effects = await collect_effects(redis, await cluster.present_catalog(), _ROOMS)
            missing = acked - {(effect.room, effect.client, effect.id) for effect in effects}
            open_streams = await self._open_streams(redis, cluster.catalog, boots)
            if not missing and not open_streams:
                return
            await asyncio.sleep(1.0)
        self.say(f"not settled after {self.settle_s:.0f} s")

    async def _open_streams(self, redis: RedisSettings, catalog: Catalog, boots: list[str]) -> bool:
        ledgers = await collect_ledgers(redis, catalog, boots)
        return not ledgers or not all(ledger.ended for ledger in ledgers)

    async def _collect(self, cluster: Cluster, own: HistoryWriter) -> list[Event]:
        assert cluster.servers is not None
        redis = RedisSettings(url=cluster.servers.redis)
        boots = [boot for of_gateway in cluster.boots.values() for boot in of_gateway]
        present = await cluster.present_catalog()
        logged, aliases = await collect_records(cluster.servers.kafka, cluster.catalog, present)
        events = list(place(read_history(cluster.histories), logged))
        left: list[Event] = [
            *logged,
            *await collect_effects(redis, present, _ROOMS, aliases),
            *await collect_ledgers(redis, cluster.catalog, boots),
            *_killed(cluster, events),
        ]
        for event in left:
            own.write(event)
        return [*events, *left]

    def _judge(self, events: list[Event]) -> Verdict:
        operations = Counter(
            # Nobody answers a footstep that was sent at most once.
            "footsteps_sent"
            if event.topic == footsteps.NEW_TOPIC and event.outcome == "unknown"
            else f"{event.delivery}_{event.outcome}"
            for event in events
            if isinstance(event, Attempt)
        ) + Counter(f"{event.delivery}_delivered" for event in events if isinstance(event, Delivered))
        faults = [event for event in events if isinstance(event, Fault)]
        terms = ("attempted", "processed", "dropped", "lost_on_wire", "dropped_on_failed_commit", "lost_in_crash")
        # The last of each stream: those of before are parts of it.
        by_age = sorted((event for event in events if isinstance(event, Ledger)), key=lambda ledger: ledger.at)
        ledgers = {(ledger.client, ledger.topic, ledger.partition): ledger for ledger in by_age}.values()
        return Verdict(
            seed=self.seed,
            minutes=self.minutes,
            operations=dict(sorted(operations.items())),
            faults=dict(Counter(fault.name for fault in faults)),
            anomalies=check(events),
            recovery_s=recoveries(faults, events),
            loss={term: sum(getattr(ledger, term) for ledger in ledgers) for term in (*terms, "skipped", "unknown")},
        )


def _killed(cluster: Cluster, events: Sequence[Event]) -> list[Killed]:
    return [
        Killed(
            death.boot,
            sum(
                isinstance(event, Attempt) and event.connection == death.boot and event.at > death.at - _REPORT_GAP_S
                for event in events
            ),
            death.at,
        )
        for death in cluster.deaths
        if death.boot is not None
    ]


def recoveries(faults: Sequence[Fault], events: Sequence[Event]) -> dict[str, dict[str, float | None]]:
    """From the healing of each fault until every client had a durable event acknowledged, and every player a fresh position shown."""
    acked = [
        event
        for event in events
        if isinstance(event, Attempt) and event.delivery == "durable" and event.outcome == "ok"
    ]
    published = {
        (event.client, event.id): event.at
        for event in events
        if isinstance(event, Attempt) and event.delivery == "realtime"
    }
    shown = [
        (event.publisher, said_at, event.at)
        for event in events
        if isinstance(event, Delivered)
        and event.delivery == "realtime"
        and (said_at := published.get((event.publisher, event.id))) is not None
    ]
    found: dict[str, list[float | None]] = {}
    for fault in faults:
        healed_at = fault.healed_at
        firsts: dict[tuple[str, str], float] = {}
        for client in {event.client for event in acked}:
            firsts["durable", client] = _NEVER
        for publisher, _, _ in shown:
            firsts["realtime", publisher] = _NEVER
        for event in acked:
            if event.at >= healed_at:
                key = "durable", event.client
                firsts[key] = min(firsts[key], event.at + event.took_s)
        for publisher, said_at, at in shown:
            if said_at >= healed_at:
                firsts["realtime", publisher] = min(firsts["realtime", publisher], at)
        recovered_s = max(firsts.values(), default=_NEVER) - healed_at
        found.setdefault(fault.name, []).append(None if recovered_s == _NEVER else round(recovered_s, 3))
    return {name: _spread(values) for name, values in found.items()}


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return {"max": None, "p50": None}
    return {"max": max(known), "p50": round(statistics.median(known), 3)}
