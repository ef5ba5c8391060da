"""The TTL rule of `expires: from_index`: read from the source in every run, and part of what a run may not change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from flows.plan.model import Route, left_out
from mappers.contract import option_declarations
from mappers.expiry import FROM_INDEX, IndexExpires
from mappers.transforms.filters import fields
from stores.errors import PlanError
from stores.mongodb.database import MongoDB


def read_ttl_rule(route: Route, database: MongoDB) -> IndexExpires | None:
    """Return what the TTL indexes of the route's collection say, None for a route that does not ask them.

    Raises PlanError where there is none, or where its field is not among those the route takes along.
    """
    if option_declarations(route.options).expires != FROM_INDEX:
        return None
    found = database.source(route.collection).expiry()
    for rule in (found, *found.others):
        for field in (rule.field, *fields(rule.filter)):
            if left_out(field, route.keys.fields):
                raise PlanError(
                    "E-SRC-TTL", f"expires: from_index needs {field!r}, which `fields` leaves out; let it go along"
                )
    return found


def describe_rule(rule: IndexExpires | None) -> Iterator[str]:
    """Yield a sentence for each TTL index that the rule is made of."""
    for index in (rule, *rule.others) if rule is not None else ():
        which = " where the index's filter matches" if index.where else ""
        yield f"expires {index.after_seconds} s after {index.field!r}{which}, as the collection's TTL index says"


def resolve_expires(route: Route, rule: IndexExpires | None) -> Route:
    """Return the route with the rule in the place of `from_index`, so that its fingerprint includes it (R137)."""
    if rule is None:
        return route
    return dataclasses.replace(route, options=dataclasses.replace(route.options, expires=rule))
