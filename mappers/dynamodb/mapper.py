"""A document as one DynamoDB item."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import orjson

from mappers.contract import (
    Addressing,
    Document,
    KeyChecking,
    KeyFault,
    Losses,
    MapperDeclarations,
    MappingError,
    OptionDeclarations,
    Straight,
)
from mappers.documents.fields import without_id
from mappers.documents.irregular import stored_bytes
from mappers.dynamodb.indexes import UNINDEXED, Index, IndexKeys, Mismatch, check_indexes
from mappers.dynamodb.key_faults import KeyCheck
from mappers.dynamodb.keys import Key, check_value, maker
from mappers.dynamodb.records import FULL_ID, RAW, Item, Oversize, address, limited_keys, sized_item
from mappers.dynamodb.sets import EmptySets, checked_path, make_set
from mappers.dynamodb.size import ITEM_LIMIT_BYTES
from mappers.dynamodb.values import DynamoDBValues
from mappers.expiry import Expires, Expiry, date_field
from mappers.identity import IdEncoding, identity
from mappers.policies import ITEM_POLICIES, Anomalies, Fidelity, ItemPolicies
from mappers.values.fast_path import ITEM, Direct
from mappers.values.field_names import name_collision
from mappers.values.key_templates import by_identity


class ItemMapper(MapperDeclarations, Addressing, KeyChecking, Straight):
    """One document to one item: its key from `_id` or other fields, every other field an attribute."""

    @dataclass(frozen=True)
    class Options(OptionDeclarations):
        """The options of a route for its items."""

        key: Key = Key()  # noqa: RUF009 - frozen, so that one default may be shared
        """The key attributes: fields, or text with fields in braces."""
        indexes: Mapping[str, Index] | None = None
        """Secondary indexes by name; they are created with the table."""
        index_mismatch: Mismatch = "reject"
        """What becomes of a document whose field cannot key an index: reject it, or keep the field's value in
        `_unindexed` and omit it from the index, or coerce it to the index's type where that is possible."""
        sets: Sequence[str] = ()
        """Arrays to store as DynamoDB sets, by dotted path; one that is empty, mixed or repeats a value is rejected."""
        empty_sets: EmptySets = "reject"
        """What becomes of an empty array listed in `sets`, as DynamoDB has no empty set: reject the document, or omit
        the attribute (counted as `set_empty`)."""
        expires: str | Expires | None = None
        """When DynamoDB may drop the item: at a date field, some time after it, or as the collection's TTL index says:
        from_index."""
        ttl_attribute: str = "_ttl"
        """The attribute that holds `expires` in epoch seconds."""
        id_encoding: IdEncoding = "typed"
        """plain: keys are the text of `_id` without a type prefix; only where every `_id` is of one type."""
        oversize: Oversize = "reject"
        """What becomes of items over 400 KB: reject the document, compress its largest fields (zstd), split them into
        further items under a sort key, or put them into S3."""
        values: ItemPolicies = ITEM_POLICIES
        """What becomes of values DynamoDB does not hold exactly."""
        fidelity: Fidelity = "native"
        """lossless adds the document's exact BSON as attribute `_raw`; what cannot be restored from it is rejected."""

        @property
        def anomalies(self) -> Anomalies:
            """The policies for documents that a decoder would change."""
            return self.values

        def needed(self) -> Iterable[tuple[str, str]]:
            """Yield the date field that it expires by."""
            if (field := date_field(self.expires)) is not None:
                yield "expires", field

        def field_options(self) -> Iterable[tuple[str, str]]:
            """Yield the date field, and each field of a key, of an index and of `sets`."""
            yield from self.needed()
            yield from (("key", path) for part in self.key.attributes for path in part.paths)
            for index in (self.indexes or {}).values():
                yield from (("indexes", path) for part in index.attributes(self.key) for path in part.paths)
            yield from (("sets", path) for path in self.sets)

    use_cases: ClassVar[Sequence[str]] = ("entity",)
    target: ClassVar[str] = "dynamodb"
    KEY_CODE: ClassVar[str] = "E-DDB-KEYS"
    dates_in_ms: ClassVar[bool] = True
    one_record: ClassVar[bool] = True

    def __init__(self, options: Options, route: str, losses: Losses) -> None:
        """Take the options; raises ValueError for a key, an index or a TTL attribute that cannot be served."""
        if options.empty_sets != "reject" and not options.sets:
            raise ValueError("empty_sets: is only for arrays listed in sets; list them, or remove the key")
        options.key.check()
        check_indexes(options.indexes or {}, options.key)
        if options.ttl_attribute in ("", "_id", FULL_ID, UNINDEXED, RAW):
            raise ValueError(
                f"ttl_attribute: {options.ttl_attribute!r} cannot be the name of the expiry attribute; choose"
                " another name"
            )
        self._options = options
        self._losses = losses
        self._values = DynamoDBValues(options.values, losses)
        self._expiry = Expiry(options.expires)
        self._keys = [
            (key_attribute, limit, maker(key_attribute, limit, self._values.value))
            for key_attribute, limit in limited_keys(options.key.attributes)
        ]
        self._names = options.key.names
        self._sets = [checked_path(path) for path in options.sets]
        self._indexes = IndexKeys(options.indexes or {}, options.key, options.index_mismatch, self._values, losses)
        # A field in the TTL attribute's place is refused even where the document has no date: DynamoDB would take the
        # field for the time at which to delete the item (R56).
        self._reserved = set() if options.expires is None else {options.ttl_attribute}
        added = dict.fromkeys(self._reserved, "write another ttl_attribute")
        if options.fidelity == "lossless":
            added[RAW] = f"drop or rename the field {RAW} (fields, transforms)"
        self._check = KeyCheck(self._keys, self._indexes.rejecting, added)
        self._direct: Direct | None = None
        whole = options.indexes or options.sets or options.fidelity == "lossless"
        if not whole and self._expiry.paths is not None:
            paths = [path for key_attribute in options.key.attributes for path in key_attribute.paths] + [
                *self._expiry.paths
            ]
            own = {key_attribute.attribute for key_attribute in options.key.attributes if key_attribute.own}
            free = {*options.key.names, *self._reserved, FULL_ID} - own - {"_id"}
            plain = replace(ITEM, scaled=options.values.decimal_scale == "tag")
            typed = options.id_encoding == "typed" and options.key.types.get("_id", "S") == "S"
            self._direct = Direct(plain, paths, typed=typed, without_id=True, free=free)

    def __call__(self, document: Document, /) -> Iterable[Item]:
        """Return the document's one item."""
        typed = identity(document, self._options.id_encoding)
        attributes = self._values.item(without_id(document))
        for path in self._sets:
            make_set(attributes, path, self._options.empty_sets, self._losses)
        added, expires_at_ms = self._added(document, typed, attributes)
        whole = self._indexes(document, typed, added | attributes)
        limited = self._options.oversize == "reject"
        size_of = self._indexes.size if limited else None
        return (sized_item(whole, self._names, expires_at_ms, size_of, self._indexes.copies),)

    def straight(self, documents: Sequence[bytes], /) -> Sequence[Item | None]:
        """Return the items of plain documents."""
        return self._direct.records(documents, self._straight) if self._direct is not None else ()

    def _straight(self, document: Document, text: bytes, typed: str | None) -> Item:
        """Return the item of a plain document; `document` has only the fields that key and expiry depend on."""
        if typed is None:
            typed = identity(document, self._options.id_encoding)
        attributes = self._values.item(without_id(document)) if document else {}
        added, expires_at_ms = self._added(document, typed, attributes)
        first = orjson.dumps(added)
        body = first if text == b"{}" else first[:-1] + b"," + text[1:]
        if len(body) > ITEM_LIMIT_BYTES and self._options.oversize == "reject":
            raise MappingError("E-DDB-SIZE", "", "the long way measures it, and names its largest field")
        return Item(address(added | attributes, self._names), body, expires_at_ms)

    def _added(
        self, document: Document, typed: str, attributes: Mapping[str, Any]
    ) -> tuple[dict[str, Any], int | None]:
        """Return the attributes that are not the document's own, and when the item expires."""
        added = self._key(document, typed, attributes)
        if self._options.fidelity == "lossless":
            added[RAW] = {"B": base64.b64encode(stored_bytes(document)).decode()}
        expires_at_ms = self._expiry(document)
        if expires_at_ms is not None:
            # DynamoDB counts whole seconds; milliseconds would never expire (R56).
            seconds = expires_at_ms // 1000
            expires_at_ms = seconds * 1000
            added[self._options.ttl_attribute] = {"N": str(seconds)}
        for name in (*self._reserved, *added):
            if name in attributes:
                raise name_collision(name)
        return added, expires_at_ms

    @property
    def keys_from_fields(self) -> bool:
        """Whether a key is more than the text of `_id`, or an attribute is added in whose place a field may be."""
        declared = (key_attribute for key_attribute, _, _ in (*self._check.table, *self._check.indexes))
        return bool(self._check.added) or any(key.type != "S" or key.attribute != "_id" for key in declared)

    def key_faults(self, document: Document, /) -> Sequence[KeyFault]:
        """Return every fault of the document's keys, of the table and of its indexes, and every name taken twice."""
        typed = identity(document, self._options.id_encoding)
        return list(self._check.faults(document, typed, self._values.item(without_id(document))))

    def addresses(self, identity_only: Document, /) -> Sequence[str] | None:
        """Return the key of the item of a document with this `_id`; None where the key needs other fields."""
        if not by_identity(path for key_attribute in self._options.key.attributes for path in key_attribute.paths):
            return None
        typed = identity(identity_only, self._options.id_encoding)
        return [address(self._key(identity_only, typed, {}), self._names)]

    def _key(self, document: Document, typed: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the key attributes that are not the document's own, and the whole id if no key attribute has it."""
        added: dict[str, Any] = {}
        for key_attribute, limit, make in self._keys:
            value = make(document, typed, attributes)
            check_value(key_attribute.attribute, value, key_attribute.type, limit)
            if value is not None and (key_attribute.path == "_id" or not key_attribute.own):
                added[key_attribute.attribute] = value
        key_id = added.get("_id")
        if key_id is None:
            added["_id"] = {"S": typed}
        elif "S" in key_id and key_id["S"] != typed:
            added[FULL_ID] = {"S": typed}
        return added
