"""Pacing by a clock of its own: what a place that throttles is sent, counted; no test here waits for anything."""

from __future__ import annotations

import datetime as dt
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clocks import Clock

from stores.errors import TransientError
from stores.throttling import rate_limiter as pacing
from stores.throttling.backoff import Backoff, Timing
from stores.throttling.limits import UnitsWindow, Window, ceilings
from stores.throttling.rate_limiter import Pace, Pacer, spread

NONE = ceilings((), "UTC")


class Throttled:
    """A place that takes so many units a second, by the clock, and saves up a second of it at the most."""

    def __init__(self, clock: Clock, capacity: Callable[[float], float]) -> None:
        self._clock, self._capacity = clock, capacity
        self._left, self._at = 0.0, 0.0
        self.offered = self.taken = 0

    def take(self, units: int) -> int:
        """Return how many of the units got through."""
        capacity = self._capacity(self._clock.now)
        self._left = min(capacity, self._left + capacity * (self._clock.now - self._at))
        self._at = self._clock.now
        taken = min(units, int(self._left))
        self._left -= taken
        self.offered += units
        self.taken += taken
        return taken


def paced(clock: Clock, limits: Any = NONE) -> Pacer:
    return Pacer("the place", limits, timing=Timing(clock, clock), wall=clock.wall)


def write(pacer: Pacer, clock: Clock, place: Throttled, until: float, *, request_s: float = 0.001) -> None:
    """Send 25 at a time, what was left first, as fast as the pacer lets and an answer takes."""
    waiting = 0
    while clock.now < until:
        size = 25
        turn = pacer.ask(size)
        clock.wait(request_s)
        waiting = size - place.take(size)
        pacer.record_result(turn, waiting)


@pytest.fixture(autouse=True)
def undivided() -> Iterator[None]:
    yield
    pacing.divide(1)


def test_a_place_that_never_throttles_is_never_waited_for() -> None:
    clock = Clock()
    pace = Pace(paced(clock))
    for _ in range(10_000):
        pace.record_result(pace.ask(25, 1_000_000))
    assert clock.now == 0
    assert pace.waits == pacing.Waits()


@pytest.mark.parametrize("capacity", [40, 4_000, 20_000])
def test_the_rate_settles_near_what_the_place_takes(capacity: int) -> None:
    clock = Clock()
    place = Throttled(clock, lambda _: capacity)
    pacer = paced(clock)
    write(pacer, clock, place, 20)
    began, offered, taken = clock.now, place.offered, place.taken
    write(pacer, clock, place, 140)
    seconds = clock.now - began
    assert place.taken - taken >= 0.85 * capacity * seconds
    assert place.offered - offered <= 1.1 * capacity * seconds


def test_the_rate_follows_a_place_that_takes_less_and_then_more() -> None:
    clock = Clock()
    place = Throttled(clock, lambda now: 400 if 60 <= now < 120 else 4_000)
    pacer = paced(clock)
    write(pacer, clock, place, 70)
    before = place.taken, place.offered
    write(pacer, clock, place, 120)
    assert place.taken - before[0] >= 0.85 * 400 * 50
    assert place.offered - before[1] <= 1.15 * 400 * 50
    write(pacer, clock, place, 160)
    taken = place.taken
    write(pacer, clock, place, 200)
    assert place.taken - taken >= 0.8 * 4_000 * 40


def test_a_rate_is_cut_once_for_all_that_was_under_way() -> None:
    clock = Clock()
    pacer = paced(clock)
    turns = []
    for _ in range(40):
        clock.wait(0.05)
        turns.append(pacer.ask(100))
    for turn in turns:
        clock.wait(0.05)
        pacer.record_result(turn, 100)
    assert pacer.rate == pytest.approx(1000, rel=0.2)  # Half of the 2000 a second that were offered.


