"""Which way to ask for a range of `_id` a server is proven to obey, and the cursors by it.

The proof is on the user's own documents, once per connection and kind of collection: from the last document on the
first one must not come, and before the first document it must not come either. That holds whatever is written
meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure

from stores.errors import PermanentError, PlanError
from stores.mongodb.answer_codes import AUTH_CODES, TRANSIENT_CODES
from stores.mongodb.bounds import Proof, Way, range_query
from stores.mongodb.errors import refusal
from stores.mongodb.flavour import BoundWay, Flavour
from stores.mongodb.id_order import CLASSES

Ask = Callable[[Mapping[str, Any]], Sequence[bytes]]
"""Returns the positions of the documents that a find with these arguments gives, in the order of `_id`."""

WAY_NAMES: Mapping[BoundWay, str] = {
    "index": "the bounds of an index (min, max)",
    "expression": "a filter by $expr",
    "brackets": "a filter by types of _id",
}


def prove(collection: str, flavour: Flavour, *, view: bool, ask: Ask) -> Proof:
    """Return the first way that the server obeys for the collection, in the order of the flavour.

    Raises pymongo's errors, except refusals of a way.
    """
    first, last = ask({"limit": 1}), ask({"limit": 1, "sort": [("_id", -1)]})
    ends = first[0] if first else None, last[0] if last else None
    left_out: dict[BoundWay, str] = {}
    ways = flavour.bound_ways
    if view:  # It has no index.
        ways = [name for name in ways if name != "index"] or ["expression"]
    for name in ways:
        way = Way(name, nan=flavour.nan)
        if ends[0] is None or ends[1] is None:
            return Proof(way, left_out, certain=False)
        try:
            if name == "brackets" and (unknown := _unknown_types(ask)):
                way = Way(name, unknown, flavour.nan)
            if _is_obeyed(collection, way, ends[0], ends[1], ask):
                return Proof(way, left_out, certain=ends[0] != ends[1])
            left_out[name] = "accepted and not obeyed"
        except OperationFailure as error:
            if not _is_refusal(error):
                raise
            left_out[name] = f"refused ({refusal(error)})"
        except PermanentError:  # An _id at an end cannot be decoded, so nothing is proven by it.
            return Proof(way, left_out, certain=False)
    return Proof(None, left_out)


def no_way(collection: str, proof: Proof) -> PlanError:
    """Return the error of a server that obeys no way."""
    tried = "; ".join(f"{WAY_NAMES[name]}: {why}" for name, why in proof.left_out.items())
    return PlanError(
        "E-SRC-BOUNDS",
        f"the source has no way to read a range of {collection!r}, so a run could not be resumed: {tried}. Run offramp"
        " check --probe for what it can do, or copy the data into a MongoDB first",
    )


def _is_obeyed(collection: str, way: Way, first: bytes, last: bytes, ask: Ask) -> bool:
    """Return whether a range from the last document on, and one that ends before the first, leave the first out."""
    from_last = ask({**range_query(collection, way, {}, last, None), "limit": 1})
    if first != last and first in from_last:
        return False
    return first not in ask({**range_query(collection, way, {}, None, first), "limit": 1})


def _unknown_types(ask: Ask) -> frozenset[str]:
    """Return the types that the server refuses to look for."""
    every_type = [{"_id": {"$type": name}} for types in CLASSES for name in types.values()]
    if _is_known({"$or": every_type}, ask):
        return frozenset()
    names = [name for types in CLASSES for name in types.values()]
    return frozenset(name for name in names if not _is_known({"_id": {"$type": name}}, ask))


def _is_known(where: Mapping[str, Any], ask: Ask) -> bool:
    try:
        ask({"filter": where, "limit": 1})
    except OperationFailure as error:
        if not _is_refusal(error):
            raise
        return False
    return True


def _is_refusal(error: OperationFailure) -> bool:
    return error.code not in TRANSIENT_CODES and error.code not in AUTH_CODES
