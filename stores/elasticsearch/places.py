"""Which index, and which spot in it, a route's records and addresses stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from mappers.elasticsearch.date_indices import Periods
from mappers.elasticsearch.records import IndexDocument
from stores.elasticsearch.spots import Refusal, Spot


class Places:
    """The places of one route: one index or one for each period, with a routing or without."""

    def __init__(self, periods: Periods | None, *, routed: bool) -> None:
        """Take how the route's indices are named, None for one index, and whether its documents are routed."""
        self._periods = periods
        self._routed = routed

    def misplaced(self, record: IndexDocument) -> Refusal | None:
        """Return code and reason if a record is for a place that is not the route's, else None."""
        if (record.routing is not None) != self._routed:
            return Refusal("E-ES-ROUTING", "the routing comes from the route's `routing`; a mapper cannot choose it")
        if self._periods is None:
            return (
                None
                if record.index is None
                else Refusal("E-ES-PERIOD", "it names an index, but the route has exactly one index")
            )
        if record.index is None or not self._periods.owns(record.index):
            return Refusal("E-ES-PERIOD", "its index does not match the route's `index`")
        return None

    def spots(self, addresses: Sequence[str], known: str) -> Mapping[str, list[Spot]]:
        """Return the spots that the addresses stand for, by index; a refused record's address may stand for none.

        `known` is the name of the one index, where there is one.
        """
        if self._periods is None and not self._routed:
            return {known: [Spot(address) for address in dict.fromkeys(addresses)]}
        places: dict[str, list[Spot]] = {}
        count = 1 + (self._periods is not None) + self._routed
        for address in dict.fromkeys(addresses):
            try:
                parts = orjson.loads(address)
            except orjson.JSONDecodeError:
                continue
            if not isinstance(parts, list) or len(parts) != count:
                continue
            index = known if self._periods is None else parts.pop(0)
            routing = None if not self._routed else parts.pop(0)
            if self._periods is None or self._periods.owns(index):
                places.setdefault(index, []).append(Spot(parts.pop(0), routing))
        return places

    def document(self, index: str, spot: Spot, source: bytes) -> IndexDocument:
        """Return the record that lies at the spot with this source."""
        routing = None if not self._routed else spot.routing
        return IndexDocument(spot.id, source, routing, None if self._periods is None else index)
