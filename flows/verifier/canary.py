"""Known damage, planted in a scratch area of a target, that verification must find before its verdict counts (R162)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from flows.copying.projection import Projection
from flows.plan import plugins
from flows.plan.model import Route
from flows.plan.own_mapper import MapFunction
from flows.plan.validation import key_names
from flows.quantities import counted
from flows.verifier.compare import compare
from flows.verifier.ledger import WRONG, Balance
from mappers.contract import Document, Losses, Record
from mappers.expiry import Expires
from stores.contract.fence import NO_FENCE, Fence
from stores.contract.target import Fenced, Listable, Removable, ScratchArea, ScratchAreas, Target
from stores.errors import LeaseLost, OfframpError, PermanentError
from stores.memory import MemorySource

_FIELD = "until"
_UNTIL = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


def _whole(number: int) -> dict[str, Any]:
    """Return a document of the canary as its source has it."""
    return {
        "_id": f"canary {number}",
        "n": 5,
        "text": "a text that is long enough to be cut",
        "list": [1, 2, 3],
        "nested": {"flag": True, "half": 0.5},
        _FIELD: _UNTIL,
    }


_DAMAGE: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "changed type": lambda was: {**was, "n": "5"},
    "truncated text": lambda was: {**was, "text": was["text"][:20]},
    "swapped array order": lambda was: {**was, "list": [2, 1, 3]},
    "stale version": lambda was: {**was, "n": 4, "text": "an older text"},
    "lost field": lambda was: {name: value for name, value in was.items() if name != "nested"},
    "foreign field": lambda was: {**was, "more": None},
}
_PLACES = [*_DAMAGE, "stale TTL", "missing", "collided ids", "intact", "intact too"]
"""Which damage befalls the document of each number."""


@dataclass(frozen=True, slots=True)
class Area:
    """Where damage is planted: an empty place of its own, and the mapper whose records go there."""

    name: str
    target: Target[Record]
    mapper: MapFunction
    stale: MapFunction
    """The same, but that records expire later, where they expire at all."""


def canary(route: Route, fence: Fence = NO_FENCE) -> str:
    """Return what was planted in the route's target and found, all of it; the scratch areas are gone.

    Raises PermanentError E-VERIFY-CANARY for damage that was not found, or found as something else, and LeaseLost if
    the fence lets nothing more be planted. What was planted is removed in any case: nothing else uses these areas.
    """
    target_type = route.target_type
    if not (isinstance(target_type, type) and issubclass(target_type, ScratchAreas)):
        return f"canary: nothing was planted in {route.target_name}, which has no scratch areas for it"
    kinds: set[str] = set()
    plain = re.sub(r"[^a-z0-9]+", "-", route.name.lower()).strip("-")
    name = f"offramp-canary-{plain}-{uuid4().hex[:8]}"
    areas = target_type.scratch_areas(name)
    for area in areas:
        kinds.update(plant(_area(route, name, area), fence))
    listed = ", ".join(sorted(kinds))
    documents = counted(len(_PLACES) * len(areas), "document")
    return (
        f"canary: found all of {len(kinds)} kinds of damage planted among {documents} in"
        f" {counted(len(areas), 'scratch area')} of {route.target_name}, which are removed again: {listed}"
    )


def plant(area: Area, fence: Fence = NO_FENCE) -> Sequence[str]:
    """Return the kinds of damage planted in the area, all found by a full comparison; nothing is left there."""
    documents = [_whole(number) for number in range(len(_PLACES))]
    twin = _PLACES.index("collided ids")
    addressed = {documents[twin]["_id"]: documents[twin + 1]["_id"]}

    def mapper(document: Document, /) -> Iterable[Record]:
        # One document maps to the address of another: what stands there is right for both, and one of them is lost.
        return area.mapper({**document, "_id": addressed.get(document["_id"], document["_id"])})

    if isinstance(area.target, Fenced):
        area.target.set_fence(fence)
    try:
        area.target.prepare()
        expected = _damage(area, documents, mapper)
        projection = Projection(mapper, Losses(), area.target.records)
        seen = compare(MemorySource(documents), projection, area.target)
        found = _found(seen.balance) if seen is not None else set()
    except LeaseLost:
        raise
    except OfframpError as error:
        raise PermanentError(
            "E-VERIFY-CANARY", f"known damage could not be planted in {area.name}, so no verdict counts: {error}"
        ) from error
    finally:
        _clear(area)
    unseen = sorted({what for kind_at, what in expected.items() if kind_at not in found})
    mistaken = sorted(kind for kind, at in found if (kind, at) not in expected)
    if unseen or mistaken:
        faults = [f"not found: {', '.join(unseen)}"] if unseen else []
        faults += [f"found where there is none: {', '.join(mistaken)}"] if mistaken else []
        raise PermanentError(
            "E-VERIFY-CANARY",
            f"verification of {area.name} is not to be trusted: of damage that was planted there it has"
            f" {'; '.join(faults)}. No verdict counts; report this with the versions you use",
        )
    return sorted(set(expected.values()))


def _damage(
    area: Area, documents: Sequence[dict[str, Any]], mapper: Callable[[Document], Iterable[Record]]
) -> dict[tuple[str, str], str]:
    """The area holds the documents' records and the damage; returns kind and address of each with what was done."""
    held: dict[str, Record] = {}
    expected: dict[tuple[str, str], str] = {}
    for what, document in zip(_PLACES, documents, strict=True):
        for record in mapper(document):
            held[record.address] = record
            if what == "missing":
                del held[record.address]
                expected["missing", record.address] = what
            elif what == "collided ids":
                expected["collides", record.address] = what
            elif what in _DAMAGE or what == "stale TTL":
                (damaged,) = area.mapper(_DAMAGE[what](document)) if what in _DAMAGE else area.stale(document)
                if (damaged.canonical(), damaged.address) == (record.canonical(), record.address):
                    continue  # The target has no place for it: an index has no TTL of documents.
                held[record.address] = damaged
                expected["differs", record.address] = what
    for record in area.mapper(_whole(len(_PLACES))):
        held[record.address] = record
        expected["extra", record.address] = "extra"
    if refused := area.target.write(list(held.values())):
        raise PermanentError(refused[0].code, refused[0].reason)
    return expected


def _found(balance: Balance) -> set[tuple[str, str]]:
    return {(kind, address) for kind in WRONG for address in balance.samples.get(kind, ())}


def _clear(area: Area) -> None:
    if isinstance(area.target, Fenced):
        area.target.set_fence(NO_FENCE)
    try:
        if isinstance(area.target, Removable):
            area.target.remove()
        elif isinstance(area.target, Listable):
            area.target.delete(list(area.target.addresses()))
    finally:
        area.target.close()


def _area(route: Route, name: str, scratch: ScratchArea) -> Area:
    kind = plugins.mapper_type(scratch.mapper)
    options, placed = key_names(kind.Options), key_names(route.target_type.Placement)

    def mapping(after_seconds: int) -> MapFunction:
        expiring = {"expires": Expires(_FIELD, after_seconds)} if "expires" in options else {}
        own = {key: text for key, text in scratch.keys.items() if key in options}
        return kind(kind.Options(**own, **expiring), name, Losses())

    expires = {"expires": _FIELD} if "expires" in placed else {}
    target = route.target_type(route.connection, route.target_type.Placement(**scratch.keys, **expires), name)
    return Area(f"{route.target_name} {name}", target, mapping(0), mapping(60))
