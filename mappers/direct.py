"""Plain documents straight from their stored bytes to the text a store takes, by the compiled module where it is there.

A document is plain when nothing in it needs a look: no name is escaped, no value tagged, lost, rejected or changed by
decoding. Most are, and for them the compiled module makes what the tables of `mappers.values` make, byte for byte, in a
tenth of their time (docs/decisions.md). Any other document, and every document where the module was not built, goes the
long way; so do a few of the plain ones, to be compared (`flows.projecting`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, TypeVar

import bson

from mappers.contract import Document, MappingError, Record
from mappers.decoding import CODEC_MS
from mappers.names import RESERVED

SWITCH = "OFFRAMP_COMPILED"
"""The environment variable that, as 0, leaves the compiled module unused."""


def _imported() -> ModuleType | None:
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        return import_module("mappers._direct")
    except ImportError:  # The package was installed without a C++ compiler.
        return None


_COMPILED = _imported()
COMPILED = _COMPILED is not None
"""Whether the compiled module is there and used."""

Shape = Literal["json", "item", "fields"]
"""JSON; DynamoDB's typed JSON; or a hash's fields, each a name and a text in bytes."""
_SHAPES: tuple[Shape, ...] = ("json", "item", "fields")
_DEEPEST = 64
"""Levels of nesting past which a document is not plain; the module recurses."""
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Plain:
    """What is plain in one form of record."""

    shape: Shape
    not_first: bytes = b"$"
    """What no name begins with: with $ it would look like a tag."""
    not_within: bytes = b""
    not_on_top: Sequence[bytes] = ()
    nameless: bool = False
    """Whether a name may be empty."""
    deepest: int = _DEEPEST
    most_number: int = 2**63 - 1
    scaled: bool = False
    """Whether a decimal that DynamoDB would write otherwise keeps its zeros, and so is no case for this."""
    null_text: bool = True
    """Whether null is a text in a hash."""


_decode: Callable[[bytes, Any], Document] = bson.decode


def most_number(int53: Literal["number", "string"]) -> int:
    """Return the largest whole number that the policy leaves a number."""
    return 2**53 if int53 == "string" else 2**63 - 1


REDIS_JSON = Plain("json", nameless=True)
INDEX_JSON = Plain("json", not_within=b"%.", not_on_top=[name.encode() for name in sorted(RESERVED) if name != "_id"])
ITEM = Plain("item", not_first=b"$%", deepest=31)
FIELDS = Plain("fields", nameless=True)


class Direct:
    """Texts of plain documents."""

    def __init__(self, plain: Plain, picked: Iterable[str], *, without_id: bool = False) -> None:
        """Take what is plain, and the top-level fields that keys and expiry are made of; raises without the module."""
        if _COMPILED is None:
            raise RuntimeError("the compiled module is not there")
        self._texts = _COMPILED.Direct(
            form=_SHAPES.index(plain.shape),
            picked=[name.encode() for name in dict.fromkeys(picked)],
            left_out=[b"_id"] if without_id else [],
            not_first=plain.not_first,
            not_within=plain.not_within,
            not_on_top=plain.not_on_top,
            nameless=plain.nameless,
            deepest=plain.deepest,
            most_number=plain.most_number,
            scaled=plain.scaled,
            null_text=plain.null_text,
        )

    def records(self, documents: Sequence[bytes], make: Callable[[Document, Any], R]) -> list[R | None]:
        """Return what `make` makes of each document's picked fields and its text, None for one that is not plain.

        What it raises MappingError for is none either: the long way says where and why.
        """
        made: list[R | None] = []
        for plain in self._texts(documents):
            record = None
            if plain is not None:
                fields, text = plain
                try:
                    record = make(_decode(fields, CODEC_MS), text)
                except MappingError:
                    record = None
            made.append(record)
        return made


def direct(plain: Plain, paths: Iterable[str], *, without_id: bool = False) -> Direct | None:
    """Return what makes texts, where only these fields decide on more than that; None without the compiled module."""
    picked = ["_id", *(path.partition(".")[0] for path in paths)]
    return Direct(plain, picked, without_id=without_id) if COMPILED else None
