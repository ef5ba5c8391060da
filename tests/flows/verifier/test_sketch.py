"""A sketch tells the exact difference of two multisets or says that it cannot, whatever the order of adding."""

from __future__ import annotations

import random
from collections import Counter
from zlib import crc32

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.verifier.sketch import FEWEST_BITS, MOST_BITS, Sketch, add_cells, bits_for, capacity, hasher

KEY = b"0123456789abcdef"
addresses = st.text(max_size=4) | st.sampled_from(["a", "b", "\udcff", "\ud800", "é", ""])
multisets = st.lists(addresses, max_size=60)


def sketch(members: list[str], bits: int = 6, key: bytes = KEY) -> Sketch:
    made = Sketch(key, bits)
    made.add(members)
    return made


def difference(one: list[str], other: list[str]) -> dict[int, int]:
    hash_of = hasher(KEY)
    counts = Counter(map(hash_of, one))
    counts.subtract(map(hash_of, other))
    return {value: times for value, times in counts.items() if times}


@settings(max_examples=examples(300))
@given(multisets, multisets, st.integers(2, 8))
def test_the_difference_is_exact_or_not_told(one: list[str], other: list[str], bits: int) -> None:
    left = sketch(one, bits)
    left.add_sketch(sketch(other, bits), -1)
    found = left.decoded()
    if found is None:
        assert len(difference(one, other)) > 1
        assert bits < 6
    else:
        assert found == difference(one, other)


@given(multisets, st.integers(1, 5), st.randoms(use_true_random=False))
def test_parts_add_up_in_any_order_and_as_bytes(members: list[str], parts: int, order: random.Random) -> None:
    whole = sketch(members).to_bytes()
    shuffled = [*members]
    order.shuffle(shuffled)
    pieces = [sketch(shuffled[number::parts]).to_bytes() for number in range(parts)]
    order.shuffle(pieces)
    total = pieces[0]
    for piece in pieces[1:]:
        total = add_cells(total, piece)
    assert total == whole
    assert Sketch.from_bytes(KEY, total).decoded() == sketch(members).decoded()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("common", [0, 5_000])
def test_up_to_its_capacity_all_is_told_and_beyond_nothing_wrong(seed: int, common: int) -> None:
    bits = FEWEST_BITS
    key = seed.to_bytes(16)
    shared = [f"c{number}" for number in range(common)]
    for differing in (capacity(bits), 3 << bits, 20 << bits):
        some = [f"{seed} {number}" for number in range(differing)]
        left = sketch([*shared, *some[::2]], bits, key)
        left.add_sketch(sketch([*some[1::2], *shared], bits, key), -1)
        found = left.decoded()
        assert (found is None) == (differing > capacity(bits))
        assert found is None or found == {hasher(key)(address): 1 - 2 * (at % 2) for at, address in enumerate(some)}
        assert left.estimate() == pytest.approx(differing, rel=0.15)


def test_one_hash_many_times_needs_little_room() -> None:
    left = sketch(["a"] * 100_000 + ["b"], 2)
    left.add_sketch(sketch(["c"] * 70_000, 2), -1)
    hash_of = hasher(KEY)
    assert left.decoded() == {hash_of("a"): 100_000, hash_of("b"): 1, hash_of("c"): -70_000}


def test_a_cell_of_several_hashes_is_never_taken_for_one() -> None:
    """Sums whose place fits, as all of a cell have the same: only the CRC tells them from a hash."""
    hash_of = hasher(KEY)
    same = [address for address in map(str, range(40_000)) if hash_of(address) & 0xFF == 7][:90]
    left = sketch(same[:46], 8)
    left.add_sketch(sketch(same[46:], 8), -1)
    found = left.decoded()
    assert found is None or found == difference(same[:46], same[46:])
    assert all(crc32((value & ((1 << 96) - 1)).to_bytes(12, "little")) == value >> 96 for value in map(hash_of, same))


def test_another_key_gives_other_hashes() -> None:
    """Addresses chosen to share cells under one key do not share them under the next."""
    hash_of, other = hasher(KEY), hasher(b"another")
    chosen = [address for address in map(str, range(60_000)) if hash_of(address) & 0xFF == 7][:200]
    assert len({other(address) & 0xFF for address in chosen}) > 100
    crowded, spread = sketch(chosen, 8), sketch(chosen, 8, b"another")
    assert len(crowded.to_bytes()) < len(spread.to_bytes())
    assert spread.decoded() == {other(address): 1 for address in chosen}


def test_few_hashes_take_few_bytes_and_none_take_none() -> None:
    empty, few, many = sketch([], 15), sketch(["a", "b"], 15), sketch([str(number) for number in range(300_000)], 15)
    assert (len(empty.to_bytes()), len(few.to_bytes())) == (7, 7 + 6 * (4 + 21))
    assert len(many.to_bytes()) < 3 * (1 << 15) * 24 + 8
    many.add_sketch(sketch([str(number) for number in range(300_000)], 15), -1)
    assert many.decoded() == {}
    assert len(many.to_bytes()) == 7


def test_bits_are_the_fewest_that_hold_so_many() -> None:
    assert bits_for(0) == FEWEST_BITS
    assert bits_for(capacity(13)) == 13
    assert bits_for(capacity(13) + 1) == 14
    assert bits_for(10**9) == MOST_BITS
