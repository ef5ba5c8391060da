"""The proof that `id_encoding: plain` needs: every `_id` of the route is of one kind (R31, R33)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bson import Binary

from flows.plan.model import Route, is_plain
from mappers.identity import PLAIN_KINDS
from stores.errors import PlanError
from stores.mongodb.database import MongoDB

# In BSON order binary data is sorted by length, then subtype: between these two are exactly the UUIDs.
_UUIDS: Mapping[str, Any] = {"$gte": Binary(bytes(16), 4), "$lte": Binary(b"\xff" * 16, 4)}


def prove_id_kind(route: Route, database: MongoDB) -> str:
    """Return the one kind of `_id` the route's documents have by the source's own count; "" if there are none.

    Raises PlanError, naming what was found, where there are several kinds or one without a plain text. A route with
    typed keys needs no proof and gets "" at once.
    """
    if not is_plain(route):
        return ""
    counts = route.source(database).count_by_type()
    kinds = {PLAIN_KINDS.get(name, "") for name in counts}
    if len(kinds) > 1 or "" in kinds:
        raise _refused(f"found {_listed(counts)}")
    if "binData" in counts:
        others = counts["binData"] - sum(_counted(route, database, _UUIDS).values())
        if others:
            raise _refused(f"found {others} of {counts['binData']} that are binary data but no UUID (subtype 4)")
    if "string" in counts and _counted(route, database, ""):
        raise _refused('found a document whose _id is the empty string "", which a plain key cannot contain')
    return kinds.pop() if kinds else ""


def refuse_other_id_kind(route: Route, kind: str, copied: Iterable[str]) -> None:
    """Raise PlanError if what the route's run has copied so far had an `_id` of another kind than there is now."""
    before = {PLAIN_KINDS.get(name, name) for name in copied} - {"unknown"}
    if is_plain(route) and kind and before - {kind}:
        raise PlanError(
            "E-ID-TYPE",
            f"id_encoding: plain, every _id is {kind} now, but the run has already copied ids of type"
            f" {', '.join(sorted(before))}; start over with backfill --restart",
        )


def _counted(route: Route, database: MongoDB, ids: Any) -> Mapping[str, int]:
    among: Mapping[str, Any] = {"_id": ids}
    return database.source(route.collection, {"$and": [route.where, among]} if route.where else among).count_by_type()


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {documents}" for name, documents in sorted(counts.items(), key=lambda item: -item[1]))


def _refused(found: str) -> PlanError:
    return PlanError(
        "E-ID-TYPE",
        f"id_encoding: plain needs every _id to be of one type: string, objectId, UUID, or int and long; {found}. Set"
        " id_encoding: typed, the default, or exclude the others with where:",
    )
