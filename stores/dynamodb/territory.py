"""Which addresses a table can have, and which items of a shared table are the route's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from mappers.dynamodb.records import Key


class Territory:
    """The whole table, or in a shared table the items whose keys begin with the route's own texts."""

    def __init__(self, table: str, key: Key, *, shared: bool) -> None:
        """Take the table's name and key."""
        self._table = table
        self._key = key
        self.shared = shared
        names = [orjson.dumps(name).decode() for name in key.names]
        self._marks = [("}," if at else "{") + name + ':{"' for at, name in enumerate(names)]
        self._prefixes = tuple(attribute.prefix for attribute in key.attributes)

    @property
    def text(self) -> str:
        """The territory as `stores.contract.Target` has it."""
        if not self.shared:
            return self._table + "\0"
        return "\x01".join((self._table + "\0", *self._prefixes))

    def has_key(self, address: str) -> bool:
        """Return whether the address has the table's key attributes: within a string of JSON each quote is escaped."""
        first, *others = self._marks
        return (
            address.startswith(first)
            and all(map(address.__contains__, others))
            and address.count('":{"') == len(self._marks)
        )

    def owns_address(self, address: str) -> bool:
        """Return whether an item at this address, which has the table's key, is the route's."""
        return not self.shared or self.owns(orjson.loads(address))

    def owns(self, attributes: Mapping[str, Any]) -> bool:
        """Return whether the item with these attributes is the route's."""
        return not self.shared or all(
            (attributes[name].get("S", "") + "\0").startswith(prefix)
            for name, prefix in zip(self._key.names, self._prefixes, strict=True)
        )
