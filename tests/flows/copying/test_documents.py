"""Documents copied again by their ids: what is there is written, what is not there is nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import bson
import pytest

from flows.copying.documents import Recopied, copy_documents
from flows.copying.projection import Projection
from mappers.contract import Addressing, Document, Losses, MappingError, Record
from mappers.documents.decoding import CODEC
from mappers.redis.records import String
from mappers.transforms.steps import unchanged
from mappers.values.key_templates import Template
from stores import memory
from stores.contract.journal import Reject
from stores.contract.target import Rejected
from stores.errors import LeaseLost
from stores.memory import MemorySource, MemoryTarget


@dataclass
class Page:
    """What was mended."""

    ids: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    lost: bool = False

    @contextmanager
    def writing(self, documents: Sequence[bytes], /) -> Iterator[None]:
        if self.lost:
            raise LeaseLost("E-LEASE-LOST", "taken over")
        yield

    def replace_rejects(self, ids: Sequence[str], rejects: Sequence[Reject]) -> None:
        self.ids += ids
        self.rejects += rejects


class Picky(MemoryTarget):
    """Memory that refuses values that say so."""

    def write(self, records: Sequence[Any], /) -> Sequence[Rejected]:
        refused = [index for index, record in enumerate(records) if record.value == b"refuse"]
        super().write([record for index, record in enumerate(records) if index not in refused])
        return [Rejected(index, "E-MEM-REFUSED", "as it says") for index in refused]


class Keyed(Addressing):
    """A string for each of the document's values, under a key that may or may not be its `_id`'s alone."""

    def __init__(self, key: str) -> None:
        self.key = Template.parse(key)

    def __call__(self, document: Document, /) -> Iterator[Record]:
        if document["value"] == "reject":
            raise MappingError("E-MAP-VALUE", "value", "as it says")
        if document["value"] != "drop":
            yield String(self.key.fill(document), document["value"].encode())

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        return self.key.addresses(identity)


def at(identity: Any) -> bytes:
    return bson.encode({"_id": identity}, codec_options=CODEC)


def place(name: str, *records: String) -> MemoryTarget:
    memory.forget(name)
    target = Picky(MemoryTarget.Connection(), MemoryTarget.Placement(), name)
    target.prepare()
    target.write(records)
    return target


def copied(
    target: MemoryTarget,
    documents: Sequence[Mapping[str, Any]],
    ids: Sequence[Any],
    page: Page | None = None,
    key: str = "k:{_id}",
    before: Mapping[Any, Sequence[Mapping[str, Any]]] | None = None,
) -> Recopied:
    projection = Projection(Keyed(key), Losses(), (String,), naming=unchanged)
    forms = {at(one): [bson.encode(form) for form in forms] for one, forms in (before or {}).items()}
    return copy_documents(
        MemorySource(documents), projection, target, page or Page(), [at(one) for one in ids], before=forms
    )


def test_what_is_there_is_written_and_what_is_gone_dropped_rejected_or_refused_now_is_deleted() -> None:
    target = place("mixed", *(String(f"k:n:{number}", b"old") for number in range(7)))
    page = Page()
    now = [{"_id": 1, "value": "new"}, *({"_id": 2 + n, "value": wish} for n, wish in enumerate(("drop", "reject")))]
    done = copied(target, [*now, {"_id": 4, "value": "refuse"}, {"_id": 9, "value": "new"}], [1, 2, 3, 4, 5, 9], page)
    held = {key: record.value for key, record in memory.held("mixed").items() if isinstance(record, String)}
    assert held == {"k:n:0": b"old", "k:n:1": b"new", "k:n:6": b"old", "k:n:9": b"new"}
    assert (done.tally.read, done.tally.dropped, done.tally.rejected, done.tally.copied) == (5, 1, 2, 2)
    assert (len(done.absent), done.deleted) == (1, 4)
    assert sorted((one.id, one.stage) for one in page.rejects) == [("n:3", "map"), ("n:4", "write")]
    assert sorted(page.ids) == ["n:1", "n:2", "n:3", "n:4", "n:5", "n:9"]


def test_the_address_of_a_document_inserted_again_with_an_equal_id_is_not_deleted() -> None:
    """1 and 1.0 are one `_id` in MongoDB, in other bytes."""
    target = place("equal", String("k:n:1", b"old"))
    done = copied(target, [{"_id": 1.0, "value": "new"}], [1, 1.0])
    assert (len(done.absent), done.deleted) == (1, 0)
    assert list(memory.held("equal")) == ["k:n:1"]


def test_a_key_of_another_field_is_found_through_the_earlier_forms_and_spared_if_taken_since() -> None:
    target = place("moved", *(String(f"k:{name}", b"old") for name in "abcd"))
    now = [{"_id": 1, "name": "b", "value": "new"}, {"_id": 2, "name": "a", "value": "new"}]
    old = [{"_id": number, "name": name, "value": "old"} for number, name in enumerate("abc", 1)]
    before = {1: [old[0]], 2: [old[1]], 3: [old[2]]}
    done = copied(target, now, [1, 2, 3], key="k:{name}", before=before)
    held = {key: record.value for key, record in memory.held("moved").items() if isinstance(record, String)}
    assert held == {"k:a": b"new", "k:b": b"new", "k:d": b"old"}
    assert done.deleted == 1


def test_nothing_is_deleted_or_mended_once_the_lease_is_lost() -> None:
    target = place("overtaken", String("k:n:1", b"old"))
    page = Page(lost=True)
    with pytest.raises(LeaseLost):
        copied(target, [], [1], page)
    assert list(memory.held("overtaken")) == ["k:n:1"]
    assert page.ids == []
