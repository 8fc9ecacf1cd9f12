"""Everything that the bots of one process write down. Pure: times are arguments (seconds, one monotonic clock)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from math import ceil, isnan
from random import Random
from typing import Final

from gamebus_bots.codec import SharedCodec
from gamebus_bots.config import BotsConfig
from gamebus_bots.flights import Flights, Watch, pairs
from gamebus_bots.inbox import Inbox
from gamebus_bots.latency import Latency, Sampler
from gamebus_bots.lean_connection import Traffic
from gamebus_bots.ledger import Ledger
from gamebus_bots.tally import RESPONSE, SERVICE, TIMED, Point, Tally, key

# Samples a second that the bots can afford of each kind; up to it everything is measured.
_SAMPLES_PER_S: Final = 4_000
_COUNTED: Final = ("attempted", "sent", "received", "acked", "delivered", "bytes_sent", "bytes_received", "connected")


class Recorder:
    """Counts, latencies and the ledger of one process, shared by its bots."""

    def __init__(self, config: BotsConfig) -> None:
        scenario = config.scenario
        rng = Random(config.seed)  # noqa: S311 - sampling
        count = len(config.ranks)
        others = max(1.0, scenario.players / scenario.rooms - 1)
        self._pairs_limit = max(1, int(_SAMPLES_PER_S / scenario.rate_hz))
        self._rng = rng
        self.lag_sampler = _sampler(count * scenario.rate_hz, rng)
        self.chat_sampler = _sampler(count * scenario.chat_hz * others, rng)
        self.codec = SharedCodec.msgpack()
        self.traffic = Traffic()
        self.inbox = Inbox(waited=self._read_late)
        self.flights = Flights()
        self.watches: list[Watch] = []
        self.ledger = Ledger()
        self.tally = Tally()
        self.counts: Counter[str] = self.tally.counts
        self._window = (float("inf"), float("inf"))
        # Responses of the present interval; totals take them when it closes.
        self._current = {name: Latency() for name in TIMED}
        self._last: Counter[str] = Counter()
        self._opened_s = float("inf")

    def watch(self, rooms: list[list[str]], *, without: Collection[str]) -> dict[str, Watch]:
        """Choose who watches whom; receiver -> its watch.

        Args:
            without: players whose waiting is not measured.
        """
        chosen, total = pairs(rooms, self._pairs_limit, self._rng)
        chosen = [pair for pair in chosen if pair[0] not in without]
        self.counts["pairs"], self.counts["pairs_watched"] = total, len(chosen)
        watches: dict[str, Watch] = {}
        for receiver, player in chosen:
            watches.setdefault(receiver, Watch(self.flights)).players.append(player)
        self.watches = list(watches.values())
        return watches

    def measure(self, from_s: float, until_s: float) -> None:
        """Set the measured time: latencies of what is planned in it are kept."""
        self._window = (from_s, until_s)

    def measures(self, planned_s: float) -> bool:
        """Whether a planned time is in the measured time."""
        return self._window[0] <= planned_s < self._window[1]

    def took(self, name: str, planned_s: float, sent_s: float, now_s: float) -> None:
        """Something planned and sent has come; NaN: it was never sent itself."""
        if self._window[0] <= planned_s < self._window[1]:
            self._current[name].record(now_s - planned_s)
            if not isnan(sent_s):
                self.tally.latencies[key(name, SERVICE)].record(now_s - sent_s)

    def lagged(self, planned_s: float, now_s: float) -> None:
        """Something was sent."""
        if self._window[0] <= planned_s < self._window[1]:
            self.tally.latencies["send_lag"].record(now_s - planned_s)

    def _read_late(self, came_s: float, now_s: float) -> None:
        if self._window[0] <= came_s < self._window[1]:
            self.tally.latencies["read_lag"].record(now_s - came_s)

    def open_interval(self, now_s: float) -> None:
        """The measured time begins: what was counted before belongs to no interval."""
        self._last, self._opened_s = self._running(), now_s

    def close_interval(self, now_s: float, *, at_least_s: float = 0.0) -> None:
        """An interval of the measured time is over; nothing happens when it is shorter than that, or none began."""
        span_s = now_s - self._opened_s
        if span_s < at_least_s:
            return
        self._opened_s = now_s
        running = self._running()
        counts = Counter({name: running[name] - self._last[name] for name in _COUNTED if name != "connected"})
        counts["connected"] = running["connected"]
        self._last = running
        encoded = {name: latency.encoded() for name, latency in self._current.items() if len(latency)}
        self.tally.points.append(Point(span_s, counts, encoded))
        self._to_totals()

    def finish(self, now_s: float) -> Tally:
        """The outcome, once everything is over: what has not come by now is as late as it is now."""
        counts, ledger = self.counts, self.ledger
        for watch in self.watches:
            for planned_s, sent_s in watch.unseen():
                if self.measures(planned_s) and not isnan(sent_s):
                    counts["unseen"] += 1
                    self.took("position", planned_s, sent_s, now_s)
            counts["stale"] += watch.stale
            self.tally.latencies[key("position", RESPONSE)].clipped += watch.forgotten
        self._to_totals()
        counts |= self._elsewhere()
        for receiver, event in ledger.gaps():
            counts["missed_after_resume" if receiver.was_away(event) else "gaps"] += 1
        counts["out_of_order"] = ledger.out_of_order()
        counts["foreign"] = ledger.foreign
        return self.tally

    def live(self) -> Tally:
        """The run as it stands: counts and latencies, without what only the end can tell."""
        totals = {key(name, RESPONSE): self.tally.latencies[key(name, RESPONSE)] for name in TIMED}
        live = Tally(counts=self._running(), errors=self.tally.errors)
        live.latencies = {
            name: Latency.sum((total, self._current[name.partition(".")[0]])) for name, total in totals.items()
        }
        live.latencies["send_lag"] = self.tally.latencies["send_lag"]
        return live

    def _running(self) -> Counter[str]:
        return Counter({**self.counts, **self._elsewhere()})

    def _elsewhere(self) -> Counter[str]:
        """Counts that are kept by others."""
        ledger, traffic = self.ledger, self.traffic
        receivers = ledger.receivers
        return Counter(
            {
                "published": len(ledger),
                "acked": ledger.outcomes["acked"],
                "nacked": ledger.outcomes["nacked"],
                "unknown": ledger.outcomes["unknown"],
                "delivered": sum(receiver.delivered for receiver in receivers),
                "duplicates": sum(receiver.duplicates for receiver in receivers),
                "resumed": sum(receiver.resumed for receiver in receivers),
                "not_recovered": sum(receiver.not_recovered for receiver in receivers),
                "connections": traffic.connections,
                "bytes_sent": traffic.bytes_sent,
                "bytes_received": traffic.bytes_received,
                "frames_sent": traffic.frames_sent,
                "frames_received": traffic.frames_received,
            }
        )

    def _to_totals(self) -> None:
        for name, latency in self._current.items():
            if len(latency):
                self.tally.latencies[key(name, RESPONSE)].add(latency)
                self._current[name] = Latency()


def _sampler(per_s: float, rng: Random) -> Sampler:
    return Sampler(max(1, ceil(per_s / _SAMPLES_PER_S)), rng)