def test_a_place_that_has_been_away_is_tried_every_few_seconds_and_soon_sent_to_freely() -> None:
    clock = Clock()
    pacer = paced(clock)
    while clock.now < 120:
        turn = pacer.ask(1000)
        assert turn.waited_s <= 6
        clock.wait(0.01)
        pacer.record_result(turn, 1000)
    back = clock.now
    while pacer.rate is not None:
        pacer.record_result(pacer.ask(1000))
        assert clock.now < back + 60


def test_answers_that_take_ever_longer_lower_the_rate() -> None:
    clock = Clock()
    pacer = paced(clock)
    for answer_s in [0.01] * 50 + [3.0] * 20:
        turn = pacer.ask(100)
        clock.wait(answer_s)
        pacer.record_result(turn)
    assert pacer.rate is not None


def test_a_network_that_fails_does_not_lower_the_rate() -> None:
    pacer = paced(Clock())
    for _ in range(100):
        pacer.record_result(pacer.ask(25), 25, throttled=False)
    assert pacer.rate is None


@pytest.mark.parametrize(("limits", "each"), [({"max_rate": 500}, 1), ({"max_write_units": 500}, 2.5)])
def test_a_ceiling_holds_over_all_threads(limits: Any, each: float) -> None:
    clock = Clock()
    pacer = paced(clock, ceilings((), "UTC", **limits))
    counted = Counter[str]()
    lock = threading.Lock()

    def work() -> None:
        while clock.now < 60:
            turn = pacer.ask(25, 25 * each)
            with lock:
                counted["units"] += 25 * (1 if "max_rate" in limits else each)  # type: ignore[assignment]
            pacer.record_result(turn)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work) for _ in range(8)]:
            done.result()
    # A quarter of a second may be saved up, and each thread's last request goes too.
    assert counted["units"] <= 500 * clock.now + 125 + 8 * 63
    assert counted["units"] >= 0.9 * 500 * 60


def test_a_ceiling_is_reached_and_kept() -> None:
    clock = Clock()
    pacer, place = paced(clock, ceilings((), "UTC", max_rate=500)), Throttled(clock, lambda _: 10_000)
    write(pacer, clock, place, 100)
    assert 0.97 * 50_000 <= place.offered <= 50_000 + 125 + 25


def test_a_ceiling_is_divided_by_the_processes() -> None:
    clock = Clock()
    pacing.divide(4)
    pacer, place = paced(clock, ceilings((), "UTC", max_rate=500)), Throttled(clock, lambda _: 10_000)
    write(pacer, clock, place, 100)
    assert 0.97 * 12_500 <= place.offered <= 12_500 + 32 + 25


def test_a_window_has_its_own_ceiling_by_the_clock_of_its_time_zone() -> None:
    # Noon UTC is 14:00 in Berlin in July.
    windows = (Window("14:01", "14:02", max_rate=100), Window("14:02", "14:03", max_rate=0))
    clock = Clock()
    pacer = paced(clock, ceilings(windows, "Europe/Berlin", max_rate=1000))
    place = Throttled(clock, lambda _: 10**6)
    offered = []
    for minute in range(1, 5):
        write(pacer, clock, place, 60 * minute - 0.5)
        offered.append(place.offered)
    first, second, third, fourth = (after - before for before, after in zip([0, *offered], offered, strict=False))
    assert first == pytest.approx(59_500, rel=0.03)
    assert 5_900 <= second <= 7_800  # Half a second, and one look at the clock, of the minute before.
    assert third <= 2_200  # The same: one request that had its leave, and what a look a second lets through.
    assert fourth == pytest.approx(59_500, rel=0.03)


def test_nothing_is_sent_while_a_window_shuts_and_the_wait_is_no_failure() -> None:
    clock = Clock()
    pacer = paced(clock, ceilings((Window("11:00", "13:00", max_rate=0),), "UTC"))
    backoff = Backoff(60, timing=Timing(clock, clock))
    turn = pacer.ask(1)
    assert 3600 <= clock.now <= 3602
    backoff.extend(turn.waited_s)
    assert backoff.wait()


