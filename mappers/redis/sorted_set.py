"""A document as a member of a sorted set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from bson import Decimal128, Int64

from mappers.contract import Document, Losses, MappingError, OptionDeclarations, Recognizing, Record
from mappers.documents.fields import MISSING, lookup
from mappers.identity import IdEncoding
from mappers.redis.own_key import RedisMapper, needed_fields
from mappers.redis.records import Member, member_addresses, member_fits, takes_any_member
from mappers.values.key_templates import Template, key_text

_EXACT_INT = 2**53
"""A sorted set's score is a double: whole numbers are exact only within this (R18)."""


class SortedSetMapper(RedisMapper, Recognizing):
    """One document to one member of a sorted set; its other fields are not kept there."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its sorted set."""

        score: str
        """The numeric field that orders the members."""
        key: str | None = None
        """The set's key, the route's name by default; a template spreads documents over several sets."""
        member: str = "_id"
        """The field that names the member."""
        id_encoding: IdEncoding = "typed"
        """plain: `_id` is written as its text without a type prefix; only where every `_id` is of one type."""

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            return needed_fields(score=self.score, member=self.member, key=self.key)

    use_cases: ClassVar[Sequence[str]] = ("leaderboard",)

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for an invalid template."""
        self._key = Template.parse(options.key or route, options.id_encoding)
        self._options = options
        self._losses = losses

    def __call__(self, document: Document, /) -> Iterable[Member]:
        """Return the document's one member."""
        member = key_text(document, self._options.member, self._options.id_encoding)
        return (Member(self._key.fill(document), member, self._score(lookup(document, self._options.score))),)

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the place of a member with this `_id`; None where key or member need other fields."""
        return member_addresses(self._key, self._options.member, identity, self._options.id_encoding)

    def may_have_made(self, record: Record, id_kind: str, /) -> bool:
        """Return whether the record is a member, and it and its key may be a document's."""
        options = self._options
        return type(record) is Member and member_fits(record, self._key, options.member, options.id_encoding, id_kind)

    def takes_any(self, id_kind: str, /) -> bool:
        """Return whether any text may be a key's, and a member's."""
        return takes_any_member(self._key, self._options.member, self._options.id_encoding, id_kind)

    def _score(self, value: Any) -> float:
        field = self._options.score
        if isinstance(value, Decimal128):
            exact = value.to_decimal()
            if not exact.is_finite():
                raise MappingError("E-MAP-SCORE", field, "a decimal that is not a finite number")
            score = float(exact)
            if not math.isfinite(score):
                raise MappingError("E-MAP-SCORE", field, "beyond the range of a score, which is a double")
            if Decimal(score) != exact:
                self._losses.add("score_rounded", field)
            elif not exact and exact.is_signed():
                self._losses.add("neg_zero", field)
            return score + 0.0
        if isinstance(value, bool) or not isinstance(value, int | Int64 | float):
            what = "is missing" if value is MISSING else f"is {type(value).__name__}, no number"
            raise MappingError("E-MAP-SCORE", field, f"needed for the score but {what}")
        if isinstance(value, float):
            if math.isnan(value):
                raise MappingError("E-MAP-SCORE", field, "NaN cannot order a sorted set")
            if value == 0 and math.copysign(1, value) < 0:
                self._losses.add("neg_zero", field)
        elif abs(value) > _EXACT_INT and int(float(value)) != value:
            self._losses.add("score_rounded", field)
        return float(value) + 0.0
