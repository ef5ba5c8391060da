"""Items over DynamoDB's 400 KB: folded so that they fit, and unfolded to the very item the mapper made (R41).

Of a folded item the largest attributes are taken out, as zstd of their typed JSON, and an attribute `_overflow` says
where they are: in itself (compress), in further items under the same partition key (split), or in an object of S3.
Pieces are named by their content, so that a piece is never changed while an item still points at it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any, Literal

import orjson
import zstandard

from mappers.dynamodb.records import ITEM_LIMIT_BYTES, Item, Key

MARK = "_overflow"
"""The attribute that marks a folded item."""
PART = "_part"
"""The attribute of a part that holds its bytes."""
PART_PREFIX = "_part#"
"""What the sort key of every part begins with."""
_PART_BYTES = 380_000
"""Leaves room for the longest key and a TTL attribute."""
_UNFOLDED_LIMIT_BYTES = 512 * 1024 * 1024
"""A document of 16 MB is less than this as typed JSON; what claims to be more is damaged."""

Attributes = Mapping[str, Any]


class Unfit(Exception):
    """The item cannot be held: `code` and `reason` are those of its rejection."""

    def __init__(self, code: str, reason: str) -> None:
        """Keep both parts."""
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Folded:
    """What the table is to hold for a record, and the pieces beside it, by name."""

    body: bytes
    attributes: Attributes
    pieces: Mapping[str, bytes]


class Folding:
    """Folds and unfolds the items of one table."""

    def __init__(
        self,
        how: Literal["compress", "split", "s3"],
        key: Key,
        kept: Sequence[str],
        size_of: Callable[[Attributes], int],
        *,
        sizes: int = 1,
        place: str = "",
    ) -> None:
        """Take the policy: attributes that are `kept` stay where they are; `size_of` says what counts to the limit.

        `sizes` is how often an item may count in it; `place` is what the names of objects begin with.
        """
        self._how = how
        self._key = key
        self._kept = frozenset(kept)
        self._size_of = size_of
        self._sizes = sizes
        self._place = place

    def fold(self, record: Item) -> Folded:
        """Return what the table is to hold; raises Unfit for what does not fit, or what would look like our own."""
        # Typed JSON is always longer than what DynamoDB counts for it (R40).
        small = len(record.body) * self._sizes <= ITEM_LIMIT_BYTES
        if small and b"_overflow" not in record.body and b"_part#" not in record.body:
            return Folded(record.body, {}, {})
        attributes: dict[str, Any] = orjson.loads(record.body)
        if MARK in attributes or (self._how == "split" and self._is_part(attributes)):
            text = f"an attribute {MARK!r}, or a sort key that begins with {PART_PREFIX!r}, is reserved for offramp"
            raise Unfit("E-NAME-COLLISION", text)
        size = self._size_of(attributes)
        if size <= ITEM_LIMIT_BYTES:
            return Folded(record.body, {}, {})
        folded = self._folded(record.address, attributes)
        if folded is None:
            raise Unfit(
                "E-DDB-SIZE", f"the item is {size} bytes and is too large even with `oversize: {self._how}` either"
            )
        return folded

    def names(self, attributes: Attributes) -> Sequence[str]:
        """Return the names of the pieces a folded item points at; empty for an item that is damaged or not folded."""
        try:
            mark = attributes[MARK]["M"]
            if self._how == "s3":
                return [mark["key"]["S"]]
            if self._how == "split":
                return self._parts(attributes, mark["sha256"]["S"], int(mark["parts"]["N"]))
        except (KeyError, TypeError, ValueError):
            pass
        return ()

    def unfolded(self, attributes: Attributes, pieces: Mapping[str, bytes]) -> dict[str, Any] | None:
        """Return the attributes of the item that was folded, or None where a piece is absent or anything is damaged."""
        try:
            mark = attributes[MARK]["M"]
            if self._how == "compress":
                payload = base64.b64decode(mark["zstd"]["B"])
            else:
                payload = b"".join(pieces[name] for name in self.names(attributes))
                if sha256(payload).hexdigest() != mark["sha256"]["S"]:
                    return None
            if zstandard.get_frame_parameters(payload).content_size > _UNFOLDED_LIMIT_BYTES:
                return None
            moved: dict[str, Any] = orjson.loads(zstandard.ZstdDecompressor().decompress(payload))
        except (KeyError, TypeError, ValueError, zstandard.ZstdError):
            return None
        rest = {name: value for name, value in attributes.items() if name != MARK}
        return None if rest.keys() & moved.keys() else rest | moved

    def group(self, attributes: Attributes) -> str | None:
        """Return what tells the parts of one item from those of others, None for an item that is no part."""
        if self._how != "split" or not self._is_part(attributes):
            return None
        return self._grouped(attributes, attributes[self._key.names[1]]["S"].rpartition("#")[0])

    def owned(self, attributes: Attributes) -> Sequence[str]:
        """Return the groups of parts, or the names of objects, that a folded item points at."""
        if self._how == "s3":
            return self.names(attributes)
        try:
            return [self._grouped(attributes, self._stem(attributes, attributes[MARK]["M"]["sha256"]["S"]))]
        except (KeyError, TypeError):
            return ()

    def _grouped(self, attributes: Attributes, stem: str) -> str:
        return orjson.dumps([attributes[self._key.names[0]], stem]).decode()

    def _is_part(self, attributes: Attributes) -> bool:
        return bool(attributes[self._key.names[1]].get("S", "").startswith(PART_PREFIX))

    def _folded(self, address: str, attributes: dict[str, Any]) -> Folded | None:
        movable = sorted(
            (name for name in attributes if name not in self._kept),
            key=lambda name: (-len(orjson.dumps(attributes[name])), name),
        )
        count = 1
        while count <= len(movable):
            rest = {name: value for name, value in attributes.items() if name not in movable[:count]}
            if self._size_of(rest) <= ITEM_LIMIT_BYTES:
                moved = {name: attributes[name] for name in sorted(movable[:count])}
                payload = zstandard.ZstdCompressor(level=3).compress(orjson.dumps(moved))
                mark, pieces = self._marked(address, attributes, payload)
                whole = {**rest, MARK: {"M": mark}}
                if self._size_of(whole) <= ITEM_LIMIT_BYTES:
                    return Folded(orjson.dumps(whole), whole, pieces)
            count = len(movable) if count < len(movable) < count * 2 else count * 2
        return None

    def _marked(
        self, address: str, attributes: Attributes, payload: bytes
    ) -> tuple[dict[str, Any], Mapping[str, bytes]]:
        if self._how == "compress":
            return {"zstd": {"B": base64.b64encode(payload).decode()}}, {}
        digest = sha256(payload).hexdigest()
        if self._how == "s3":
            name = f"{self._place}{_digest(address)}/{digest}.json.zst"
            return {"key": {"S": name}, "sha256": {"S": digest}}, {name: payload}
        cut = [payload[at : at + _PART_BYTES] for at in range(0, len(payload), _PART_BYTES)]
        names = self._parts(attributes, digest, len(cut))
        return {"parts": {"N": str(len(cut))}, "sha256": {"S": digest}}, dict(zip(names, cut, strict=True))

    def _parts(self, attributes: Attributes, digest: str, count: int) -> list[str]:
        """Return the addresses of an item's parts."""
        partition, sort = self._key.names
        stem = self._stem(attributes, digest)
        return [
            orjson.dumps({partition: attributes[partition], sort: {"S": f"{stem}#{number:04d}"}}).decode()
            for number in range(1, count + 1)
        ]

    def _stem(self, attributes: Attributes, digest: str) -> str:
        owner = _digest(orjson.dumps(attributes[self._key.names[1]]).decode())
        return f"{PART_PREFIX}{owner}#{digest[:32]}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
