"""Whether documents fit the key that a route's plan says, seen in a sample before the target is made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from flows.connect.design import read_documents
from flows.copying.projection import route_projection
from flows.plan.model import Route
from flows.quantities import counted, number
from mappers.contract import Document, KeyChecking, KeyFault, Losses
from stores.contract.source import Source
from stores.contract.stop import NEVER
from stores.errors import PlanError

_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class KeyProof:
    """What a sample of a route's documents says of its keys."""

    documents: int
    """The documents that were looked at, 0 where no field decides a key."""
    fault: PlanError | None
    """The fault of a key that no document fits."""
    note: str
    """What a person should know of documents that do not fit, "" for none."""


def prove_keys(route: Route, source: Source) -> KeyProof:
    """Return what about a hundred documents say of the route's keys; raises the errors of reading."""
    mapper: object = route.mapper(Losses())
    if not isinstance(mapper, KeyChecking) or not mapper.keys_from_fields:
        return KeyProof(0, None, "")
    checked = mapper
    faults: Counter[KeyFault] = Counter()
    looked, unfit = 0, 0

    def look(document: Document, /) -> tuple[()]:
        nonlocal looked, unfit
        found = checked.key_faults(document)
        looked += 1
        unfit += bool(found)
        faults.update(found)
        return ()

    projection = route_projection(route, (), look, Losses())
    for raw in read_documents(source, _LOOKED_AT, NEVER):
        projection.map(raw)  # A document with another fault becomes a reject later, and says nothing of keys.
    if not unfit:
        return KeyProof(looked, None, "")
    listed = "; ".join(
        f"{fault.attribute} {fault.found} in {number(documents)}: {fault.remedy}"
        for fault, documents in faults.most_common()
    )
    if unfit < looked:
        found = f"of {counted(looked, 'document')} looked at {counted(unfit, 'does', 'do')} not fit the keys"
        text = f"{found} and would be rejected: {listed}"
        return KeyProof(looked, None, text)
    text = f"none of the {counted(looked, 'document')} looked at fits the keys of the plan: {listed}"
    return KeyProof(looked, PlanError(checked.KEY_CODE, text), "")
