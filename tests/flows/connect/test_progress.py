"""However long it takes and however many partitions there are, a series stays short and loses no document."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flows.connect.progress import Progress, ProgressCounter, sum_progress


def counted(steps: list[tuple[float, int]], began: float = 1_700_000_000.0) -> Progress:
    now = began

    pulse = ProgressCounter(lambda: now)
    for wait, documents in steps:
        now += wait
        pulse.add(documents)
    return pulse.progress()


STEPS = st.lists(st.tuples(st.floats(0, 10_000), st.integers(1, 1_000)), min_size=1, max_size=300)


@given(st.lists(STEPS, min_size=1, max_size=3))
def test_nothing_is_lost_and_nothing_grows(parts: list[list[tuple[float, int]]]) -> None:
    taken = [counted(steps) for steps in parts]
    assert all(len(one.counts) <= 120 for one in taken)
    series = sum_progress("copy", taken)
    assert series is not None
    assert sum(series.documents) == sum(documents for steps in parts for _, documents in steps)
    assert 1 <= len(series.documents) <= 120
    assert series.documents[0] > 0
    assert series.documents[-1] > 0
    assert series.began % series.width_s == 0
    assert series.began <= 1_700_000_000.0 + min(steps[0][0] for steps in parts)


def test_documents_are_where_they_were_done() -> None:
    series = sum_progress("copy", [counted([(0.1, 5), (0.5, 7)]), counted([(0.6, 100)])])
    assert series is not None
    assert (series.began, series.width_s, series.documents) == (1_700_000_000.0, 0.25, [5, 0, 107])


def test_where_nothing_was_done_there_is_no_series() -> None:
    assert sum_progress("copy", []) is None
    assert sum_progress("copy", [Progress()]) is None


def test_series_of_different_widths_keep_their_places() -> None:
    long = counted([(1.0, 1)] * 400)
    short = counted([(300.0, 50)])
    assert long.width_s > 2 * short.width_s
    series = sum_progress("copy", [long, short])
    assert series is not None
    at = int((1_700_000_300.0 - series.began) // series.width_s)
    assert series.documents[at] == 50 + max(series.documents[:at])
