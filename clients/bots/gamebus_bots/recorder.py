"""Everything that the bots of one run write down. Pure: times are arguments (seconds, one monotonic clock)."""

from __future__ import annotations

from collections import Counter
from math import ceil
from random import Random
from typing import Final

from gamebus_bots.codec import SharedCodec
from gamebus_bots.config import BotsConfig
from gamebus_bots.latency import Latency, Sampler
from gamebus_bots.ledger import Flights, Ledger
from gamebus_bots.report import AckedEvent, BotsReport, BotsSnapshot, DurableCounts, LatencyMs, RealtimeCounts

# Samples a second that the bots can afford; up to it every received position is measured.
_SAMPLES_PER_S: Final = 2_000


class Recorder:
    """Counts, latencies and the ledger of one run, shared by its bots."""

    def __init__(self, config: BotsConfig) -> None:
        self._config = config
        rng = Random(config.seed)  # noqa: S311 - sampling
        others = config.players / config.rooms - 1
        updates_per_s = config.players * config.rate_hz * others
        self.sampler = Sampler(max(1, ceil(updates_per_s / _SAMPLES_PER_S)), rng)
        self.lag_sampler = Sampler(max(1, ceil(config.players * config.rate_hz / _SAMPLES_PER_S)), rng)
        self.codec = SharedCodec.msgpack()
        self.flights = Flights()
        self.ledger = Ledger()
        self.position = Latency()
        self.ack = Latency()
        self.chat = Latency()
        self.send_lag = Latency()
        self.attempted = 0
        self.sent = 0
        self.received = 0
        self.stale = 0
        self.kills = 0
        self.chats = 0
        self.reconnects = 0
        self.connected = 0
        self.dropped: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.problems: dict[str, list[str]] = {}
        # (time, sent, received, acked) of the last snapshot.
        self._last: tuple[float, int, int, int] | None = None

    def problem(self, player: str, words: str) -> None:
        """Something went wrong with a player's connection."""
        self.problems.setdefault(player, []).append(words)

    def durable(self, *, final: bool = False) -> DurableCounts:
        """Counts so far; gaps and order are looked for at the end only."""
        ledger = self.ledger
        return DurableCounts(
            published=len(ledger),
            acked=ledger.outcomes["acked"],
            nacked=ledger.outcomes["nacked"],
            unknown=ledger.outcomes["unknown"],
            delivered=sum(receiver.delivered for receiver in ledger.receivers),
            duplicates=sum(receiver.duplicates for receiver in ledger.receivers),
            gaps=len(ledger.gaps()) if final else 0,
            out_of_order=ledger.out_of_order() if final else 0,
        )

    def latency_ms(self) -> LatencyMs:
        """Percentiles so far."""
        return LatencyMs(
            *self.position.percentiles_ms(),
            *self.ack.percentiles_ms(),
            *self.chat.percentiles_ms(),
            *self.send_lag.percentiles_ms(),
            clipped=sum(latency.clipped for latency in (self.position, self.ack, self.chat, self.send_lag)),
            position_sampled_of=self.sampler.stride,
        )

    def snapshot(self, now_s: float, started_s: float | None) -> BotsSnapshot:
        """The run as it stands; each call gives rates since the one before."""
        durable = self.durable()
        present = (now_s, self.sent, self.received, durable.acked)
        last = self._last or (started_s or now_s, 0, 0, 0)
        self._last = present
        span_s = max(now_s - last[0], 1e-3)
        sent, received, acked = (round((new - old) / span_s, 1) for new, old in zip(present[1:], last[1:], strict=True))
        return BotsSnapshot(
            elapsed_s=0.0 if started_s is None else now_s - started_s,
            connected=self.connected,
            players=self._config.players,
            rooms=self._config.rooms,
            realtime_sent_per_s=sent,
            received_per_s=received,
            durable_acked_per_s=acked,
            durable=durable,
            latency_ms=self.latency_ms(),
            kills=self.kills,
            chats=self.chats,
            reconnects=self.reconnects,
            errors=dict(self.errors),
        )

    def report(self, seconds: float) -> BotsReport:
        """The outcome, once everything is over."""
        return BotsReport(
            players=self._config.players,
            rooms=self._config.rooms,
            seconds=round(seconds, 3),
            realtime=RealtimeCounts(
                attempted=self.attempted,
                sent=self.sent,
                dropped=dict(self.dropped),
                received=self.received,
                stale=self.stale,
            ),
            durable=self.durable(final=True),
            latency_ms=self.latency_ms(),
            kills=self.kills,
            chats=self.chats,
            reconnects=self.reconnects,
            foreign=self.ledger.foreign,
            errors=dict(self.errors),
            problems={player: tuple(words) for player, words in self.problems.items()},
            acked=tuple(AckedEvent(event.room, event.type, event.publisher, event.id) for event in self.ledger.acked()),
        )
