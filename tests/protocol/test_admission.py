"""Admission of clients that all come at once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gamebus.protocol.admission import LONGEST_WAIT_S, Admission

RATES = st.integers(1, 1000)
BURSTS = st.integers(1, 200)
GAPS = st.lists(st.floats(0, 0.1), min_size=1, max_size=200)


class TestAdmission:
    @settings(deadline=None)
    @given(rate=RATES, burst=BURSTS, gaps=GAPS)
    def test_admits_no_more_than_burst_and_rate(self, rate: int, burst: int, gaps: list[float]) -> None:
        """Those who play keep their share, however the others arrive; everyone is admitted or told when to come back (Hypothesis)."""
        admission, now, admitted = Admission(per_second=rate, burst=burst), 1_000.0, list[float]()
        for gap in gaps:
            now += gap
            wait_ms = admission.admit(now)
            if wait_ms is None:
                admitted.append(now)
            else:
                assert 0 < wait_ms <= (LONGEST_WAIT_S + 1 / rate) * 1000 + 1

        assert admission.admitted == len(admitted)
        assert admission.admitted + admission.deferred == len(gaps)
        for first, begin in enumerate(admitted):
            for last in range(first, len(admitted)):
                assert last - first + 1 <= burst + rate * (admitted[last] - begin) + 1.001

    def test_a_quiet_gateway_sends_nobody_away(self) -> None:
        """Below the rate admission is not noticed."""
        admission = Admission(per_second=100, burst=1)
        assert all(admission.admit(1_000 + number / 99) is None for number in range(500))

    @settings(deadline=None)
    @given(rate=st.integers(10, 1000), burst=BURSTS)
    def test_the_moments_are_as_far_apart_as_clients_are_let_in(self, rate: int, burst: int) -> None:
        """Who was sent away does not come back as a storm (Hypothesis)."""
        admission = Admission(per_second=rate, burst=burst)
        waits = [wait for wait in (admission.admit(50.0) for _ in range(burst + 100)) if wait is not None]

        assert len(waits) == 100
        for number, wait_ms in enumerate(waits, start=1):
            assert abs(wait_ms - number * 1000 / rate) <= 1

    def test_a_storm_that_comes_back_as_told_is_soon_over(self) -> None:
        """A thousand at once, 500 a second: all are in after about two seconds, with few sent away twice."""
        admission = Admission(per_second=500, burst=100)
        arrivals, inside, last = dict.fromkeys(range(1000), 10.0), 0, 0.0
        while arrivals:
            client, now = min(arrivals.items(), key=lambda item: item[1])
            del arrivals[client]
            wait_ms = admission.admit(now)
            if wait_ms is None:
                inside, last = inside + 1, now
            else:
                arrivals[client] = now + wait_ms / 1000

        assert inside == 1000
        assert last - 10.0 < 2.5
        assert admission.deferred < 2000

    def test_nobody_is_sent_away_for_long(self) -> None:
        """When more wait than half a minute can take, they share its moments instead of waiting without end."""
        admission = Admission(per_second=1, burst=1)
        waits = [admission.admit(0.0) for _ in range(200)]
        assert max(wait for wait in waits if wait is not None) <= (LONGEST_WAIT_S + 1) * 1000
