"""What a plan does to documents before any mapper sees them: the keys of `transforms`, and one function out of a list.

A transform takes a decoded document and gives none, one or several; it never changes the one it was given. What it
cannot do without losing or overwriting something makes the document a reject. `mappers.transforms.validation` finds the
faults of a list.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, Literal

import orjson

from mappers.contract import Document, Losses, MappingError
from mappers.documents.fields import MISSING, dropping, keeping
from mappers.identity import encode, identity
from mappers.transforms.casts import ROUNDED, CastType, cast, encodable
from mappers.transforms.paths import changed, collision, each_object, fields_of, names_of, put, reached, replaced, taken
from mappers.values.json_values import redis_json
from mappers.values.key_templates import Template

Transformation = Callable[[Document], Iterable[Document]]


@dataclass(frozen=True)
class CastKeys:
    """The key `cast` of a transform."""

    fields: Mapping[str, CastType]
    """The type of each field, by dotted path; each element of an array is cast."""
    default: Mapping[str, Any] = field(default_factory=dict)
    """What stands instead, by path, of a field that is missing, null or cannot be cast; the last two are counted."""
    optional: bool = False
    """Leave a missing field missing and null null; otherwise they are rejects."""
    lossy: bool = False
    """Cast even where the value is another one then, such as 1.7 as 1, and count it; otherwise it is a reject."""


@dataclass(frozen=True)
class TemplateKeys:
    """The key `template` of a transform."""

    fields: Mapping[str, str]
    """New text fields by dotted path, such as "{city}, {country}"; {_id} is the typed text of the `_id`."""
    default: Mapping[str, str] = field(default_factory=dict)
    """What stands instead, by path, where a field in braces is missing or cannot stand in a text."""


@dataclass(frozen=True)
class HashKeys:
    """The key `hash` of a transform."""

    fields: Sequence[str]
    """Fields whose values become a keyed BLAKE2b-256 in hex, by dotted path; `_id` may be one of them."""
    salt: str = field(repr=False)
    """The secret key, 16 to 64 bytes, from the environment: equal values have equal hashes under the same salt."""


@dataclass(frozen=True)
class FlattenKeys:
    """The key `flatten` of a transform."""

    fields: Sequence[str] | None = None
    """Objects whose fields move up to where they stand, by dotted path; all of the top level but `_id` unless said."""
    separator: str = "_"
    """Stands between the names: address.city becomes address_city."""


@dataclass(frozen=True)
class ExplodeKeys:
    """The key `explode` of a transform."""

    field: str
    """The array, by dotted path; each document made has one of its elements in its place."""
    id: str | None = None
    """A field of the elements, unique in its array, that names them; their position from 0 unless said."""
    position: str | None = None
    """A new top-level field for the element's position in the array, from 0."""
    empty: Literal["reject", "drop", "keep"] = "reject"
    """What becomes of a document whose array is missing, null or empty."""


@dataclass(frozen=True)
class Transform:
    """One entry of `transforms`: exactly one of these keys."""

    select: Sequence[str] | None = None
    """Keep only these fields, by dotted path; `_id` always stays."""
    drop: Sequence[str] | None = None
    """Keep all but these fields, by dotted path."""
    rename: Mapping[str, str] | None = None
    """A new name for each field, in its place: {address.zip: postcode}."""
    move: Mapping[str, str] | None = None
    """A new path for each field: {address.city: city}; objects on the way are made."""
    cast: CastKeys | None = None
    """Values as another type."""
    default: Mapping[str, Any] | None = None
    """A value for each field that a document lacks, by dotted path; null counts as there."""
    template: TemplateKeys | None = None
    """New text fields made of others."""
    hash: HashKeys | None = None
    """Personal data as a keyed hash: still equal where it was equal, and not to be read."""
    redact: Mapping[str, Any] | None = None
    """What stands instead of each field, by dotted path, where a document has it."""
    flatten: FlattenKeys | None = None
    """Fields of objects as fields beside them."""
    explode: ExplodeKeys | None = None
    """A document for each element of an array."""
    embed: Sequence[str] | None = None
    """Objects and arrays as JSON text, by dotted path."""

    def __post_init__(self) -> None:
        """Refuse none and several."""
        if len(self.named) != 1:
            found = " and ".join(self.named) or "nothing"
            raise ValueError(f"found {found}; write one of {', '.join(self.__dataclass_fields__)} in each entry")

    @property
    def named(self) -> list[str]:
        """The keys that say something."""
        return [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]


