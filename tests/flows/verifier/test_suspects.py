"""What the sketches leave open is looked into, and no more; at a shared address the least finding counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.verifier.ledger import Balance, Entry, Finding, Mismatch, balance
from flows.verifier.part_ledger import PartLedger, Shape
from flows.verifier.sketch import Sketch, hasher
from flows.verifier.suspects import (
    SuspectLedger,
    Suspects,
    TooManySuspectsError,
    find_suspects,
    hashes_from,
    resolve,
    shared_addresses,
)
from stores.state.verification import Suspect

SHAPE = Shape(b"k" * 16, 10)
HASH = hasher(SHAPE.key)


def sketches(members: Mapping[str, Sequence[str]]) -> Mapping[str, Sketch]:
    found = {}
    for name, addresses in members.items():
        found[name] = sketch = Sketch(SHAPE.key, SHAPE.bits)
        sketch.add(addresses)
    return found


def suspects(members: Mapping[str, Sequence[str]], *, lists: bool = True, distinct: bool = False) -> Suspects:
    return find_suspects(sketches(members), SHAPE, listed=lists, distinct=distinct)


def hashes(*addresses: str) -> frozenset[int]:
    return frozenset(map(HASH, addresses))


def test_equal_sets_leave_nothing_open() -> None:
    assert suspects({"listed": ["a", "b"], "expected": ["b", "a"], "absent": ["c"]}) == Suspects()


def test_what_is_listed_and_not_expected_or_expected_twice_is_looked_into() -> None:
    assert suspects({"listed": ["a", "x"], "expected": ["a"]}) == Suspects(hashes("x"), reread=True, relist=True)
    assert suspects({"listed": ["a"], "expected": ["a", "a"]}) == Suspects(hashes("a"), reread=True, relist=False)
    assert suspects({"absent": ["a", "a", "b"]}) == Suspects(hashes("a"), reread=True, relist=False)


def test_a_second_listing_shows_what_the_first_listed_twice() -> None:
    twice = {"listed": ["a", "a"], "expected": ["a", "a"]}
    assert suspects(twice) == Suspects()  # Which is why it is listed again.
    assert suspects({**twice, "listed again": ["a"]}).hashes == hashes("a")


def test_a_record_that_went_after_it_was_listed_is_looked_into_only_where_it_may_be_listed_twice() -> None:
    gone = {"listed": ["a"], "absent": ["a"]}
    assert suspects(gone, distinct=True) == Suspects()
    assert suspects(gone).hashes == hashes("a")


def test_without_a_listing_only_what_is_expected_twice_is_open() -> None:
    assert suspects({"expected": ["a", "b"], "absent": ["b", "c"]}, lists=False) == Suspects(hashes("b"), reread=True)


def test_more_than_the_cells_hold_is_an_error_and_too_many_absent_are_told() -> None:
    many = [str(number) for number in range(10_000)]
    with pytest.raises(TooManySuspectsError) as error:
        suspects({"listed": many})
    assert error.value.hashes == pytest.approx(10_000, rel=0.1)
    assert suspects({"listed": ["a"], "expected": ["a"], "absent": many}).absent_unread


@given(st.frozensets(st.integers(0, 2**128 - 1)))
def test_hashes_survive_as_bytes(some: frozenset[int]) -> None:
    assert hashes_from(Suspects(some).to_bytes()) == some


entries = st.builds(
    Entry, st.sampled_from("abc"), st.sampled_from(list(Finding)), st.binary(min_size=1, max_size=2), st.none()
)


def same(mismatches: Sequence[Mismatch]) -> Sequence[Mismatch]:
    return mismatches


@given(st.lists(entries, max_size=12), st.integers(1, 3))
def test_shared_addresses_are_counted_as_by_who_knows_all_entries(seen: list[Entry], parts: int) -> None:
    """The sums and kinds are those of a ledger of all entries, whichever part saw them."""
    expected: list[Mismatch] = []
    wanted = balance(seen, same, expected.append)
    total = Balance()
    found: list[Mismatch] = []
    known: list[Suspect] = []
    size = -(-len(seen) // parts) or 1
    for first in range(0, len(seen), size):
        ledger, suspect = PartLedger(SHAPE, same), SuspectLedger(SHAPE, hashes("a", "b", "c"))
        for entry in seen[first : first + size]:
            right = [entry.address] if entry.finding is Finding.SAME else []
            others = [] if right else [entry]
            ledger.expect(right, others)
            suspect.expect(right, others)
        ledger.settle()
        total.merge(ledger.sums)
        found += ledger.take_found()
        known += suspect.take_suspects()
    resolved = resolve(total, shared_addresses(known), found, same)
    assert {(one.kind, one.address) for one in resolved} == {(one.kind, one.address) for one in expected}
    assert total.to_json() | {"samples": None} == wanted.to_json() | {"samples": None}
    assert {kind: sorted(at) for kind, at in total.samples.items() if at} == {
        kind: sorted(at) for kind, at in wanted.samples.items()
    }


def test_a_suspect_ledger_goes_on_from_what_is_known() -> None:
    ledger = SuspectLedger(SHAPE, hashes("a"))
    assert ledger.wanted is not None
    assert [ledger.wanted(address) for address in ("a", "b")] == [True, False]
    ledger.expect(["a"], [Entry("a", Finding.MISSING, b"id1")])
    known = ledger.take_suspects()
    assert ledger.take_suspects() == []
    again = SuspectLedger(SHAPE, hashes("a"), known)
    again.expect([], [Entry("a", Finding.DIFFERS, b"id2")])
    (suspect,) = again.take_suspects()
    assert suspect.counts == {"SAME": 1, "MISSING": 1, "DIFFERS": 1}
    assert (suspect.position, suspect.other) == (b"", b"id2")
