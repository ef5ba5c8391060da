"""Documents to Redis sets and lists: a key of the document's own, or one member of a key that many share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mappers.contract import Document, Losses, MappingError, OptionDeclarations, Recognizing, Record
from mappers.documents.fields import MISSING, lookup
from mappers.expiry import Expires, Expiry
from mappers.policies import JSON_POLICIES, Anomalies
from mappers.redis.own_key import OwnKeyMapper, RedisMapper, needed_fields, own_key
from mappers.redis.records import List, Set, SetMember, member_addresses, member_fits, takes_any_member
from mappers.values.json_values import JsonValues, flat_text, redis_json
from mappers.values.key_templates import Template, key_text


class SetMapper(RedisMapper, Recognizing):
    """One document to its own set (`values`), or to a member of sets that many documents share (`member`)."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its sets."""

        values: str | None = None
        """The array whose elements become the members of a set of the document's own; or say `member`."""
        member: str | None = None
        """The field that names the document in a set that many share; or say `values`."""
        each: str | None = None
        """With `member`: an array whose elements stand one by one in its place in `key`, such as ``tag:{tags}``."""
        key: str | None = None
        """Key template; with `values` the route's name, a colon and {_id} by default, else the route's name."""
        expires: str | Expires | None = None
        """With `values`: when the key expires: at a date, some time after it, or by the TTL index (from_index)."""

        @property
        def anomalies(self) -> Anomalies | None:
            """The policies of a set with its own key for values that a decoder would change."""
            return JSON_POLICIES if self.values is not None else None

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            return needed_fields(expires=self.expires, member=self.member, key=self.key)

        def field_options(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            yield from self.needed()
            yield from needed_fields(values=self.values, each=self.each)

    use_cases: ClassVar[Sequence[str]] = ("set",)

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for options that contradict each other."""
        if (options.values is None) == (options.member is None):
            raise ValueError(
                "found values and member; write values for a set of each document's own, or member for a shared set"
                if options.values is not None
                else "has neither values nor member; write values (an array) for a set of each document's own, or"
                " member (a field) for a shared set"
            )
        if options.values is not None:
            if options.each is not None:
                raise ValueError("each: is for sets with `member`; remove it beside `values`")
            self._key = own_key(options.key, route)
        else:
            if options.expires is not None:
                raise ValueError("expires: a member of a set cannot expire by itself; remove it")
            self._key = Template.parse(options.key or route)
            if options.each is not None and options.each not in self._key.paths:
                raise ValueError(f"each: write {{{options.each}}} in `key`; otherwise every element joins the same set")
        self._options = options
        self._expiry = Expiry(options.expires)
        self._losses = losses
        self._values = redis_json()

    def __call__(self, document: Document, /) -> Iterable[Set | SetMember]:
        """Return the document's set or members; none for an empty array, as an empty set cannot exist (R67)."""
        if self._options.member is not None:
            return self._joined(document, self._options.member)
        field = self._options.values or ""
        elements = element_texts(document, field, self._values)
        members = tuple(dict.fromkeys(elements))
        self._count_repeated(field, len(elements) - len(members))
        if not members:
            return ()
        return (Set(self._key.fill(document), members, self._expiry(document)),)

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the addresses of a document with this `_id`; None if they depend on other fields."""
        if self._options.member is None:
            return self._key.addresses(identity)
        return None if self._options.each else member_addresses(self._key, self._options.member, identity)

    def may_have_made(self, record: Record, id_kind: str, /) -> bool:
        """Return whether the record is of its type, and key and member may be a document's."""
        if self._options.member is not None:
            return type(record) is SetMember and member_fits(record, self._key, self._options.member)
        return type(record) is Set and self._key.match(record.key) is not None

    def takes_any(self, id_kind: str, /) -> bool:
        """Return whether any text may be a key's, and a member's."""
        return takes_any_member(self._key, self._options.member)

    def _joined(self, document: Document, path: str) -> Iterable[SetMember]:
        member, each = key_text(document, path), self._options.each
        if each is None:
            return (SetMember(self._key.fill(document), member),)
        names = each.split(".")
        keys = [self._key.fill(_with(document, names, element)) for element in _array(document, each)]
        distinct = dict.fromkeys(keys)
        self._count_repeated(each, len(keys) - len(distinct))
        return [SetMember(key, member) for key in distinct]

    def _count_repeated(self, field: str, repeated: int) -> None:
        for _ in range(repeated):
            self._losses.add("set_duplicate", field)


class ListMapper(OwnKeyMapper):
    """One document to a list of its own: the elements of one array, in their order."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its lists."""

        values: str
        """The array whose elements become the list's."""
        key: str | None = None
        """Key template; the route's name, a colon and {_id} by default."""
        expires: str | Expires | None = None
        """When the key expires: at a date field, some time after it, or as the TTL index says (from_index)."""

        @property
        def anomalies(self) -> Anomalies:
            """The policies of a list for values that a decoder would change."""
            return JSON_POLICIES

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            return needed_fields(expires=self.expires, key=self.key)

        def field_options(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            yield from self.needed()
            yield "values", self.values

    use_cases: ClassVar[Sequence[str]] = ("queue",)
    RECORD: ClassVar[type[Record]] = List

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a key that all documents would share."""
        super().__init__(own_key(options.key, route), options.expires)
        self._options = options
        self._values = redis_json()

    def __call__(self, document: Document, /) -> Iterable[List]:
        """Return the document's one list; none for an empty array, as an empty list cannot exist (R67)."""
        elements = element_texts(document, self._options.values, self._values)
        if not elements:
            return ()
        return (List(self._key.fill(document), tuple(elements), self._expiry(document)),)


def element_texts(document: Document, path: str, values: JsonValues) -> list[bytes]:
    """Return the elements of an array as texts; raises MappingError naming the field or element that is none."""
    texts: list[bytes] = []
    for element in _array(document, path):
        try:
            texts.append(flat_text(element, values))
        except MappingError as error:
            at = f"{path}.{len(texts)}"
            raise MappingError(error.code, f"{at}.{error.field}" if error.field else at, error.reason) from None
    return texts


def _array(document: Document, path: str) -> Sequence[Any]:
    value = lookup(document, path)
    if isinstance(value, list):
        return value
    what = "is missing" if value is MISSING else f"is {type(value).__name__}"
    raise MappingError(
        "E-MAP-ARRAY", path, f"an array is needed but it {what}; exclude such documents with the route's `where`"
    )


def _with(document: Mapping[str, Any], names: Sequence[str], value: Any) -> dict[str, Any]:
    """Return the document with another value at a path that exists."""
    name, *rest = names
    return {**document, name: _with(document[name], rest, value) if rest else value}
