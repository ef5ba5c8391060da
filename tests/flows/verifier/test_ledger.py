"""A ledger counts what it is given, keeps the least finding of an address, and adds up in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from flows.verifier.ledger import SAMPLES, WRONG, Balance, Entry, Finding, Mismatch, balance

addresses = st.text(max_size=6) | st.sampled_from(["a", "b", "\udcff", "é", ""])
entries = st.builds(Entry, addresses, st.sampled_from(list(Finding)), st.binary(max_size=3), st.none())
UNSURE = ("missing", "differs", "inconclusive")
KINDS = [*WRONG, "same", "settled", "gone", "lapsed", "expired", "refused"]


@given(st.lists(entries, max_size=40))
def test_the_sums_are_those_of_plain_sets(expected: list[Entry]) -> None:
    found: list[Mismatch] = []
    sums = balance(expected, on_wrong=found.append)
    best: dict[str, Finding] = {}
    for entry in expected:
        best[entry.address] = min(entry.finding, best.get(entry.address, entry.finding))
    kinds = Counter(best.values())
    assert sums.records == len(expected)
    assert sums.held == kinds[Finding.SAME] + kinds[Finding.DIFFERS]
    assert (sums.differs, sums.missing) == (kinds[Finding.DIFFERS], kinds[Finding.MISSING])
    assert (sums.expired, sums.refused) == (kinds[Finding.EXPIRED], kinds[Finding.REFUSED])
    assert sums.inconclusive == kinds[Finding.INCONCLUSIVE]
    assert sums.collides == len(expected) - len(best)
    assert sums.extra is None
    total = sums.held + sums.missing + sums.collides + sums.expired + sums.refused + sums.inconclusive
    assert total == sums.records
    told = Counter(one.kind for one in found)
    assert all(told[kind] == getattr(sums, kind) for kind in (*UNSURE, "collides"))
    for one in found:
        if one.kind in UNSURE:
            assert Entry(one.address, Finding[one.kind.upper()], one.position) in expected


def test_another_look_has_the_last_word() -> None:
    asked: list[Mismatch] = []
    said = {"a": "same", "b": "settled", "c": "missing", "d": "unsettled"}

    def look(some: Sequence[Mismatch]) -> Sequence[Mismatch]:
        asked.extend(some)
        return [one._replace(kind=said[one.address]) for one in some]

    found: list[Mismatch] = []
    seen = [Entry("a", Finding.DIFFERS, b"ida"), *(Entry(at, Finding.MISSING, b"x") for at in "bcd")]
    sums = balance([*seen, Entry("ok", Finding.SAME)], look, found.append)
    assert sorted(one.address for one in asked) == list("abcd")
    assert sorted(one.address for one in found) == ["c", "d"]
    assert (sums.held, sums.settled, sums.missing, sums.unsettled, sums.differs) == (2, 1, 1, 1, 0)


def test_samples_are_few_and_name_the_address() -> None:
    sums = balance([Entry(f"a{number}", Finding.MISSING) for number in range(500)])
    assert sums.missing == 500
    assert len(sums.samples["missing"]) == SAMPLES
    assert all(address.startswith("a") for address in sums.samples["missing"])


mismatches = st.lists(st.builds(Mismatch, st.sampled_from(KINDS), addresses), max_size=30)


@given(mismatches, mismatches)
def test_parts_add_up_to_the_whole_and_survive_as_json(one: list[Mismatch], other: list[Mismatch]) -> None:
    whole, parts = Balance(), [Balance(), Balance()]
    for part, some in zip(parts, (one, other), strict=True):
        for mismatch in some:
            whole.add(mismatch)
            part.add(mismatch)
    total = Balance()
    for part in parts:
        total.merge(Balance.from_json(part.to_json()))
    assert total == whole


@given(st.sampled_from([kind for kind in KINDS if kind != "gone"]))
def test_what_is_removed_was_never_there(kind: str) -> None:
    sums = Balance(extra=0)
    sums.add(Mismatch("differs", "b"))
    before = sums.to_json() | {"samples": {"differs": ["b"]}}
    sums.add(Mismatch(kind, "a"))
    sums.remove(kind, "a")
    assert sums.to_json() | {"samples": {"differs": sums.samples["differs"]}} == before


def test_a_kind_whose_last_sample_is_removed_has_no_samples() -> None:
    sums = Balance()
    sums.add(Mismatch("differs", "a"))
    sums.remove("differs", "a")
    assert sums.samples == {}