def compose(transforms: Sequence[Transform], losses: Losses) -> Transformation:
    """Return the function that applies the transforms in their order; what they lose goes to `losses`.

    It gives the documents made of one, none where it is dropped on purpose, and raises MappingError where one cannot be
    made. The list must be without the faults that `mappers.transforms.validation` finds.
    """
    steps = [_MAKERS[name](getattr(each, name), losses) for each in transforms for name in each.named]
    if not steps:
        return unchanged

    def transformation(document: Document) -> Iterable[Document]:
        documents: Iterable[Document] = (document,)
        for step in steps:
            documents = [made for one in documents for made in step(one)]
        return documents

    return transformation


def unchanged(document: Document) -> Iterable[Document]:
    """Return the document alone: what no transforms do."""
    return (document,)


def _one(change: Callable[[Document], Document]) -> Transformation:
    return lambda document: (change(document),)


def _select(paths: Sequence[str], _: Losses) -> Transformation:
    return _one(lambda document: keeping(document, paths))


def _drop(paths: Sequence[str], _: Losses) -> Transformation:
    return _one(lambda document: dropping(document, paths))


def _rename(names: Mapping[str, str], _: Losses) -> Transformation:
    together: dict[tuple[str, ...], dict[str, str]] = {}
    for path, name in names.items():
        *parent, old = names_of(path)
        together.setdefault(tuple(parent), {})[old] = name

    def renamed(below: tuple[str, ...], to: Mapping[str, str], fields: Mapping[str, Any]) -> Mapping[str, Any]:
        if to.keys().isdisjoint(fields):
            return fields
        made: dict[str, Any] = {}
        for name, value in fields.items():
            new = to.get(name, name)
            if new in made:
                raise collision(".".join((*below, new)))
            made[new] = value
        return made

    def change(document: Document) -> Document:
        # The deepest first: a renamed parent would not be found by its old name.
        for parent, to in sorted(together.items(), key=lambda item: -len(item[0])):
            document = each_object(document, parent, partial(renamed, parent, to))
        return document

    return _one(change)


def _move(paths: Mapping[str, str], _: Losses) -> Transformation:
    def change(document: Document) -> Document:
        values: dict[str, Any] = {}
        for source, destination in paths.items():
            document, value = taken(document, source)
            if value is not MISSING:
                values[destination] = value
        for destination, value in values.items():
            document = put(document, destination, value)
        return document

    return _one(change)


def _cast(keys: CastKeys, losses: Losses) -> Transformation:
    defaults = {path: cast_default(value, keys.fields[path]) for path, value in keys.default.items()}

    def instead(path: str, value: Any, code: str, reason: str) -> Any:
        if path not in defaults:
            raise MappingError(code, path, reason)
        if value is not MISSING:
            losses.add("cast_default", path)
        return copy.deepcopy(defaults[path])

    def converted(path: str, to: CastType, value: Any) -> Any:
        if value is MISSING or value is None:
            if keys.optional and path not in defaults:
                return value
            what = "is missing" if value is MISSING else "is null"
            return instead(path, value, "E-TRANSFORM-MISSING", f"{what} and has no default to cast")
        if isinstance(value, list):
            return [converted(path, to, one) for one in value]
        try:
            made, lost = cast(value, to)
        except ValueError as error:
            return instead(path, value, "E-TRANSFORM-CAST", str(error))
        if lost == ROUNDED and not keys.lossy:
            return instead(
                path,
                value,
                "E-TRANSFORM-LOSSY",
                f"would change as {to}; set lossy: true to cast it anyway and count the loss",
            )
        if lost:
            losses.add(lost, path)
        return made

    def blocked(path: str, value: Any) -> None:
        if converted(path, keys.fields[path], MISSING) is not MISSING:
            _obstructed(path, value)

    changes = {path: partial(converted, path, to) for path, to in keys.fields.items()}
    return _one(lambda document: _changed_at_each(document, changes, blocked))


