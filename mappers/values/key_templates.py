"""Keys made of fields: `session:{_id}`."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, MappingError
from mappers.documents.fields import MISSING, lookup
from mappers.identity import IdEncoding, any_text_is_id, identity, may_be_id
from mappers.values.json_values import milliseconds

_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}")
_NO_SEPARATOR = ("", *"%0123456789ABCDEF")
"""What cannot end a field of a template: escaped, it would still be there."""


def by_identity(paths: Iterable[str]) -> bool:
    """Return whether all these fields are `_id` or parts of it."""
    return all(path.partition(".")[0] == "_id" for path in paths)


@dataclass(frozen=True, slots=True)
class Template:
    """A key with fields in braces, such as ``session:{_id}``; `_id` is put in its typed encoding by default (R31).

    Fields can be told apart in a filled key, so documents whose texts of the fields differ never share one. A field in
    double braces, ``cart:{{_id}}:items``, stands in braces in the key too: keys with the same text in braces share a
    slot of a Redis Cluster (R61).
    """

    text: str
    parts: Sequence[tuple[str, str]]
    """Literal text and the path that follows it ("" at the end)."""
    encoding: IdEncoding = "typed"
    """How `_id` is written."""

    @classmethod
    def parse(cls, text: str, encoding: IdEncoding = "typed") -> Template:
        """Return the template; raises ValueError naming what is wrong with the text."""
        parts: list[tuple[str, str]] = []
        at, closing = 0, ""
        literals = _PLACEHOLDER.sub("", text)
        if "{" in literals or "}" in literals:
            raise ValueError(f"{text!r} has a brace without its pair")
        for match in _PLACEHOLDER.finditer(text):
            tagged = match[1] is not None
            path = match[1] if tagged else match[2]
            if not path or any(not name for name in path.split(".")):
                raise ValueError(f"{text!r} has an empty field name in braces; write a field such as {{_id}}")
            parts.append((closing + text[at : match.start()] + ("{" if tagged else ""), path))
            at, closing = match.end(), "}" if tagged else ""
        for (_, path), (between, _) in itertools.pairwise(parts):
            if between[:1] in _NO_SEPARATOR:
                raise ValueError(
                    f"{text!r} does not show where {{{path}}} ends and the next field begins; write a separator such as"
                    " a colon behind it (no digit, % or letter from A to F)"
                )
        return cls(text, (*parts, (closing + text[at:], "")), encoding)

    @property
    def prefix(self) -> str:
        """The literal text before the first field; the whole text if the template has no field."""
        return self.parts[0][0]

    @property
    def constant(self) -> bool:
        """True if the template has no field, so that all documents share one key."""
        return len(self.parts) == 1

    @property
    def paths(self) -> Sequence[str]:
        """The fields that the template needs."""
        return [path for _, path in self.parts if path]

    def addresses(self, identity: Document) -> Sequence[str] | None:
        """Return the one key of a document, given its `_id` alone; None if the key needs other fields."""
        return [self.fill(identity)] if by_identity(self.paths) else None

    def fill(self, document: Document, typed: str | None = None) -> str:
        """Return the key of a document; raises MappingError if a field is missing or no scalar.

        `typed` is the typed text of its `_id`, if that is known and the template has no other field.

        Braces and percent signs of values are escaped: in Redis a brace chooses the cluster slot (R61). So is, in a
        field before another one, the character that ends it: ``{a}:{b}`` is one text for a = "x:y" and another for
        b = "y:z".
        """
        key = self.parts[0][0]
        if len(self.parts) == 2 and self.parts[0][1] == "_id" and self.encoding == "typed":
            # The usual key. The prefix of a typed id is a letter and a colon; what follows is then all that is escaped.
            text = identity(document) if typed is None else typed
            if text[2:].isalnum():
                return key + text + self.parts[1][0]
        for (_, path), (behind, following) in itertools.pairwise(self.parts):
            text = key_text(document, path, self.encoding) if typed is None else typed
            # The prefix of a typed id has a colon of its own, always as its second character.
            known = 2 if path == "_id" and self.encoding == "typed" else 0
            value = text[known:]
            # Of what is escaped, only a separator may be a letter or a digit.
            if not value.isalnum() or behind[:1].isalnum():
                value = _escaped(value, behind[0] if following else "")
            key += text[:known] + value + behind
        return key

    def match(self, key: str, id_kind: str = "") -> Mapping[str, str] | None:
        """Return the text of each field in a key as `fill` makes them; None for a key that it makes of no document.

        `id_kind` is the one kind of all plain ids, "" if it is not known.
        """
        if not key.startswith(self.prefix) or (self.constant and key != self.prefix):
            return None
        texts: dict[str, str] = {}
        at = len(self.prefix)
        for (_, path), (behind, following) in itertools.pairwise(self.parts):
            known = 2 if path == "_id" and self.encoding == "typed" else 0
            # In a field before another one the character that ends it is escaped; the last field ends with the key.
            end = key.find(behind[0], at + known) if following else len(key) - len(behind)
            if end < at + known or not (key.startswith(behind, end) if following else key.endswith(behind)):
                return None
            text = _unescaped(key[at + known : end], behind[0] if following else "")
            if text is None:
                return None
            text = key[at : at + known] + text
            if texts.setdefault(path, text) != text or (path == "_id" and not may_be_id(text, self.encoding, id_kind)):
                return None
            at = end + len(behind)
        return texts

    def takes_any(self, id_kind: str = "") -> bool:
        """Return whether each field of a key may have any text, so that a key hardly tells whose it is."""
        return all(path != "_id" or any_text_is_id(self.encoding, id_kind) for path in self.paths)


def _escaped(value: str, separator: str) -> str:
    value = value.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    if separator:
        value = value.replace(separator, "".join(f"%{byte:02X}" for byte in separator.encode()))
    return value


def _unescaped(text: str, separator: str) -> str | None:
    """Return what `_escaped` makes the text of; None for a text that it never makes."""
    try:
        text.encode()
        value = unquote(text, errors="strict")
    except UnicodeError:
        return None
    return value if _escaped(value, separator) == text else None


def key_text(document: Document, path: str, encoding: IdEncoding = "typed") -> str:
    """Return the text of a field within a key: `_id` as encoded, other scalars plain; raises MappingError otherwise."""
    if path == "_id":
        return identity(document, encoding)
    value = lookup(document, path)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | Int64 | ObjectId | Decimal128):
        return str(value)
    if isinstance(value, dt.datetime | DatetimeMS):
        return str(milliseconds(value))
    what = "is missing" if value is MISSING else f"is {type(value).__name__}, which cannot be part of a key"
    raise MappingError("E-MAP-KEY", path, f"needed for the key but {what}")
