"""The laws of a target as a test suite, for the targets here and for yours.

Subclass `TargetLaws` in a test module, name the class Test…, and give it these pytest fixtures:

target     a prepared target that holds nothing
another    a second target of the same place, prepared, as another process would make it
records    three records or more, at different addresses, with every kind of value your store knows
changed    records at those same addresses, in that order, each with other contents: some smaller, some larger
many       a function: ``many(n)`` gives n records at n addresses, none of them an address of `records`
peek       a function: ``peek(address)`` gives the record held there, or None
count      a function: ``count()`` gives how many records the place holds

`peek` and `count` must reach the data with the database's own client, past the target: a target that is asked about
itself can only say what it believes. Wait there for what your store shows late; the laws never wait.

A target that is no `Listable` is not judged by the laws of listing. Nothing here imports pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mappers.contract import Record
from stores.contract.target import Listable, Target, undeclared

Records = Sequence[Record]
Many = Callable[[int], Records]
Peek = Callable[[str], Record | None]
Count = Callable[[], int]

MANY = 1_100
"""More than any batch limit we know of (25, 100, 500, 1,000)."""
THREADS = 4


class TargetLaws:
    """The laws; see the module's text for the fixtures they need."""

    def test_the_fixtures_can_tell_a_wrong_target(
        self, target: Target[Any], records: Records, changed: Records, many: Many, count: Count
    ) -> None:
        """The records differ where they must, or no other law would mean anything."""
        for sentence in undeclared(type(target)):
            _law(False, sentence)
        addresses = _addresses(records)
        _law(len(set(addresses)) == len(addresses) >= 3, "`records` must be three or more at different addresses")
        _law(_addresses(changed) == addresses, "`changed` must have the addresses of `records`, in their order")
        _law(
            all(old.canonical() != new.canonical() for old, new in zip(records, changed, strict=True)),
            "each of `changed` must differ from the one of `records`",
        )
        others = set(_addresses(many(10)))
        _law(len(others) == 10, "`many(10)` must have ten addresses")
        _law(not others & set(addresses), "`many` must not use the addresses of `records`")
        for record in (*records, *changed, *many(10)):
            _law(isinstance(record, target.records), f"{type(record).__name__} is not among the target's `records`")
        _law(count() == 0, "`target` must hold nothing at first")

    def test_an_address_says_the_same_each_time(self, target: Target[Any], records: Records) -> None:
        """A record's address and canonical form do not change, neither by asking nor by being written."""
        before = [(record.address, record.canonical()) for record in records]
        _write(target, records)
        _law([(record.address, record.canonical()) for record in records] == before, "a record changed when written")

    def test_what_is_written_is_held(self, target: Target[Any], records: Records, peek: Peek, count: Count) -> None:
        """read(write(r)) == r, and the store itself says the same."""
        _write(target, records)
        _holds(target, records, peek, count)

    def test_writing_twice_is_writing_once(
        self, target: Target[Any], records: Records, peek: Peek, count: Count
    ) -> None:
        """A record written again replaces itself: in a later call, and within one."""
        _write(target, records)
        _write(target, records)
        _write(target, [*records, *records])
        _holds(target, records, peek, count)

    def test_the_last_write_wins(
        self, target: Target[Any], records: Records, changed: Records, peek: Peek, count: Count
    ) -> None:
        """A later call replaces the whole record; nothing of the old contents is left."""
        for contents in (records, changed, records):
            _write(target, contents)
            _holds(target, contents, peek, count)

    def test_the_last_write_within_a_call_wins(
        self, target: Target[Any], records: Records, changed: Records, peek: Peek, count: Count
    ) -> None:
        """Of two records for one address in one call, the later one stays."""
        _write(target, [*records, *changed])
        _holds(target, changed, peek, count)
        _write(target, [record for pair in zip(changed, records, strict=True) for record in pair])
        _holds(target, records, peek, count)

    def test_deleted_is_absent(self, target: Target[Any], records: Records, peek: Peek, count: Count) -> None:
        """A deleted address holds nothing, its neighbours stay, and it can be written again."""
        first, *others = records
        _write(target, records)
        target.delete([first.address])
        _law(peek(first.address) is None, f"{first.address!r} was deleted but the store still holds it")
        _law(not target.read([first.address]), f"{first.address!r} was deleted but is read")
        _holds(target, others, peek, count)
        _write(target, [first])
        _holds(target, records, peek, count)

    def test_deleting_what_is_not_there_does_nothing(
        self, target: Target[Any], records: Records, many: Many, peek: Peek, count: Count
    ) -> None:
        """Absent addresses, the same address twice, and no address at all are fine to delete."""
        absent = _addresses(many(3))
        target.delete(absent)
        _write(target, records)
        target.delete([*absent, *absent])
        target.delete([])
        _holds(target, records, peek, count)
        gone = [records[0].address] * 2
        target.delete(gone)
        target.delete(gone)
        _holds(target, records[1:], peek, count)

    def test_an_absent_address_is_not_in_the_answer(self, target: Target[Any], records: Records, many: Many) -> None:
        """Reading gives what is held and nothing for the rest; an address asked twice is answered."""
        absent = _addresses(many(3))
        _law(dict(target.read([])) == {}, "nothing was asked, yet something was read")
        _law(dict(target.read(absent)) == {}, "absent addresses were read")
        _write(target, [])
        _write(target, records)
        addresses = _addresses(records)
        found = target.read([*absent, *addresses, *addresses])
        _law(set(found) == set(addresses), "not exactly the addresses held are in the answer")

    def test_any_number_of_records(self, target: Target[Any], many: Many, peek: Peek, count: Count) -> None:
        """More records than any batch limit are written, read and deleted by one call each."""
        several = many(MANY)
        _write(target, several)
        _holds(target, several, peek, count)
        target.delete(_addresses(several))
        left = count()
        _law(left == 0, f"{len(several)} records were deleted but {left} are left")
        _law(not target.read(_addresses(several)), "deleted records were read")

    def test_a_listing_names_exactly_what_is_held(
        self, target: Target[Any], records: Records, changed: Records, many: Many
    ) -> None:
        """Every address held is listed, and no other; after changes and deletions too."""
        if not isinstance(target, Listable):
            return
        several = many(MANY)
        _lists(target, [])
        _write(target, records)
        _write(target, changed)
        _lists(target, records)
        _write(target, several)
        _lists(target, [*records, *several])
        target.delete(_addresses(several[::2]))
        _lists(target, [*records, *several[1::2]])

    def test_another_target_of_the_place_sees_and_changes_the_same(
        self, target: Target[Any], another: Target[Any], records: Records, changed: Records, peek: Peek, count: Count
    ) -> None:
        """Reads answer from the store, not from what this target remembers."""
        _write(target, records)
        _holds(another, records, peek, count)
        _write(another, changed)
        _holds(target, changed, peek, count)
        another.delete(_addresses(changed))
        _law(not target.read(_addresses(changed)), "the target reads what another one deleted")
        _law(another.territory == target.territory != "", "two targets of one place name different territories")

    def test_several_threads_may_use_a_target(self, target: Target[Any], many: Many, peek: Peek, count: Count) -> None:
        """What threads write and delete at the same time is all held and all gone."""
        several = many(THREADS * 100)
        shares = [several[number::THREADS] for number in range(THREADS)]

        def work(share: Records) -> None:
            for start in range(0, len(share), 10):
                part = share[start : start + 10]
                _write(target, part)
                _reads(target, part)
                target.delete(_addresses(part[:5]))

        with ThreadPoolExecutor(THREADS) as threads:
            for done in [threads.submit(work, share) for share in shares]:
                done.result()
        kept = [
            record for share in shares for start in range(0, len(share), 10) for record in share[start + 5 : start + 10]
        ]
        _holds(target, kept, peek, count)

    def test_checking_and_preparing_again_change_nothing(
        self, target: Target[Any], another: Target[Any], records: Records, peek: Peek, count: Count
    ) -> None:
        """A place prepared again is the same place with the same records; its identity says so (or is "" for good)."""
        _write(target, records)
        first = target.prepare()
        again, elsewhere = target.prepare(), another.prepare()
        _law(first == again == elsewhere, "the same place has more than one identity")
        _law(not isinstance(target.check(), str), "check() returns several texts, not one")
        _holds(target, records, peek, count)


