"""Which records at a route's place may be the route's own: nothing else is ever deleted as an extra."""

from __future__ import annotations

from collections.abc import Container, Sequence

from flows.copying.projection import Projection
from mappers.contract import Record
from stores.contract.target import Target
from stores.throttling.batches import cut

NOT_OF_THE_ROUTE = "not of this route, as no document would make such a record there"
INDISTINCT = (
    "what another program keeps at such addresses in the same form cannot be told from the route's own records and is"
    " deleted as well"
)
SHOWN = 5
"""Addresses of records of other programs that are named."""
_AT_ONCE = 500


def foreign_addresses(
    target: Target[Record], projection: Projection, addresses: Sequence[str], made: Container[type[Record]]
) -> list[str]:
    """Return those of the addresses that hold a record now which the route cannot have made, in their order.

    The mapper tells by address and content. Where it cannot, the types of records that it was seen to make, `made`,
    tell, unless the target holds a single type: then nothing is foreign, and nothing is read.
    """
    if not projection.recognizes and len(target.records) == 1:
        return []
    foreign: list[str] = []
    for batch in cut(addresses, _AT_ONCE):
        held = target.read(batch)
        for address in batch:
            record = held.get(address)
            if record is None:
                continue
            own = projection.may_have_made(record) if projection.recognizes else type(record) in made
            if not own:
                foreign.append(address)
    return foreign


def is_indistinct(target: Target[Record], projection: Projection) -> bool:
    """Return whether records of other programs may share the route's place and cannot be told from its own.

    A target of a single type of record has places, such as tables, that a route has for itself.
    """
    return len(target.records) > 1 and projection.takes_any
