"""Documents to places of a Redis geo set: a sorted set whose scores are the 52-bit cells GEOADD would give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bson import Decimal128, Int64

from mappers.contract import Document, Losses, MappingError, OptionDeclarations, Recognizing, Record
from mappers.documents.fields import MISSING, lookup
from mappers.redis.own_key import RedisMapper, needed_fields
from mappers.redis.records import Member, member_addresses, member_fits, takes_any_member
from mappers.values.key_templates import Template, key_text

LONGITUDE = 180.0
LATITUDE = 85.05112878
"""The greatest latitude of the server's projection. GEOADD refuses a latitude beyond it (R27)."""
_STEPS = 2**26
_CELLS = 2**54
"""More than any cell's number: a place on the very edge has a bit more each way than the 26."""
_COORDINATES = 3
"""Of a position in GeoJSON at the most: longitude, latitude, altitude (RFC 7946, 3.1.1)."""
_NAMES = (("lon", "lat"), ("lng", "lat"), ("longitude", "latitude"))


class GeoMapper(RedisMapper, Recognizing):
    """One document to one place of a geo set, which GEOSEARCH and its like read; its other fields are not kept."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its places."""

        location: str
        """The field with the place: a GeoJSON Point, [longitude, latitude], or an object with lon (lng) and lat. An
        altitude behind the two is not kept (counted as `geo_altitude`)."""
        key: str | None = None
        """The set's key, the route's name by default; a template spreads documents over several sets."""
        member: str = "_id"
        """The field that names the place."""

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            return needed_fields(member=self.member, key=self.key)

        def field_options(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            yield from self.needed()
            yield "location", self.location

    use_cases: ClassVar[Sequence[str]] = ("geo",)

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for an invalid template."""
        self._key = Template.parse(options.key or route)
        self._options = options
        self._losses = losses

    def __call__(self, document: Document, /) -> Iterable[Member]:
        """Return the document's one place; an inexact cell counts as `geo_rounded`, an altitude as `geo_altitude`."""
        longitude, latitude = self._place(lookup(document, self._options.location))
        score = cell(longitude, latitude)
        if place(score) != (longitude, latitude):
            self._losses.add("geo_rounded", self._options.location)
        return (Member(self._key.fill(document), key_text(document, self._options.member), float(score)),)

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the address of a place with this `_id`; None where key or member need other fields."""
        return member_addresses(self._key, self._options.member, identity)

    def may_have_made(self, record: Record, id_kind: str, /) -> bool:
        """Return whether the record is a member with a cell, and it and its key may be a document's."""
        return (
            type(record) is Member
            and record.score.is_integer()
            and 0 <= record.score < _CELLS
            and member_fits(record, self._key, self._options.member)
        )

    def takes_any(self, id_kind: str, /) -> bool:
        """Return whether any text may be a key's, and a member's."""
        return takes_any_member(self._key, self._options.member)

    def _place(self, value: Any) -> tuple[float, float]:
        if isinstance(value, Mapping):
            if value.get("type") == "Point":
                value = value.get("coordinates")
            else:
                pairs = [pair for pair in _NAMES if all(name in value for name in pair)]
                value = [value[name] for name in pairs[0]] if len(pairs) == 1 else None
        if not isinstance(value, list) or not 2 <= len(value) <= _COORDINATES:
            what = "is missing" if value is MISSING else "is none"
            raise self._refused(f"a Point, [longitude, latitude] or an object with lon and lat is needed but it {what}")
        longitude, latitude, *altitude = (self._degrees(coordinate) for coordinate in value)
        # Written so that NaN is refused as well.
        if not abs(longitude) <= LONGITUDE:
            raise self._refused(f"a longitude beyond {LONGITUDE:g} degrees")
        if not abs(latitude) <= LATITUDE:
            swapped = "; are longitude and latitude swapped?" if abs(latitude) > 90 else ""
            raise self._refused(f"a latitude beyond the {LATITUDE} degrees that Redis takes{swapped}")
        if altitude:
            self._losses.add("geo_altitude", self._options.location)
        return longitude, latitude

    def _degrees(self, value: Any) -> float:
        if isinstance(value, Decimal128):
            exact = value.to_decimal()
            value = float(exact) if exact.is_finite() else None
        if isinstance(value, bool) or not isinstance(value, int | Int64 | float):
            raise self._refused("a coordinate that is not a number")
        return float(value)

    def _refused(self, reason: str) -> MappingError:
        return MappingError("E-MAP-GEO", self._options.location, reason)


def cell(longitude: float, latitude: float) -> int:
    """Return the cell of a place as GEOADD computes it: 26 halvings each way, latitude in the even bits.

    A cell is 5.4e-6 degrees wide and 2.6e-6 high, within R27's tolerance of 1e-5. Comparing cells instead of degrees
    makes that tolerance the server's own, and gives a certain answer also for two places near a border.
    """
    across = int((longitude + LONGITUDE) / (2 * LONGITUDE) * _STEPS)
    up = int((latitude + LATITUDE) / (2 * LATITUDE) * _STEPS)
    return sum((up >> bit & 1) << 2 * bit | (across >> bit & 1) << 2 * bit + 1 for bit in range(27))


def place(score: int) -> tuple[float, float]:
    """Return the longitude and latitude of a cell's middle, as GEOPOS gives them."""
    across = sum((score >> 2 * bit + 1 & 1) << bit for bit in range(27))
    up = sum((score >> 2 * bit & 1) << bit for bit in range(27))
    longitude = (across + 0.5) / _STEPS * 2 * LONGITUDE - LONGITUDE
    latitude = (up + 0.5) / _STEPS * 2 * LATITUDE - LATITUDE
    return min(max(longitude, -LONGITUDE), LONGITUDE), min(max(latitude, -LATITUDE), LATITUDE)
