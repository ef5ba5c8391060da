"""The collector's thresholds while documents pass."""

from __future__ import annotations

import gc
import weakref

from flows.connect.gc_tuning import collect_seldom


class Node:
    """What can be a cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_of_an_earlier_body_is_collected_in_a_later_one() -> None:
    with collect_seldom():
        with collect_seldom():
            garbage = weakref.ref(Node())
        with collect_seldom():
            gc.collect()
            assert garbage() is None


def test_thresholds_are_the_usual_ones_after_the_last_body() -> None:
    usual = gc.get_threshold()
    with collect_seldom(), collect_seldom():
        assert gc.get_threshold() > usual
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == 0
