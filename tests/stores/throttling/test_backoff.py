"""Trying again, by a clock of its own: no test here waits for anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import PermanentError, TransientError
from stores.throttling.backoff import Backoff, Left, Timing, poll, retry, retry_each, retry_rest
from stores.throttling.batches import cut

AWAY = TransientError("E-AWAY", "away")


class Clock:
    """Time that passes only where somebody waits, and a stop that is set at a time."""

    def __init__(self, stop_at: float = math.inf) -> None:
        self.now = 0.0
        self._stop_at = stop_at

    def __call__(self) -> float:
        return self.now

    def is_set(self) -> bool:
        return self.now >= self._stop_at

    def wait(self, seconds: float, /) -> None:
        self.now += seconds


def backoff(clock: Clock, deadline_s: float = 60, **keys: bool) -> Backoff:
    return Backoff(deadline_s, timing=Timing(clock, clock), **keys)


def failing(clock: Clock, until: float, attempt_s: float = 0.0, error: Exception = AWAY) -> Callable[[], float]:
    """Return a call that fails until a time, each attempt of which takes so long, and then returns the time."""

    def call() -> float:
        clock.now += attempt_s
        if clock.now < until:
            raise error
        return clock.now

    return call


def test_a_call_is_made_again_until_it_succeeds() -> None:
    clock = Clock()
    assert 30 <= retry(failing(clock, 30), backoff(clock)) < 60


def test_a_call_that_fails_at_the_deadline_raises_the_last_error() -> None:
    clock = Clock()
    with pytest.raises(TransientError) as error:
        retry(failing(clock, 100), backoff(clock))
    assert error.value is AWAY
    assert clock.now == pytest.approx(60)


def test_what_cannot_pass_is_raised_at_once() -> None:
    clock = Clock()
    with pytest.raises(PermanentError):
        retry(failing(clock, 100, error=PermanentError("E-NO", "no")), backoff(clock))
    assert clock.now == 0


def test_a_stop_ends_the_attempts() -> None:
    clock = Clock(stop_at=5)
    with pytest.raises(TransientError):
        retry(failing(clock, 100), backoff(clock))
    assert 5 <= clock.now < 25  # The wait under way is the stop's to end; none is begun after it.


def test_a_driver_s_error_is_raised_as_what_it_means() -> None:
    clock = Clock()
    with pytest.raises(TransientError) as error:
        retry(
            failing(clock, 100, error=OSError("reset")),
            backoff(clock),
            passing=(OSError,),
            gave_up=lambda last: TransientError("E-GONE", str(last)),
        )
    assert (error.value.code, type(error.value.__cause__)) == ("E-GONE", OSError)


@pytest.mark.parametrize(("from_failure", "succeeds"), [(False, False), (True, True)])
def test_the_deadline_counts_from_the_first_failure_where_the_work_itself_takes_long(
    from_failure: bool, succeeds: bool
) -> None:
    clock = Clock()
    call = failing(clock, 150, attempt_s=100)
    if succeeds:
        assert retry(call, backoff(clock, from_failure=from_failure)) >= 200
    else:
        with pytest.raises(TransientError):
            retry(call, backoff(clock, from_failure=from_failure))


def test_what_is_left_is_sent_again_and_each_progress_begins_a_new_deadline() -> None:
    clock = Clock()
    sent: list[Sequence[int]] = []

    def send(items: Sequence[int]) -> Left[int] | None:
        sent.append(items)
        clock.now += 50  # Ten such attempts take far longer than the deadline of 60 s.
        return Left(items[1:], AWAY) if items[1:] else None

    retry_rest(send, range(10), backoff(clock))
    assert [len(items) for items in sent] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("raises", [True, False])
def test_what_never_gets_through_ends_at_the_deadline(raises: bool) -> None:
    clock = Clock()

    def send(items: Sequence[int]) -> Left[int] | None:
        if raises:
            raise AWAY
        return Left(items, AWAY)

    with pytest.raises(TransientError):
        retry_rest(send, [1, 2], backoff(clock))
    assert clock.now == pytest.approx(60)


def test_nothing_is_sent_for_nothing() -> None:
    retry_rest(lambda _: pytest.fail("sent"), [], backoff(Clock()))


@given(st.lists(st.integers(1, 5), max_size=20))
def test_a_stream_that_breaks_off_goes_on_without_a_gap(lengths: list[int]) -> None:
    clock = Clock()
    reached = 0
    breaks = iter(lengths)

    def generate() -> Generator[int, None, None]:
        nonlocal reached
        for _ in range(next(breaks, 100)):
            if reached == 60:
                return
            clock.now += 30
            reached += 1
            yield reached
        raise AWAY

    assert list(retry_each(generate, backoff(clock, from_failure=True))) == list(range(1, 61))


def test_a_listing_that_begins_anew_makes_no_progress_by_what_it_repeats() -> None:
    clock = Clock()

    def generate() -> Generator[int, None, None]:
        yield 1
        raise AWAY

    with pytest.raises(TransientError):
        list(retry_each(generate, backoff(clock, from_failure=True), resumes=False))
    assert clock.now == pytest.approx(60)


def test_a_stream_that_is_left_is_closed() -> None:
    closed: list[bool] = []
    made: list[Generator[int, None, None]] = []  # Else the interpreter would close what nobody refers to.

    def listing() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            closed.append(True)

    def generate() -> Generator[int, None, None]:
        made.append(listing())
        return made[-1]

    items = retry_each(generate, backoff(Clock()))
    assert next(items) == 1
    items.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_a_condition_is_looked_at_until_it_is_true_or_the_deadline_passes() -> None:
    clock = Clock()
    assert poll(lambda: clock.now > 30, backoff(clock)) is True
    assert poll(lambda: clock.now > 300, backoff(clock)) is False


@given(st.lists(st.integers(0, 30)), st.integers(1, 5), st.integers(1, 50))
def test_what_is_cut_is_whole_in_order_and_within_both_limits(sizes: list[int], most: int, most_bytes: int) -> None:
    items = list(enumerate(sizes))
    parts = list(cut(iter(items), most, most_bytes, lambda item: item[1]))
    assert [item for part in parts for item in part] == items
    for part in parts:
        assert 1 <= len(part) <= most
        assert len(part) == 1 or sum(size for _, size in part) <= most_bytes
    for part, following in pairwise(parts):
        assert len(part) == most or sum(size for _, size in [*part, following[0]]) > most_bytes


@given(st.lists(st.integers()), st.integers(1, 5))
def test_what_is_cut_by_number_alone_fills_each_part(items: list[int], most: int) -> None:
    parts = list(cut(items, most))
    assert [item for part in parts for item in part] == items
    assert all(len(part) == most for part in parts[:-1])