def _addresses(records: Iterable[Record]) -> list[str]:
    return [record.address for record in records]


def _write(target: Target[Any], records: Records) -> None:
    rejected = target.write(records)
    _law(not rejected, f"rejected: {[(rejection.index, rejection.code) for rejection in rejected][:3]}")


def _holds(target: Target[Any], records: Records, peek: Peek, count: Count) -> None:
    """The place holds exactly these records: the store says so, and so does the target."""
    for record in records:
        stored = peek(record.address)
        _law(stored is not None, f"{record.address!r} was written but the store does not hold it")
        if stored is not None:
            _law(stored.canonical() == record.canonical(), f"{record.address!r} differs in the store")
    counted = count()
    _law(counted == len(records), f"the store holds {counted} records instead of {len(records)}")
    _reads(target, records)


def _reads(target: Target[Any], records: Records) -> None:
    read = target.read(_addresses(records))
    _law(set(read) == set(_addresses(records)), f"{len(records)} records are held but {len(read)} were read")
    for record in records:
        _law(read[record.address].address == record.address, f"{record.address!r} is read with another address")
        _law(read[record.address].canonical() == record.canonical(), f"{record.address!r} is read differently")


def _lists(target: Listable, records: Records) -> None:
    addresses = [*target.addresses()]
    listed, written = set(addresses), set(_addresses(records))
    _law(not target.lists_once or len(addresses) == len(listed), "an address is listed twice, and `lists_once` is True")
    _law(not written - listed, f"{len(written - listed)} of {len(written)} addresses held are not listed")
    _law(not listed - written, f"{len(listed - written)} addresses are listed that hold nothing")


def _law(kept: bool, otherwise: str) -> None:
    # No assert statement: python -O drops those, and pytest explains them only in modules it rewrites.
    if not kept:
        raise AssertionError(otherwise)
