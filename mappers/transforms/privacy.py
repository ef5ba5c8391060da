"""Transforms that take personal data out of documents: they reject a document that may hold it elsewhere too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any, ClassVar

from mappers.contract import Document, MappingError
from mappers.documents.fields import MISSING
from mappers.identity import encode
from mappers.losses import Losses
from mappers.transforms.casts import encodable
from mappers.transforms.paths import changed_at_each
from mappers.transforms.transform import (
    Fault,
    Known,
    Substitute,
    Transform,
    Where,
    below,
    check_paths,
    keyed,
    listed,
)
from mappers.transforms.values import check_values

_SALT_BYTES = range(16, 65)
"""BLAKE2b takes a key of at most 64 bytes; a short one can be guessed."""


_VALUE: Substitute = "value"


@dataclass(frozen=True)
class Hash(Transform):
    """Personal data as a keyed hash: still equal where it was equal, and not to be read."""

    name: ClassVar[str] = "hash"
    secrets: ClassVar[Collection[str]] = ("salt",)
    useless_on: ClassVar[Collection[Substitute]] = (_VALUE,)
    fields: Sequence[str]
    """Fields whose values become a keyed BLAKE2b-256 in hex, by dotted path; `_id` may be one of them."""
    salt: str = field(repr=False)
    """The secret key, 16 to 64 bytes, from the environment: equal values have equal hashes under the same salt."""

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths, and a salt that is too short or too long."""
        yield from below("fields", check_paths(listed(self.fields), whole_id=True))
        if len(self._key) not in _SALT_BYTES:
            least, most = _SALT_BYTES[0], _SALT_BYTES[-1]
            yield ("salt",), f"has less than {least} bytes, which can be guessed, or more than {most}"

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return the fields."""
        return list(listed(self.fields, "fields").items())

    def follow(self, known: Known, step: str) -> None:
        """Record that the fields are hashes."""
        for path in self.fields:
            known.substitute(path, "value", step)

    def leaves_date(self, path: str) -> bool | None:
        """Return False for a field that is hashed."""
        return False if path in self.fields else None

    def of_id(self) -> Transform | None:
        """Return the hash of the `_id`, if that is one of the fields."""
        return replace(self, fields=["_id"]) if "_id" in self.fields else None

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with its fields hashed, null still null."""
        return (_protected(document, self._changes),)

    @cached_property
    def _key(self) -> bytes:
        return self.salt.encode(errors="surrogateescape")

    @cached_property
    def _changes(self) -> Mapping[str, Callable[[Any], Any]]:
        return dict.fromkeys(self.fields, self._digest)

    def _digest(self, value: Any) -> Any:
        if value is MISSING or value is None:
            return value
        if isinstance(value, list):
            return [self._digest(element) for element in value]
        return blake2b(encode(value).encode(), digest_size=32, key=self._key).hexdigest()


@dataclass(frozen=True)
class Redact(Transform):
    """What stands instead of each field, by dotted path, where a document has it."""

    name: ClassVar[str] = "redact"
    bare: ClassVar[bool] = True
    useless_on: ClassVar[Collection[Substitute]] = (_VALUE,)
    values: Mapping[str, Any]

    def check(self) -> Iterator[Fault]:
        """Yield wrong paths, and values that no document can hold."""
        yield from check_paths(keyed(self.values))
        yield from check_values(self.values)

    def reads(self) -> Sequence[tuple[Where, str]]:
        """Return the fields."""
        return list(keyed(self.values).items())

    def follow(self, known: Known, step: str) -> None:
        """Record that the fields have other values."""
        for path in self.values:
            known.substitute(path, "value", step)

    def apply(self, document: Document, losses: Losses) -> Iterable[Document]:
        """Return the document with the values in place of the fields that it has."""
        return (_protected(document, self._changes),)

    @cached_property
    def _changes(self) -> Mapping[str, Callable[[Any], Any]]:
        return {path: partial(_redacted, encodable(value)) for path, value in self.values.items()}


def _redacted(instead: Any, value: Any) -> Any:
    return value if value is MISSING else copy.deepcopy(instead)


def _protected(document: Document, changes: Mapping[str, Callable[[Any], Any]]) -> Document:
    """Return the document with the value at each path changed; raises MappingError where it may be elsewhere too."""
    for path in changes:
        if "." in path and path in document:
            reason = "a field of this very name, dots included, cannot be reached; it may hold the data itself"
            raise MappingError("E-TRANSFORM-PATH", path, reason)
    return changed_at_each(document, changes, _unprotected)


def _unprotected(path: str, value: Any) -> None:
    """Refuse a document that may have the protected data in another place; null is no data."""
    if value is not None:
        kind = type(value).__name__
        raise MappingError(
            "E-TRANSFORM-PATH", path, f"{kind} is on the way, not an object; it may hold the data itself"
        )


TRANSFORMS: tuple[type[Transform], ...] = (Hash, Redact)
