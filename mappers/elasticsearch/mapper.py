"""Documents to Elasticsearch documents: an id and a `_source` that is the whole document as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from mappers.census import Census, Designer, kind
from mappers.contract import (
    Addressing,
    Document,
    Losses,
    MapperDeclarations,
    MappingError,
    OptionDeclarations,
    Straight,
)
from mappers.documents.fields import without_id
from mappers.documents.irregular import stored_bytes
from mappers.elasticsearch.date_indices import Periods
from mappers.elasticsearch.mapping import FIELD_LIMIT, Conflict, Wishes, design
from mappers.elasticsearch.records import FULL_ID, ID_LIMIT_BYTES, RAW, IndexDocument
from mappers.elasticsearch.reshape import Reshaping
from mappers.identity import IdEncoding, identity, shortened
from mappers.policies import INDEX_POLICIES, Anomalies, Fidelity, IndexPolicies
from mappers.values.fast_path import INDEX_JSON, Direct, most_number
from mappers.values.field_names import name_collision, spread
from mappers.values.json_values import elasticsearch_json, joined
from mappers.values.key_templates import Template, by_identity, key_text
from mappers.values.tags import base64_text

SAMPLE = 10_000
"""Documents that `census: sample` looks at by default."""


class DocumentMapper(MapperDeclarations, Addressing, Straight, Designer):
    """One document to one index document: its encoded `_id` as the id, every other field in `_source`."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its documents."""

        id_encoding: IdEncoding = "typed"
        """plain: ids are the text of `_id` without a type prefix; only where every `_id` is of one type."""
        values: IndexPolicies = INDEX_POLICIES
        """What becomes of values JSON does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as `offramp_raw`; what cannot be restored from it is rejected."""
        census: Literal["full", "sample", "none"] | None = None
        """Documents looked at before the index is made, for a mapping of every field; all of them by default, and
        none where `mapping` says how the index is mapped."""
        census_documents: int = SAMPLE
        """How many documents `census: sample` looks at, spread over the collection."""
        conflict: Conflict = "keep"
        """A field with values of several kinds: ``keep`` them all (as text, or unsearchable with objects among them),
        write them as ``json_string``, ``split`` them into a field for each kind, or ``reject`` the rarer."""
        nested: Sequence[str] = ()
        """Arrays of objects whose objects are matched one by one, by dotted path; else as if they were one object."""
        geo: Sequence[str] = ()
        """Fields with GeoJSON or pairs of longitude and latitude, by dotted path."""
        field_limit: int = FIELD_LIMIT
        """Fields the index takes; objects are flattened to stay within it."""
        routing: str | None = None
        """A field, or text with fields in braces, whose value leads to a document's shard; readers need it too."""
        index: str | None = None
        """The whole name of the index; with a date field, such as ``logs-{at:%Y.%m}``, an index for each period."""
        undated_index: str | None = None
        """The index of documents without that date; by default they are rejected."""

        @property
        def anomalies(self) -> Anomalies:
            """The policies for documents that a decoder would change."""
            return self.values

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field."""
            if self.routing is not None:
                yield from (("routing", path) for path in _routing(self.routing).paths)
            if (periods := Periods.parse(self.index, self.undated_index)) is not None:
                yield "index", periods.field

        def field_options(self) -> Iterable[tuple[str, str]]:
            """Yield each option that names a field and the field: a census refuses unknown ones of nested and geo."""
            yield from self.needed()
            yield from (("nested", path) for path in self.nested)
            yield from (("geo", path) for path in self.geo)

    use_cases: ClassVar[Sequence[str]] = ("search", "log")
    target: ClassVar[str] = "elasticsearch"
    dates_in_ms: ClassVar[bool] = True
    one_record: ClassVar[bool] = True

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for options that contradict each other."""
        if options.census_documents < 1:
            raise ValueError("census_documents: must be at least 1")
        if options.census_documents != SAMPLE and options.census != "sample":
            raise ValueError("census_documents: is only for census: sample; census: full reads all documents")
        if options.field_limit < 3:
            raise ValueError("field_limit: must be at least 3")
        for key in ("nested", "geo"):
            paths = getattr(options, key)
            if any(not name for path in paths for name in path.split(".")):
                raise ValueError(f"{key}: a part of a path is empty")
            if paths and options.census == "none":
                raise ValueError(f"{key}: needs a census; with census: none, write it in mapping")
        if options.field_limit != FIELD_LIMIT and options.census == "none":
            raise ValueError(
                "field_limit: needs a census, which chooses the fields; with census: none, write the fields in mapping"
            )
        if options.conflict != "keep" and options.census == "none":
            raise ValueError("conflict: needs a census, which finds the conflicts")
        self._routing = None if options.routing is None else _routing(options.routing)
        self._periods = Periods.parse(options.index, options.undated_index)
        self._options = options
        self._values = elasticsearch_json(options.values, losses)
        self._losses = losses
        self._lossless = options.fidelity == "lossless"
        self._reshaping = Reshaping((), self._values, self.kind)
        self._direct: Direct | None = None
        if not self._lossless:
            paths = [path for _, path in options.needed()]
            plain = replace(INDEX_JSON, most_number=most_number(options.values.int53))
            typed = options.id_encoding == "typed"
            self._direct = Direct(plain, paths, typed=typed, without_id=True, free=[FULL_ID])

    def survey(self, *, mapped: bool) -> int | None:
        """Return how many documents its design needs to count, 0 for all, None if it needs no design.

        `mapped` is True if the plan itself says how the place is made.
        """
        census = self._options.census or ("none" if mapped and not self._asks() else "full")
        return {"full": 0, "sample": self._options.census_documents, "none": None}[census]

    def seen(self, document: Document, /) -> Document:
        """Return the document with the fields an index will see; raises MappingError if two fields would become one."""
        return self._named(without_id(document), lambda _: None)

    def kind(self, value: Any, /) -> str:
        """Return the kind of a scalar as the route's policies write it."""
        return kind(value, self._options.values)

    def design(self, census: Census) -> Mapping[str, Any]:
        """Return the mapping of every field and the decisions on conflicts; raises ValueError if no index fits them."""
        options = self._options
        return design(census, Wishes(options.conflict, options.nested, options.geo, options.field_limit))

    def follow(self, design: Mapping[str, Any]) -> None:
        """Give the documents that follow the shape of this design."""
        self._reshaping = Reshaping(design.get("reshape", ()), self._values, self.kind)

    def __call__(self, document: Document, /) -> Iterable[IndexDocument]:
        """Return the document's one index document."""
        named = self._named(without_id(document), lambda path: self._losses.add("name_path", path))
        fields = self._reshaping(named)
        return (self._index_document(document, self._values.dumps(fields), fields=fields),)

    def straight(self, documents: Sequence[bytes], /) -> Sequence[IndexDocument | None]:
        """Return the index documents of plain documents; nothing if the design reshapes fields."""
        if self._direct is None or self._reshaping:
            return ()
        return self._direct.records(documents, self._index_document)

    def _index_document(
        self, document: Document, source: bytes, typed: str | None = None, fields: Document | None = None
    ) -> IndexDocument:
        """Return the index document; `fields` are those of the source, if not the document's own names."""
        full = identity(document, self._options.id_encoding) if typed is None else typed
        identifier = shortened(full, ID_LIMIT_BYTES)
        added: dict[str, str] = {}
        if identifier != full:
            added[FULL_ID] = full
        if self._lossless:
            added[RAW] = base64_text(stored_bytes(document))
        for name in added:
            if name in (document if fields is None else fields):
                raise name_collision(name)
        routing = None if self._routing is None else self._routing.fill(document)
        if routing == "":
            raise MappingError("E-ES-ROUTING", self._options.routing or "", "is empty; a routing must not be empty")
        index = None if self._periods is None else self._periods.index(document)
        return IndexDocument(identifier, joined(source, added) if added else source, routing, index)

    def addresses(self, identity_only: Document, /) -> Sequence[str] | None:
        """Return the addresses of the document with this `_id`; None if they depend on a date or another field."""
        if self._periods is not None or (self._routing is not None and not by_identity(self._routing.paths)):
            return None
        identifier = shortened(identity(identity_only, self._options.id_encoding), ID_LIMIT_BYTES)
        routing = None if self._routing is None else self._routing.fill(identity_only)
        return [] if routing == "" else [IndexDocument(identifier, b"", routing).address]

    def _named(self, document: Document, lose: Callable[[str], None]) -> Document:
        return spread(document, lose) if self._options.values.name_escape == "paths" else document

    def _asks(self) -> bool:
        options = self._options
        return bool(options.nested or options.geo or options.conflict != "keep" or options.field_limit != FIELD_LIMIT)


@dataclass(frozen=True, slots=True)
class _Field:
    """The unescaped value of one field, because an application that routes by it knows no escapes."""

    path: str

    @property
    def paths(self) -> Sequence[str]:
        return [self.path]

    def fill(self, document: Document) -> str:
        return key_text(document, self.path)


def _routing(text: str) -> Template | _Field:
    try:
        if "{" not in text and "}" not in text:
            if not all(text.split(".")):
                raise ValueError("a part of the path is empty")
            return _Field(text)
        template = Template.parse(text)
    except ValueError as error:
        raise ValueError(f"routing: {error}") from None
    return template
