"""The fast path: the compiled module turns the stored bytes of plain documents straight into a store's text.

A document is plain when nothing in it needs a look: no name is escaped, no value tagged, lost, rejected or changed by
decoding. Most are, and for them the compiled module makes what the tables of `json_values` make, byte for byte, in a
tenth of their time (docs/decisions.md). Any other document, and every document where the module was not built, goes the
long way; so do a few of the plain ones, to be compared (`flows.copying.projection`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import bson

from mappers.contract import Document, MappingError, Record
from mappers.documents.decoding import CODEC_MS
from mappers.native.extension import MODULE
from mappers.values.field_names import RESERVED

Shape = Literal["json", "item", "fields"]
"""JSON; DynamoDB's typed JSON; or a hash's fields, each a name and a text in bytes."""
_SHAPES: tuple[Shape, ...] = ("json", "item", "fields")
_DEEPEST = 64
"""Levels of nesting past which a document is not plain; the module recurses."""
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Plain:
    """The definition of a plain document for one form of record."""

    shape: Shape
    not_first: bytes = b"$"
    """Bytes that no name begins with. A name with $ would look like a tag."""
    not_within: bytes = b""
    not_on_top: Sequence[bytes] = ()
    nameless: bool = False
    """True if a name may be empty."""
    deepest: int = _DEEPEST
    most_number: int = 2**63 - 1
    scaled: bool = False
    """True if decimals keep their zeros: a decimal that DynamoDB would write otherwise is then not plain."""
    null_text: bool = True
    """True if null is a text in a hash."""


_NOTHING: Document = {}
_decode: Callable[[bytes, Any], Document] = bson.decode


def most_number(int53: Literal["number", "string"]) -> int:
    """Return the largest whole number that the policy leaves a number."""
    return 2**53 if int53 == "string" else 2**63 - 1


REDIS_JSON = Plain("json", nameless=True)
INDEX_JSON = Plain("json", not_within=b"%.", not_on_top=[name.encode() for name in sorted(RESERVED) if name != "_id"])
ITEM = Plain("item", not_first=b"$%", deepest=31)
FIELDS = Plain("fields", nameless=True)


class Direct:
    """Makes the texts of plain documents. Without the compiled module it makes none."""

    def __init__(
        self,
        plain: Plain,
        paths: Iterable[str],
        *,
        typed: bool = True,
        without_id: bool = False,
        free: Iterable[str] = (),
    ) -> None:
        """Take the definition of a plain document, and the dotted paths that keys and expiry depend on.

        `typed`: the typed text of `_id` is enough if no other field is needed. A document with one of the `free` names
        at its top level is not plain, because the record needs these names itself.
        """
        paths = set(paths)
        self._texts = None
        if MODULE is None:
            return
        self._texts = MODULE.Direct(
            form=_SHAPES.index(plain.shape),
            picked=sorted({path.partition(".")[0].encode() for path in paths} - {b"_id"}),
            by_id=typed and paths <= {"_id"},
            left_out=[b"_id"] if without_id else [],
            not_first=plain.not_first,
            not_within=plain.not_within,
            not_on_top=[*plain.not_on_top, *(name.encode() for name in free)],
            nameless=plain.nameless,
            deepest=plain.deepest,
            most_number=plain.most_number,
            scaled=plain.scaled,
            null_text=plain.null_text,
        )

    def records(self, documents: Sequence[bytes], make: Callable[[Document, Any, str | None], R]) -> Sequence[R | None]:
        """Return the result of `make` for each document's picked fields and text; None for one that is not plain.

        If no field but the `_id` is needed, `make` gets its typed text in place of the fields. The result is also None
        where `make` raises MappingError: mapping the decoded document says where and why. Empty without the module.
        """
        if self._texts is None:
            return ()
        records: list[R | None] = []
        for plain in self._texts(documents):
            if plain is None:
                records.append(None)
                continue
            known, text = plain
            try:
                if type(known) is str:
                    records.append(make(_NOTHING, text, known))
                else:
                    records.append(make(_decode(known, CODEC_MS), text, None))
            except MappingError:
                records.append(None)
        return records
