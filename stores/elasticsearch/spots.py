"""Where documents lie in an index, and what cannot be sent there."""

from __future__ import annotations

from typing import NamedTuple

from mappers.elasticsearch.records import ID_LIMIT_BYTES


class Refusal(NamedTuple):
    """Code and reason of a document's reject, and the field that the server names, "" for none."""

    code: str
    reason: str
    field: str = ""


class Spot(NamedTuple):
    """Where a document lies in its index: the same id under another routing is another document (R85)."""

    id: str
    routing: str | None = None

    @property
    def possible(self) -> bool:
        """Whether a document can be held there."""
        return 0 < len(self.id.encode()) <= ID_LIMIT_BYTES and self.routing != ""

    def named(self, name: str = "routing") -> dict[str, str]:
        """Return the spot as requests carry it."""
        return {"_id": self.id} if self.routing is None else {"_id": self.id, name: self.routing}


def unfit(spot: Spot, source: bytes) -> Refusal | None:
    """Return code and reason if the record would spoil the request it travels in: the server refuses that whole."""
    size = len(spot.id.encode())
    if not 0 < size <= ID_LIMIT_BYTES:
        return Refusal("E-ES-ID", f"the id is {size} bytes; Elasticsearch takes 1 to {ID_LIMIT_BYTES}")
    if spot.routing == "":
        return Refusal("E-ES-ROUTING", "the routing is empty")
    if not source.startswith(b"{") or b"\n" in source:
        return Refusal("E-ES-JSON", "the source must be a JSON object on one line")
    return None