def cast_default(value: Any, to: CastType) -> Any:
    """Return a plan's default for a cast as that type; raises ValueError where it is none without losing."""
    value = encodable(value)
    if value is None:
        return None
    made, lost = cast(value, to)
    if lost == ROUNDED:
        raise ValueError(f"would change as {to}")
    return made


def _default(values: Mapping[str, Any], _: Losses) -> Transformation:
    given = {path: encodable(value) for path, value in values.items()}

    def filled(path: str, value: Any) -> Any:
        return copy.deepcopy(given[path]) if value is MISSING else value

    return _one(
        lambda document: _changed_at_each(document, {path: partial(filled, path) for path in given}, _obstructed)
    )


def _template(keys: TemplateKeys, _: Losses) -> Transformation:
    templates = {path: Template.parse(text) for path, text in keys.fields.items()}

    def change(document: Document) -> Document:
        texts = {path: _filled(document, path, template, keys.default) for path, template in templates.items()}
        for path, text in texts.items():
            document = put(document, path, text)
        return document

    return _one(change)


def _filled(document: Document, path: str, template: Template, default: Mapping[str, str]) -> str:
    def text(part: str) -> str:
        if part == "_id":
            return identity(document)
        value = reached(document, part)
        if value is MISSING:
            raise MappingError("E-TRANSFORM-MISSING", part, f"is missing, and the template of {path} needs it")
        try:
            return str(cast(value, "string")[0])
        except ValueError:
            kind = "null" if value is None else type(value).__name__
            raise MappingError("E-TRANSFORM-TEMPLATE", part, f"is {kind}, which cannot be part of a text") from None

    try:
        return "".join(literal + (text(part) if part else "") for literal, part in template.parts)
    except MappingError:
        if path in default:
            return default[path]
        raise


def _hash(keys: HashKeys, _: Losses) -> Transformation:
    salt = keys.salt.encode(errors="surrogateescape")

    def digest(value: Any) -> Any:
        if value is MISSING or value is None:
            return value
        if isinstance(value, list):
            return [digest(one) for one in value]
        return blake2b(encode(value).encode(), digest_size=32, key=salt).hexdigest()

    return _one(lambda document: _protected(document, dict.fromkeys(keys.fields, digest)))


def _redact(values: Mapping[str, Any], _: Losses) -> Transformation:
    given = {path: encodable(value) for path, value in values.items()}

    def redacted(path: str, value: Any) -> Any:
        return value if value is MISSING else copy.deepcopy(given[path])

    return _one(lambda document: _protected(document, {path: partial(redacted, path) for path in given}))


def _flatten(keys: FlattenKeys, _: Losses) -> Transformation:
    together: dict[tuple[str, ...], list[str]] = {}
    for path in keys.fields or ():
        *parent, name = names_of(path)
        together.setdefault(tuple(parent), []).append(name)

    def spread(below: tuple[str, ...], names: Sequence[str], fields: Mapping[str, Any]) -> Mapping[str, Any]:
        made: dict[str, Any] = {}
        for name, value in fields.items():
            for flat, inner in _leaves(name, value, keys.separator) if name in names else ((name, value),):
                if flat in made or (not below and flat == "_id" != name):
                    raise collision(".".join((*below, flat)))
                made[flat] = inner
        return made

    def change(document: Document) -> Document:
        if keys.fields is None:
            return spread((), [name for name in document if name != "_id"], document)
        for parent, names in sorted(together.items(), key=lambda item: -len(item[0])):
            document = each_object(document, parent, partial(spread, parent, names))
        return document

    return _one(change)


def _leaves(name: str, value: Any, separator: str) -> Iterable[tuple[str, Any]]:
    """Give the fields of an object at any depth by their joined names; an empty one, and any array, as it is."""
    if not isinstance(value, Mapping) or not value:
        yield name, value
        return
    for inner_name, inner in value.items():
        yield from _leaves(name + separator + inner_name, inner, separator)


