"""When players come and what is measured: a scenario laid out in seconds since its start. Pure."""

from __future__ import annotations

from itertools import pairwise
from math import inf

from gamebus_bots.scenario import Burst, Scenario, Stage


class Timeline:
    """One scenario in time: ramp, warm-up, then the measured time with its stages.

    Attributes:
        measured_from_s: when the measured time begins.
        ends_s: when it ends, and with it the sending.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.measured_from_s = scenario.ramp_s + scenario.warm_up_s
        self.ends_s = self.measured_from_s + scenario.duration_s
        self._players = scenario.players
        stages = scenario.stages or (Stage(),)
        # A first stage without way up stands for everyone who is there from the beginning.
        first = scenario.stages[0].players if scenario.stages else 1.0
        # (second, share of the players that are there), rising in both.
        self._corners = [(0.0, 0.0 if scenario.ramp_s else first), (scenario.ramp_s, first)]
        self._corners.append((self.measured_from_s, first))
        whole = sum(stage.part for stage in stages)
        at_s = self.measured_from_s
        for stage in stages:
            at_s += scenario.duration_s * stage.part / whole
            self._corners.append((at_s, stage.players))

    def comes_at_s(self, rank: int) -> float:
        """When a player comes, by its number from 0; 0: it is there before the start."""
        share = (rank + 1) / self._players
        if share <= self._corners[0][1]:
            return 0.0
        for (left_s, low), (right_s, high) in pairwise(self._corners):
            if low < share <= high:
                return left_s + (right_s - left_s) * (share - low) / (high - low)
        return inf

    def expected(self, at_s: float) -> int:
        """How many players should be there."""
        share = max((self._share(at_s, *pair) for pair in pairwise(self._corners)), default=0.0)
        return int(share * self._players + 1e-9)

    @staticmethod
    def _share(at_s: float, left: tuple[float, float], right: tuple[float, float]) -> float:
        if at_s < left[0]:
            return 0.0
        if at_s >= right[0]:
            return right[1]
        return left[1] + (right[1] - left[1]) * (at_s - left[0]) / (right[0] - left[0])


class Pace:
    """Time as the load sees it: in a burst it runs faster. Without bursts it is the time.

    Each period of a burst begins with quiet and ends with the burst.
    """

    def __init__(self, burst: Burst | None) -> None:
        self._burst = burst
        if burst is not None:
            self._quiet_s = burst.every_s - burst.for_s
            self._load = self._quiet_s + burst.for_s * burst.factor

    def time_s(self, load: float) -> float:
        """When a point of the load comes, in seconds."""
        burst = self._burst
        if burst is None or load == inf:
            return load
        periods, rest = divmod(load, self._load)
        within = rest if rest <= self._quiet_s else self._quiet_s + (rest - self._quiet_s) / burst.factor
        return periods * burst.every_s + within
