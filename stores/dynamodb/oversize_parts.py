"""Parts of an item that is too large, held as further items beneath its partition key."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from mappers.dynamodb.records import Item
from stores.contract.target import Rejected
from stores.dynamodb.oversize import PART, Unfit


class Parts:
    """Pieces of bytes as items of the table, each under the address that is its name."""

    def __init__(
        self,
        ttl_attribute: str | None,
        put: Callable[[Mapping[str, bytes]], Sequence[Rejected]],
        get: Callable[[Sequence[str]], Mapping[str, Item]],
        delete: Callable[[Sequence[str]], None],
    ) -> None:
        """Take how the table's items are written, read and deleted as they are."""
        self._ttl_attribute = ttl_attribute
        self._put = put
        self._get = get
        self._delete = delete

    def put(self, pieces: Mapping[str, bytes], owner: Mapping[str, Any]) -> None:
        """Write the parts, to expire with the item they belong to; raises Unfit if a part is refused."""
        bodies: dict[str, bytes] = {}
        for name, content in pieces.items():
            attributes = orjson.loads(name) | {PART: {"B": base64.b64encode(content).decode()}}
            if self._ttl_attribute is not None and self._ttl_attribute in owner:
                attributes[self._ttl_attribute] = owner[self._ttl_attribute]
            bodies[name] = orjson.dumps(attributes)
        for refused in self._put(bodies):
            raise Unfit(refused.code, f"a part of it is refused: {refused.reason}")

    def get(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return the bytes of the parts under these names; an absent or foreign part is not in the answer."""
        parts: dict[str, bytes] = {}
        for name, item in self._get(names).items():
            content = orjson.loads(item.body).get(PART, {}).get("B")
            if content is not None:
                parts[name] = base64.b64decode(content)
        return parts

    def delete(self, names: Sequence[str]) -> None:
        """There are no parts under these names."""
        self._delete(names)
