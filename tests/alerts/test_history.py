"""What is kept of processes, and what can be said of them from that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gamebus.alerts.history import SILENT_S, SPAN_S, Fleet, Observation, ProcessHistory, Selector, Subject
from tests.alerts.kit import GATEWAY, OTHER, PROCESSOR, Scene

EVENTS = Selector("events_total")
LABELLED = Selector("errors_total", "code", ("a", "b"))


def observation(at_s: float, samples: dict[str, float], *, uptime_s: float = 100.0) -> Observation:
    return Observation(GATEWAY, int(at_s * 1000), uptime_s, samples)


def history(values: list[float], **options: float) -> tuple[ProcessHistory, float]:
    """A counter's values, one a second; and the time of the last one."""
    kept = ProcessHistory(observation(0, {}, **options), 0.0)
    for second, value in enumerate(values):
        kept.hear(observation(second, {"events_total": value}), (EVENTS, LABELLED), float(second))
    return kept, float(len(values) - 1)


class TestCounters:
    @given(st.lists(st.integers(0, 100), min_size=2, max_size=200), st.integers(1, int(SPAN_S)))
    def test_grow_by_the_sum_of_what_was_added(self, steps: list[int], over_s: int) -> None:
        """For every history and window, however much of it is forgotten meanwhile."""
        values = [float(sum(steps[: index + 1])) for index in range(len(steps))]
        kept, now = history(values)

        assert kept.increase(EVENTS, over_s, now) == sum(steps[1:][-over_s:])

    def test_that_begin_anew_count_from_zero(self) -> None:
        """A restart under the same name makes no negative rate."""
        kept, now = history([100, 110, 3, 5])
        assert kept.increase(EVENTS, 10, now) == 10 + 3 + 2

    def test_of_a_young_process_count_from_its_start(self) -> None:
        """What happened before it was first seen has just happened; that of an old one has not."""
        assert history([7, 8], uptime_s=1.0)[0].increase(EVENTS, 10, 1.0) == 8
        assert history([7, 8], uptime_s=60.0)[0].increase(EVENTS, 10, 1.0) == 1

    def test_with_a_label_that_appears_count_from_zero(self) -> None:
        """The first refusal of its kind is one, and other labels are not added to it."""
        kept = ProcessHistory(observation(0, {}), 0.0)
        kept.hear(observation(0, {"errors_total{code=c}": 9.0}), (LABELLED,), 0.0)
        kept.hear(
            observation(1, {"errors_total{code=c}": 9.0, "errors_total{code=a}": 2.0, "errors_total{code=b}": 1.0}),
            (LABELLED,),
            1.0,
        )
        assert kept.increase(LABELLED, 5, 1.0) == 3

    def test_of_a_dead_process_come_to_rest(self) -> None:
        """Its rate fades with the window."""
        kept, now = history([0, 10, 20])
        assert kept.increase(EVENTS, 5, now + 4.5) == 10
        assert kept.increase(EVENTS, 5, now + 5) == 0


class TestLevels:
    def test_of_a_silent_process_say_nothing(self) -> None:
        """Nobody knows how many players a dead gateway has."""
        kept, now = history([5])
        assert kept.level(EVENTS, now + SILENT_S) == 5
        assert kept.level(EVENTS, now + SILENT_S + 0.1) is None

    def test_grow_only_over_a_time_that_is_known(self) -> None:
        """A process that has just come is not growing."""
        kept, now = history([5, 50, 500])
        assert kept.growth(EVENTS, 2, now) == 495
        assert kept.growth(EVENTS, 3, now) is None


class TestSilence:
    def test_lasts_until_another_process_has_come_in_its_place(self) -> None:
        """Seen for a while in any case; one newcomer stands in for one."""
        scene = Scene()
        scene.say({GATEWAY: {}, OTHER: {}, PROCESSOR: {}})
        new = Subject("g3", "here:9", "gateway")
        for _ in range(20):
            scene.say({PROCESSOR: {}, new: {}})
        assert sorted(scene.values("ProcessSilent").values()) == [0, 0, 0, 20]

    def test_is_told_for_a_while_although_another_came_at_once(self) -> None:
        """Who looks after a restart sees that there was one."""
        scene = Scene()
        scene.say({GATEWAY: {}})
        for _ in range(6):
            scene.say({OTHER: {}})
        assert scene.values("ProcessSilent")[GATEWAY] == 6

    def test_ends_for_good_when_another_came(self) -> None:
        """Also when that one has ended in order since."""
        scene = Scene()
        scene.say({GATEWAY: {}})
        for _ in range(12):
            scene.say({OTHER: {}})
        scene.forget(OTHER)
        scene.say({PROCESSOR: {}})
        assert scene.values("ProcessSilent") == {GATEWAY: 0, PROCESSOR: 0}

    def test_of_a_process_that_speaks_again_is_over(self) -> None:
        """It hung, and may hang again."""
        scene = Scene()
        scene.say({GATEWAY: {}})
        for _ in range(12):
            scene.say({OTHER: {}})
        scene.say({GATEWAY: {}, OTHER: {}})
        for _ in range(12):
            scene.say({OTHER: {}})
        assert scene.values("ProcessSilent")[GATEWAY] == 12

    def test_of_all_at_once_is_nobodys_fault(self) -> None:
        """After an outage of Redis, or a pause of the observer, everybody has time to say something."""
        scene = Scene()
        scene.say({GATEWAY: {}})
        scene.now += 30
        scene.say({})
        assert scene.values("ProcessSilent") == {GATEWAY: 0}

    def test_of_a_process_that_is_forgotten_ends(self) -> None:
        """Its vitals expire after a minute."""
        scene = Scene()
        scene.say({GATEWAY: {}, OTHER: {}})
        scene.forget(GATEWAY)
        scene.say({OTHER: {}})
        assert scene.values("ProcessSilent").keys() == {OTHER}


class TestMemory:
    def test_is_bounded(self) -> None:
        """A minute of each process that is there, and nothing of those that are not."""
        fleet = Fleet([EVENTS])
        for second in range(1000):
            subject = Subject(str(second), "", "gateway")
            fleet.observe([observation(second, {"events_total": 1.0}), Observation(subject, 1, 1.0, {})], float(second))
        assert len(fleet.processes) == 2
        assert max(len(process._points) for process in fleet.processes) <= SPAN_S + 2
