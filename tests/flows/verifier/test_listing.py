"""A listing is divided, stopped and begun anew; it is done twice only where one duplicate could hide a collision."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from flows.copying.projection import Projection
from flows.verifier.listing import list_for_pass, list_share, list_suspects
from flows.verifier.part_ledger import PartLedger, Shape
from flows.verifier.sketch import hasher
from mappers.contract import Losses
from mappers.redis.records import String
from mappers.redis.string import StringMapper
from mappers.transforms.steps import unchanged
from stores import memory
from stores.contract.target import Divided, Relisting
from stores.memory import MemoryTarget

SHAPE = Shape(b"k" * 16, 12)
HASH = hasher(SHAPE.key)
ADDRESSES = [f"k:{number}" for number in range(2_500)]


class Listing(MemoryTarget):
    """Lists its addresses, and counts how often."""

    lists_once = False
    listings = 0

    def addresses(self) -> Iterator[str]:
        self.listings += 1
        yield from ADDRESSES


class Segments(Listing, Divided):
    def addresses_of(self, share: int, shares: int, /) -> Iterator[str]:
        yield from ADDRESSES[share::shares]


class Breaking(Listing, Relisting):
    def addresses_anew(self, anew: Callable[[], object], /) -> Iterator[str]:
        yield from ADDRESSES[:1_700]
        anew()
        yield from ADDRESSES


def made(kind: type[Listing]) -> Listing:
    memory.forget("listing")
    target = kind(MemoryTarget.Connection(), MemoryTarget.Placement(), "listing")
    target.prepare()
    return target


def projection(key: str | None = None) -> Projection:
    mapper = StringMapper(StringMapper.Options(key=key), "k", Losses())
    return Projection(mapper, Losses(), (String,), guarded=False, naming=unchanged)


def counts(ledger: PartLedger, name: str) -> dict[int, int]:
    found = ledger.sketches[name].decoded()
    assert found is not None
    return dict(found)


def all_once() -> dict[int, int]:
    return {HASH(address): 1 for address in ADDRESSES}


def test_all_shares_together_are_the_whole_and_a_stop_ends_it() -> None:
    noted: list[str] = []
    for share in range(3):
        assert list_share(made(Segments), noted.extend, share, 3)
    assert sorted(noted) == sorted(ADDRESSES)
    stop = threading.Event()

    def note(addresses: object) -> None:
        stop.set()

    assert not list_share(made(Listing), note, stop=stop)


def test_a_listing_that_begins_anew_counts_nothing_twice() -> None:
    ledger = PartLedger(SHAPE)
    assert list_for_pass(made(Breaking), projection("{other}"), ledger)
    assert counts(ledger, "listed") == counts(ledger, "listed again") == all_once()


@pytest.mark.parametrize(
    ("key", "lists_once", "listings"),
    [
        ("k:{_id}", False, 1),
        ("k:{a}:{_id}", False, 1),
        ("k:{_id.a}", False, 2),
        ("k:{a}", False, 2),
        ("k:{a}", True, 1),
    ],
)
def test_it_lists_twice_only_where_a_duplicate_could_hide_a_collision(
    key: str, lists_once: bool, listings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listing, "lists_once", lists_once)
    target, ledger = made(Listing), PartLedger(SHAPE)
    assert list_for_pass(target, projection(key), ledger)
    assert target.listings == listings
    assert counts(ledger, "listed") == all_once()


def test_each_suspect_that_is_not_expected_is_looked_at_once() -> None:
    ledger = PartLedger(SHAPE, lambda seeming: [one._replace(kind="extra") for one in seeming])
    hashes = frozenset(map(HASH, ["k:1", "k:2", "k:9999"]))
    assert list_suspects(made(Breaking), ledger, hashes, {"k:2"})
    ledger.settle()
    assert [(one.kind, one.address) for one in ledger.take_found()] == [("extra", "k:1")]
    assert ledger.sums.extra == 1
