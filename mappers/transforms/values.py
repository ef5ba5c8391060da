"""Transforms that give fields other values: another type, a default, a text made of other fields."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar

from mappers.contract import Document, MappingError
from mappers.documents.fields import MISSING
from mappers.identity import identity
from mappers.losses import Losses
from mappers.transforms.casts import ROUNDED, CastType, cast, encodable
from mappers.transforms.paths import changed, changed_at_each, names_of, obstructed, put, reached
from mappers.transforms.transform import Fault, Substitute, Transform, Where, below, check_paths, keyed
from mappers.values.key_templates import Template


@dataclass(frozen=True)
class Cast(Transform):
    """Values as another type."""

    name: ClassVar[str] = "cast"
    useless_on: ClassVar[Collection[Substitute]] = ("value", "text")
    fields: Mapping[str, CastType]
    """The type of each field, by dotted path; each element of an array is cast."""
    default: Mapping[str, Any] = field(default_factory=dict)
    """What stands instead, by path, of a field that is missing, null or cannot be cast; the last two are counted."""
    optional: bool = False
    """Leave a missing field missing and null null; otherwise they are rejects."""
    lossy: bool = False
    """Cast even where the value is another one then, such as 1.7 as 1, and count it; otherwise it is a reject."""

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths, and defaults that are not of the type."""
        yield from below("fields", check_paths(keyed(self.fields)))
        for path, value in self.default.items():
            if path not in self.fields:
                yield ("default", path), f"is not a field of this cast; allowed: {', '.join(self.fields)}"
                continue
            try:
                _default_as(value, self.fields[path])
            except ValueError as error:
                yield ("default", path), f"is neither null nor a valid {self.fields[path]}: {error}"

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return the fields without a default."""
        return [(where, path) for where, path in keyed(self.fields, "fields").items() if path not in self.default]

    def makes(self) -> Sequence[str]:
        """Return the fields with a default."""
        return list(self.default)

    def leaves_date(self, path: str) -> bool | None:
        """Return whether the field is cast to date."""
        return self.fields[path] == "date" if path in self.fields else None

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with its fields cast; raises MappingError for a value that has no such form."""
        for path, names, to in self._places:
            cast_value = partial(self._cast, path, to, losses)
            document = changed(document, names, cast_value, partial(self._blocked, path, cast_value))
        return (document,)

    @cached_property
    def _places(self) -> Sequence[tuple[str, Sequence[str], CastType]]:
        return [(path, names_of(path), to) for path, to in self.fields.items()]

    @cached_property
    def _defaults(self) -> Mapping[str, Any]:
        return {path: _default_as(value, self.fields[path]) for path, value in self.default.items()}

    def _cast(self, path: str, to: CastType, losses: Losses, value: Any) -> Any:
        if value is MISSING or value is None:
            if self.optional and path not in self._defaults:
                return value
            what = "is missing" if value is MISSING else "is null"
            return self._default(path, value, losses, "E-TRANSFORM-MISSING", f"{what} and has no default to cast")
        if isinstance(value, list):
            return [self._cast(path, to, losses, element) for element in value]
        try:
            converted, lost = cast(value, to)
        except ValueError as error:
            return self._default(path, value, losses, "E-TRANSFORM-CAST", str(error))
        if lost == ROUNDED and not self.lossy:
            reason = f"would change as {to}; set lossy: true to cast it anyway and count the loss"
            return self._default(path, value, losses, "E-TRANSFORM-LOSSY", reason)
        if lost:
            losses.add(lost, path)
        return converted

    def _default(self, path: str, value: Any, losses: Losses, code: str, reason: str) -> Any:
        """Return the field's default; raises MappingError if it has none."""
        if path not in self._defaults:
            raise MappingError(code, path, reason)
        if value is not MISSING:
            losses.add("cast_default", path)
        return copy.deepcopy(self._defaults[path])

    def _blocked(self, path: str, cast_value: Callable[[Any], Any], value: Any) -> Any:
        """Return the value on the way to the field; raises MappingError if a default would have to be set below it."""
        if cast_value(MISSING) is not MISSING:
            obstructed(path, value)
        return value


def _default_as(value: Any, to: CastType) -> Any:
    """Return a plan's default for a cast as that type; raises ValueError if the cast fails or rounds."""
    value = encodable(value)
    if value is None:
        return None
    converted, lost = cast(value, to)
    if lost == ROUNDED:
        raise ValueError(f"would change as {to}")
    return converted


@dataclass(frozen=True)
class Default(Transform):
    """A value for each field that a document lacks, by dotted path; null counts as there."""

    name: ClassVar[str] = "default"
    bare: ClassVar[bool] = True
    values: Mapping[str, Any]

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths, and values that no document can hold."""
        yield from check_paths(keyed(self.values))
        yield from check_values(self.values)

    def makes(self) -> Sequence[str]:
        """Return the fields."""
        return list(self.values)

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with its missing fields; raises MappingError where a scalar is on the way."""
        return (changed_at_each(document, self._changes, obstructed),)

    @cached_property
    def _changes(self) -> Mapping[str, Any]:
        return {path: partial(_filled, encodable(value)) for path, value in self.values.items()}


def _filled(default: Any, value: Any) -> Any:
    return copy.deepcopy(default) if value is MISSING else value


def check_values(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the values that no document can hold, each by its key."""
    for path, value in values.items():
        try:
            encodable(value)
        except ValueError as error:
            yield (path,), str(error)


@dataclass(frozen=True)
class TemplateText(Transform):
    """New text fields made of others."""

    name: ClassVar[str] = "template"
    fields: Mapping[str, str]
    """New text fields by dotted path, such as "{city}, {country}"; {_id} is the typed text of the `_id`."""
    default: Mapping[str, str] = field(default_factory=dict)
    """What stands instead, by path, where a field in braces is missing or cannot stand in a text."""

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths and templates, and defaults of no field."""
        yield from below("fields", check_paths(keyed(self.fields)))
        for path, text in self.fields.items():
            try:
                Template.parse(text)
            except ValueError as error:
                yield ("fields", path), str(error)
        for path in self.default:
            if path not in self.fields:
                yield ("default", path), f"is not a field of this template; allowed: {', '.join(self.fields)}"

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return the fields in braces."""
        return [(("fields", path), part) for path, template in self._templates.items() for part in template.paths]

    def makes(self) -> Sequence[str]:
        """Return the new fields."""
        return list(self.fields)

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with its texts, each made of the document as it came; raises MappingError otherwise."""
        texts = {path: self._text(document, path, template) for path, template in self._templates.items()}
        for path, text in texts.items():
            document = put(document, path, text)
        return (document,)

    @cached_property
    def _templates(self) -> Mapping[str, Template]:
        return {path: Template.parse(text) for path, text in self.fields.items()}

    def _text(self, document: Document, path: str, template: Template) -> str:
        try:
            return "".join(
                literal + (_part_text(document, part, path) if part else "") for literal, part in template.parts
            )
        except MappingError:
            if path in self.default:
                return self.default[path]
            raise


def _part_text(document: Document, part: str, path: str) -> str:
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


TRANSFORMS: tuple[type[Transform], ...] = (Cast, Default, TemplateText)
