"""The laws judged: every wrong target breaks one, and every law is broken by one."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import uuid4

import orjson
import pytest

from mappers.contract import Record
from mappers.redis.records import String
from stores.contract.target import Rejected
from stores.memory import MemoryTarget, forget, held
from stores.testing.laws import TargetLaws


@dataclass(frozen=True, slots=True)
class Note:
    """A record with something to lose."""

    address: str
    text: str
    detail: str = ""
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        return orjson.dumps([self.text, self.detail])


NOTES = [Note("a", "one", "small"), Note("b", "two", "detail"), Note("c", "three", "x")]
CHANGED = [Note("a", "uno", "more than before"), Note("b", "dos", ""), Note("c", "tres", "y")]


def several(n: int) -> list[Note]:
    return [Note(f"many {number}", f"text {number}", "detail") for number in range(n)]


def memory(kind: type[MemoryTarget], name: str) -> MemoryTarget:
    target = kind(MemoryTarget.Connection(), MemoryTarget.Placement(name=name), "route")
    target.prepare()
    return target


class KeepsTwentyFive(MemoryTarget):
    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        return super().write(records[:25])


class Appends(MemoryTarget):
    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        for record in records:
            note = cast(Note, record)
            if super().read([note.address]):
                super().write([replace(note, address=f"{note.address} {uuid4()}")])
            else:
                super().write([note])
        return ()


class AppendsUnseen(Appends):
    """Its own listing hides what was appended."""

    def addresses(self) -> Iterator[str]:
        return (address for address in super().addresses() if len(address.rpartition(" ")[2]) < 36)


class DropsDetail(MemoryTarget):
    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        return super().write([replace(cast(Note, record), detail="") for record in records])


class Merges(MemoryTarget):
    """What the new contents lack stays from the old, as an update without a removal does."""

    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        for record in records:
            note = cast(Note, record)
            old = cast(Note | None, super().read([note.address]).get(note.address))
            super().write([replace(note, detail=note.detail or (old.detail if old else ""))])
        return ()


class RemembersWithoutWriting(MemoryTarget):
    """Believes itself: reads answer from what it was told to write, and the store loses every third record."""

    def __init__(self, *options: Any) -> None:
        super().__init__(*options)
        self.told: dict[str, Record] = {}

    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        self.told.update((record.address, record) for record in records)
        return super().write([record for number, record in enumerate(records) if number % 3 != 2])

    def delete(self, addresses: Sequence[str], /) -> None:
        for address in addresses:
            self.told.pop(address, None)
        super().delete(addresses)

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Record]:
        return {address: self.told[address] for address in addresses if address in self.told}

    def addresses(self) -> Iterator[str]:
        yield from list(self.told)


class AnswersFromACache(RemembersWithoutWriting):
    """Writes all there is to write, and then never looks at the store again."""

    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        super().write(records)
        return MemoryTarget.write(self, records)

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Record]:
        return {**MemoryTarget.read(self, addresses), **super().read(addresses)}

    def addresses(self) -> Iterator[str]:
        return MemoryTarget.addresses(self)


class InventsAddresses(MemoryTarget):
    def addresses(self) -> Iterator[str]:
        yield from super().addresses()
        yield "ghost"


class ListsOnePage(MemoryTarget):
    def addresses(self) -> Iterator[str]:
        return (address for address, _ in zip(super().addresses(), range(1000), strict=False))


class ListsTwice(MemoryTarget):
    def addresses(self) -> Iterator[str]:
        for address in super().addresses():
            yield from [address] * 2


class InventsRecords(MemoryTarget):
    def read(self, addresses: Sequence[str], /) -> Mapping[str, Record]:
        return {address: Note(address, "") for address in addresses} | dict(super().read(addresses))


class ReadsAHundred(MemoryTarget):
    def read(self, addresses: Sequence[str], /) -> Mapping[str, Record]:
        return super().read(addresses[:100])


class DeletesNothing(MemoryTarget):
    def delete(self, addresses: Sequence[str], /) -> None:
        pass


class DeletesTwentyFive(MemoryTarget):
    def delete(self, addresses: Sequence[str], /) -> None:
        super().delete(addresses[:25])


class DeletesEverything(MemoryTarget):
    def delete(self, addresses: Sequence[str], /) -> None:
        super().delete(list(self.addresses()))


class DeletesOnlyWhatIsThere(MemoryTarget):
    def delete(self, addresses: Sequence[str], /) -> None:
        for address in addresses:
            super().read([address])[address]
            super().delete([address])


class FirstWriteWins(MemoryTarget):
    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        there = super().read([record.address for record in records])
        return super().write([record for record in records if record.address not in there])


class FirstOfACallWins(MemoryTarget):
    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        return super().write(records[::-1])


class RefusesARepeatedAddress(MemoryTarget):
    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        if len({record.address for record in records}) < len(records):
            raise ValueError("provided list of item keys contains duplicates")
        return super().write(records)


class ServesOneThread(MemoryTarget):
    """What other threads write is lost, as with a buffer of the thread's own that nobody flushes."""

    def __init__(self, *options: Any) -> None:
        super().__init__(*options)
        self.own = threading.get_ident()

    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        return super().write(records if threading.get_ident() == self.own else ())


