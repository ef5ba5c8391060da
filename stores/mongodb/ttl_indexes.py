"""What a collection's indexes say: when its documents go, by MongoDB's own rules, and what is unique in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import bson

from mappers.documents.decoding import CODEC
from mappers.expiry import LONGEST_S, IndexExpires, as_text
from mappers.transforms.filters import compiled
from stores.errors import PlanError

Index = Mapping[str, Any]


def ttl_rule(collection: str, kind: str, indexes: Sequence[Index]) -> IndexExpires:
    """Return when documents of the collection go; raises PlanError, naming what was found, where no rule says so.

    With several TTL indexes a document goes by whichever comes first. One over several fields or over `_id` is no TTL
    index to MongoDB, whatever its `expireAfterSeconds`.
    """
    found = [_rule(collection, index) for index in _effective(indexes)]
    if not found:
        what = f"is a {kind}, which has no indexes" if kind != "collection" else f"has {_listed(indexes)}"
        raise PlanError(
            "E-SRC-TTL",
            f"expires: from_index needs a TTL index (of one field, with expireAfterSeconds), but {collection!r} {what};"
            " name the date field: {field: ..., after_seconds: ...}",
        )
    first, *others = sorted(found, key=lambda rule: (rule.field, rule.after_seconds, rule.where))
    return replace(first, others=tuple(others))


def ttl_notes(collection: str, indexes: Iterable[Index]) -> Iterator[str]:
    """Yield what a person should know of TTL indexes that add a time to their field."""
    for index in _effective(indexes):
        after_s = index["expireAfterSeconds"]
        if after_s:
            yield (
                f"{collection} has a TTL index: documents are deleted {after_s} s after"
                f" {next(iter(index['key']))!r}; a field's"
                " name in a route's `expires` means exactly that date; `expires: from_index` follows the index"
            )


def unique_notes(collection: str, indexes: Iterable[Index]) -> Iterator[str]:
    """Yield which promises of the collection's indexes no target keeps (R158)."""
    for index in indexes:
        if index.get("unique") and list(index["key"]) != ["_id"]:
            fields = ", ".join(index["key"])
            yield (
                f"{collection} has the unique index {index['name']!r} ({fields}): the target does not enforce it;"
                " the application must"
            )


def _effective(indexes: Iterable[Index]) -> Iterator[Index]:
    for index in indexes:
        if "expireAfterSeconds" in index and len(index["key"]) == 1 and "_id" not in index["key"]:
            yield index


def _rule(collection: str, index: Index) -> IndexExpires:
    ((field, order),) = index["key"].items()
    after_s = index["expireAfterSeconds"]
    where = index.get("partialFilterExpression", {})
    if where and index.get("collation", {}).get("locale", "simple") != "simple":
        reason = "has a filter and a collation, which treats different texts as equal"
    elif not isinstance(order, int | float):
        reason = f"is of the kind {order!r}, which does not order dates"
    elif not 0 <= after_s <= LONGEST_S or after_s != int(after_s):  # NaN: never or at once, as the version has it.
        reason = f"has an expireAfterSeconds that is not a number of seconds from 0 to {LONGEST_S}"
    else:
        # The driver gives an index's dates without their zone.
        expression = bson.decode(bson.encode(where), CODEC)
        try:
            compiled(expression)
        except ValueError as error:
            reason = f"has a filter that offramp cannot evaluate ({error})"
        else:
            return IndexExpires(field, int(after_s), as_text(expression) if where else "")
    raise PlanError(
        "E-SRC-TTL",
        f"expires: from_index cannot follow {index['name']!r} of {collection!r}: the index {reason}; name the date"
        " field: {field: ..., after_seconds: ...}, or build the date in a view",
    )


def _listed(indexes: Sequence[Index]) -> str:
    return "the indexes " + ", ".join(
        f"{index['name']} ({', '.join(index['key'])})" + (" with expireAfterSeconds" * ("expireAfterSeconds" in index))
        for index in indexes
    )