def test_a_window_over_midnight_holds_on_both_sides_of_it() -> None:
    limits = ceilings((UnitsWindow("22:00", "06:00", max_write_units=7),), "UTC", max_write_units=5)
    at = {hour: limits.at(dt.datetime(2024, 1, 1, hour, tzinfo=dt.UTC).timestamp())[1] for hour in (5, 6, 21, 22)}
    assert at == {5: 7, 6: 5, 21: 5, 22: 7}


def test_a_process_that_is_asked_to_end_waits_no_longer() -> None:
    clock = Clock(stop_at=3)
    pacer = paced(clock, ceilings((), "UTC", max_rate=1))
    pacer.ask(100)
    with pytest.raises(TransientError) as stopped:
        pacer.ask(1)
    assert stopped.value.code == "E-STOPPED"
    assert clock.now < 5


def test_waiting_at_the_same_time_counts_once() -> None:
    clock = Clock()
    pace = Pace(paced(clock, ceilings((), "UTC", max_rate=100)))
    for _ in range(11):
        pace.ask(100)
    assert pace.waits.waited_s == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ceilings((), "UTC", max_rate=0), "max_rate: is 0; allowed: a number above 0"),
        (lambda: ceilings((), "UTC", name="max_read_rate", max_rate=-1), "max_read_rate: is -1"),
        (lambda: ceilings((), "UTC", max_write_units=float("inf")), "max_write_units: is inf"),
        (lambda: ceilings((), "UTC", max_write_units=float("nan")), "max_write_units: is nan"),
        (lambda: ceilings((), "Mars/Olympus"), "time_zone: 'Mars/Olympus' is not a time zone"),
        (lambda: ceilings((), "../etc"), "time_zone: '../etc' is not a time zone"),
        (lambda: ceilings((), ""), "time_zone: '' is not a time zone"),
        (lambda: Window("24:00", "06:00", 1), "begin: '24:00' is not a time of day"),
        (lambda: Window("22:00", "6", 1), "end: '6' is not a time of day"),
        (lambda: Window("06:00", "06:00", 1), "end: is the same as begin"),
        (lambda: Window("06:00", "07:00"), "has no ceiling; add max_rate"),
        (lambda: UnitsWindow("06:00", "07:00"), "has no ceiling; add max_rate or max_write_units"),
        (lambda: Window("06:00", "07:00", -1), "max_rate: is -1"),
        (
            lambda: ceilings((Window("22:00", "06:00", 1), Window("05:00", "07:00", 1)), "UTC"),
            "windows: two of them overlap at 05:00",
        ),
        (
            lambda: ceilings((Window("22:00", "06:00", 0), Window("06:00", "22:00", 0)), "UTC"),
            "windows: allow nothing",
        ),
    ],
)
def test_ceilings_that_cannot_be_kept_are_refused(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(ValueError) as refused:
        make()
    assert str(refused.value).startswith(told)


def test_records_of_one_key_after_another_do_not_heat_one_partition() -> None:
    """Orders of a customer follow each other in the source; eight partitions of the target, by the customer (R51)."""
    partitions = 8
    records = [(zlib.crc32(f"customer {number // 40}".encode()) % partitions) for number in range(4_000)]

    def hottest(order: list[int]) -> float:
        """The largest share that one partition has in any 50 writes in a row: what a throttle sees."""
        return max(max(Counter(order[at : at + 50]).values()) / 50 for at in range(0, len(order) - 50, 25))

    batches = [records[at : at + 1000] for at in range(0, len(records), 1000)]
    assert hottest(records) >= 0.8
    assert hottest([one for batch in batches for one in spread(batch, 25)]) <= 3 / partitions


@pytest.mark.parametrize("size", [1, 4, 25])
@pytest.mark.parametrize("length", [0, 1, 24, 25, 26, 103])
def test_spreading_loses_and_repeats_nothing(length: int, size: int) -> None:
    assert sorted(spread(range(length), size)) == list(range(length))


def test_jobs_at_work_at_the_same_time_are_far_apart() -> None:
    assert spread(range(10), 4) == [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]