class NeverTheSame(MemoryTarget):
    def prepare(self) -> str:
        super().prepare()
        return uuid4().hex


class PreparesByEmptying(MemoryTarget):
    def prepare(self) -> str:
        identity = super().prepare()
        self.delete(list(self.addresses()))
        return identity


class ChecksByEmptying(MemoryTarget):
    def check(self) -> Sequence[str]:
        self.delete(list(self.addresses()))
        return ()


class ClaimsAnotherTerritory(MemoryTarget):
    @property
    def territory(self) -> str:
        return f"{id(self)}\0"


class KnowsOtherRecords(MemoryTarget):
    @property
    def records(self) -> tuple[type[Record], ...]:
        return (String,)


class StampsRecords(MemoryTarget):
    """Changes the caller's record instead of its own copy."""

    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        for record in records:
            if not cast(Note, record).detail.endswith(" (stamped)"):
                object.__setattr__(record, "detail", f"{cast(Note, record).detail} (stamped)")
        return super().write(records)


class RejectsWhatItHolds(MemoryTarget):
    def write(self, records: Sequence[Record], /) -> Sequence[Rejected]:
        super().write(records)
        return [Rejected(0, "E-ANY", "")] if records else ()


class CountsWithoutInheriting(MemoryTarget):
    """Has what Countable asks for, which nobody will use."""

    def count(self) -> int:
        return len(list(self.addresses()))


WRONG: list[type[MemoryTarget]] = [
    CountsWithoutInheriting,
    KeepsTwentyFive,
    Appends,
    AppendsUnseen,
    DropsDetail,
    Merges,
    RemembersWithoutWriting,
    AnswersFromACache,
    InventsAddresses,
    ListsOnePage,
    ListsTwice,
    InventsRecords,
    ReadsAHundred,
    DeletesNothing,
    DeletesTwentyFive,
    DeletesEverything,
    DeletesOnlyWhatIsThere,
    FirstWriteWins,
    FirstOfACallWins,
    RefusesARepeatedAddress,
    ServesOneThread,
    NeverTheSame,
    PreparesByEmptying,
    ChecksByEmptying,
    ClaimsAnotherTerritory,
    KnowsOtherRecords,
    StampsRecords,
    RejectsWhatItHolds,
]


def laws() -> dict[str, Callable[..., None]]:
    return {name: law for name, law in inspect.getmembers(TargetLaws, inspect.isfunction) if name.startswith("test_")}


def broken(kind: type[MemoryTarget]) -> set[str]:
    """Return the laws this target breaks, each tried on a place of its own."""
    found = set()
    for name, law in laws().items():
        place = uuid4().hex
        fixtures: dict[str, Any] = {
            "target": memory(kind, place),
            "another": memory(kind, place),
            "records": [replace(note) for note in NOTES],
            "changed": [replace(note) for note in CHANGED],
            "many": several,
            "peek": lambda address, place=place: held(place).get(address),
            "count": lambda place=place: len(held(place)),
        }
        asked = list(inspect.signature(law).parameters)[1:]
        try:
            law(TargetLaws(), **{wanted: fixtures[wanted] for wanted in asked})
        except (AssertionError, KeyError, ValueError):
            found.add(name)
        forget(place)
    return found


def test_a_right_target_breaks_no_law() -> None:
    assert broken(MemoryTarget) == set()


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_target_breaks_a_law(kind: type[MemoryTarget]) -> None:
    assert broken(kind)


def test_no_law_is_kept_by_every_target() -> None:
    """A law that nothing breaks judges nothing."""
    assert set(laws()) == set().union(*(broken(kind) for kind in WRONG))


@pytest.mark.parametrize(
    ("records", "changed"),
    [
        (NOTES[:1], CHANGED[:1]),
        ([NOTES[0], NOTES[0], NOTES[1]], [CHANGED[0], CHANGED[0], CHANGED[1]]),
        (NOTES, CHANGED[::-1]),
        (NOTES, [CHANGED[0], CHANGED[1], NOTES[2]]),
        ([*NOTES[:2], Note("many 1", "")], [*CHANGED[:2], Note("many 1", "other")]),
    ],
    ids=["too few", "one address twice", "another order", "not all changed", "among the many"],
)
def test_fixtures_that_cannot_tell_are_refused(records: list[Note], changed: list[Note], unique: str) -> None:
    with pytest.raises(AssertionError):
        TargetLaws().test_the_fixtures_can_tell_a_wrong_target(
            memory(MemoryTarget, unique), records, changed, several, lambda: len(held(unique))
        )
