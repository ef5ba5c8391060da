"""A check as lines, for the command and for the output of a worker."""

from __future__ import annotations

from collections.abc import Iterator

from flows.quantities import counted, number
from flows.reporting.text import table
from flows.run.check import PlanCheck


def as_lines(checked: PlanCheck, width: int | None) -> Iterator[str]:
    """Yield what was looked at, route by route and store by store, and every note; not the faults."""
    rows = []
    for route in checked.routes:
        place = route.place
        there = "" if place is None else {True: " (exists)", False: " (to be made)", None: ""}[place.exists]
        rows.append(
            {
                "route": route.route,
                "collection": route.collection,
                "target": route.target,
                "mapper": route.mapper,
                "documents": "-" if route.documents is None else f"~{number(route.documents)}",
                "place": "" if place is None else f"{place.name}{there}",
            }
        )
    yield from table(rows, left=("route", "collection", "target", "mapper", "place"), width=width)
    yield ""
    yield f"source  {checked.source or 'could not be asked'}"
    for target in dict.fromkeys(route.target for route in checked.routes):
        places = [route.place for route in checked.routes if route.target == target and route.place is not None]
        servers = ", ".join(dict.fromkeys(place.server for place in places)) or "could not be asked"
        asked = ", ".join(dict.fromkeys(request for place in places for request in place.asked))
        yield f"{target}  {servers}" + (f"; answered {asked}; writing was not tried" if asked else "")
    yield f"state  {checked.state}"
    yield f"report  {checked.report}"
    yield from checked.notes
    for route in checked.routes:
        if route.looked_at:
            yield f"{route.route}: {counted(route.looked_at, 'document was', 'documents were')} looked at"
        for note in route.notes:
            yield f"{route.route}: {note}"