def _explode(keys: ExplodeKeys, _: Losses) -> Transformation:
    def made(document: Document, mark: Mapping[str, Any], position: int | None) -> Document:
        # The parent's whole _id and what sets the element apart in it: as distinct as the parents' are (R31).
        document = {**document, "_id": {"parent": document["_id"], **mark}}
        return document if keys.position is None else put(document, keys.position, position)

    def exploded(document: Document) -> Iterable[Document]:
        identity(document)  # Refuses a document without an _id, whose elements would have none either.
        array = reached(document, keys.field)
        name = "position" if keys.id is None else "element"
        if array is MISSING or array is None or array == []:
            if keys.empty == "keep":
                return (made(document, {name: None}, None),)
            if keys.empty == "drop":
                return ()
            reason = "has no element to make a document from; set empty: drop or empty: keep"
            raise MappingError("E-TRANSFORM-MISSING", keys.field, reason)
        if not isinstance(array, list):
            raise MappingError("E-TRANSFORM-ARRAY", keys.field, f"is {type(array).__name__}, not an array")
        seen: set[str] = set()
        documents: list[Document] = []
        for position, element in enumerate(array):
            mark = position if keys.id is None else _mark(element, keys.id, keys.field, seen)
            documents.append(made(replaced(document, keys.field, element), {name: mark}, position))
        return documents

    return exploded


def _mark(element: Any, path: str, array: str, seen: set[str]) -> Any:
    fields = fields_of(element)
    value = MISSING if fields is None else reached(fields, path)
    if value is MISSING or isinstance(value, list):
        what = "is missing in an element" if value is MISSING else "is an array in an element"
        raise MappingError("E-TRANSFORM-IDENTITY", f"{array}.{path}", f"{what}, so the element has no identity")
    text = encode(value)
    if text in seen:
        raise MappingError(
            "E-TRANSFORM-IDENTITY",
            f"{array}.{path}",
            "two elements have the same identity; leave out id to name elements by position",
        )
    seen.add(text)
    return value


def _embed(paths: Sequence[str], _: Losses) -> Transformation:
    values = redis_json()

    def text(path: str, value: Any) -> Any:
        if value is MISSING:
            return value
        try:
            return orjson.dumps(values.value(value)).decode()
        except MappingError as error:
            raise MappingError(error.code, f"{path}.{error.field}" if error.field else path, error.reason) from None

    return _one(
        lambda document: _changed_at_each(
            document, {path: partial(text, path) for path in paths}, lambda _path, _value: None
        )
    )


def _changed_at_each(
    document: Document, changes: Mapping[str, Callable[[Any], Any]], blocked: Callable[[str, Any], None]
) -> Document:
    """Return the document with the value at each path changed; `blocked` raises where a scalar stands in the way."""

    def kept(path: str, value: Any) -> Any:
        blocked(path, value)
        return value

    for path, change in changes.items():
        document = changed(document, names_of(path), change, partial(kept, path))
    return document


def _protected(document: Document, changes: Mapping[str, Callable[[Any], Any]]) -> Document:
    """Return the document with the value at each path changed; raises MappingError where it may be elsewhere too."""
    for path in changes:
        if "." in path and path in document:
            reason = "a field of this very name, dots included, cannot be reached; it may hold the data itself"
            raise MappingError("E-TRANSFORM-PATH", path, reason)
    return _changed_at_each(document, changes, _unprotected)


def _obstructed(path: str, value: Any) -> None:
    kind = "null" if value is None else type(value).__name__
    raise MappingError("E-TRANSFORM-PATH", path, f"cannot be set: {kind} is on the way, not an object")


def _unprotected(path: str, value: Any) -> None:
    """Refuse a document that may hold what was to be protected in another place; null holds nothing."""
    if value is not None:
        kind = type(value).__name__
        raise MappingError(
            "E-TRANSFORM-PATH", path, f"{kind} is on the way, not an object; it may hold the data itself"
        )


_MAKERS: Mapping[str, Callable[[Any, Losses], Transformation]] = {
    "select": _select,
    "drop": _drop,
    "rename": _rename,
    "move": _move,
    "cast": _cast,
    "default": _default,
    "template": _template,
    "hash": _hash,
    "redact": _redact,
    "flatten": _flatten,
    "explode": _explode,
    "embed": _embed,
}
