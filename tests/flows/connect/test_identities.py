"""A place that is gone, or another of its name, is not made and not taken for the one that was copied to (R137)."""

from __future__ import annotations

import pytest

from flows.connect.identities import confirm_target, prepare_again, refuse_absent, refuse_other_source
from stores.contract.target import Identified, Inspectable, Place
from stores.errors import PermanentError
from stores.memory import MemoryTarget
from stores.state.partitions import RouteState


def known(target: str) -> RouteState:
    return RouteState({}, "collection 1", target, 0.0, 0.0, None)


class _Shelf(MemoryTarget, Inspectable):
    """A place in memory that says whether it exists."""

    def inspect_place(self) -> Place:
        return Place("memory", "shelf 1", self.identity() is not None, ())


def shelf(name: str) -> _Shelf:
    return _Shelf(MemoryTarget.Connection(), MemoryTarget.Placement(name), "things")


def test_a_place_that_was_deleted_is_refused_before_it_is_made_again(unique: str) -> None:
    target = shelf(unique)
    for refuse in (prepare_again, confirm_target, refuse_absent):
        with pytest.raises(PermanentError, match="deleted since the run began") as refused:
            refuse(target, known("place 1"))
        assert (refused.value.code, "--restart" in refused.value.message) == ("E-MADE-ANEW", True)
        assert target.identity() is None


def test_another_place_of_the_name_is_refused_and_the_same_one_is_not(unique: str) -> None:
    target = shelf(unique)
    identity = target.prepare()
    for refuse in (prepare_again, confirm_target):
        with pytest.raises(PermanentError, match="deleted and recreated") as refused:
            refuse(target, known("place 1"))
        assert refused.value.code == "E-MADE-ANEW"
        refuse(target, known(identity))
    refuse_absent(target, known("place 1"))


def test_a_target_that_cannot_tell_is_prepared_first(unique: str) -> None:
    class Plain:
        def prepare(self) -> str:
            return "place 2"

    assert not isinstance(Plain(), Identified)
    with pytest.raises(PermanentError, match="deleted and recreated"):
        prepare_again(Plain(), known("place 1"))  # type: ignore[arg-type]


def test_a_place_of_a_route_that_was_never_copied_is_no_place_that_was_deleted(unique: str) -> None:
    target = shelf(unique)
    with pytest.raises(PermanentError, match="no shelf 1 yet; run backfill first") as refused:
        refuse_absent(target, None)
    assert refused.value.code == "E-NOT-COPIED"
    target.prepare()
    refuse_absent(target, None)


def test_another_collection_of_the_name_is_refused() -> None:
    refuse_other_source(known("place 1"), "collection 1")
    with pytest.raises(PermanentError, match="the collection was dropped and recreated"):
        refuse_other_source(known("place 1"), "collection 2")
