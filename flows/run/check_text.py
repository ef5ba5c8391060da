"""A check as lines, for the command and for the output of a worker."""

from __future__ import annotations

from collections.abc import Iterator

from flows.quantities import counted, named, number
from flows.reporting.text import table
from flows.run.check import PlanCheck


def as_lines(checked: PlanCheck, width: int | None) -> Iterator[str]:
    """Yield what was looked at, route by route and store by store, and every note; not the faults."""
    rows = []
    for route in checked.routes:
        place = route.place
        there = "" if place is None else {True: " (exists)", False: " (new)", None: ""}[place.exists]
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
    left = ("route", "collection", "target", "mapper", "place")
    yield from table(rows, left=left, width=width, spare=("mapper", "collection"))
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
    said: dict[str, list[str]] = {}
    for route in checked.routes:
        looked_at = counted(route.looked_at, "document was", "documents were")
        for note in (*([f"{looked_at} looked at"] if route.looked_at else []), *route.notes):
            said.setdefault(note, []).append(route.route)
    for note, routes in said.items():
        yield f"{named(routes)}: {note}"
