"""DynamoDB as a target: one table a route, written in batches of prepared JSON and read back strongly consistent."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias

import orjson

from mappers.dynamodb.records import Item
from stores.contract.fence import Fence, TargetFence
from stores.contract.target import (
    Auditable,
    Countable,
    Describable,
    Divided,
    Fenced,
    Identified,
    Inspectable,
    Listable,
    Loadable,
    Place,
    Prompt,
    Rejected,
    Remakable,
    Removable,
    ScratchArea,
    ScratchAreas,
)
from stores.dynamodb import configuration as options
from stores.dynamodb.client import Calls
from stores.dynamodb.concurrency import ConcurrentRequests
from stores.dynamodb.import_files import FILE_LIMIT, Files
from stores.dynamodb.import_from_s3 import Import
from stores.dynamodb.items import WRITE_LIMIT, Items, Write, put
from stores.dynamodb.oversize import MARK, Unfit
from stores.dynamodb.oversize_parts import Parts
from stores.dynamodb.s3 import Objects
from stores.dynamodb.table import Table
from stores.dynamodb.territory import Territory
from stores.throttling.backoff import TIMING, Timing
from stores.throttling.rate_limiter import Paced, pace, spread

_OBJECT = "s3:"
"""What the address of an object that no item points at begins with; any other address is JSON."""


class DynamoDBTarget(
    Auditable,
    Countable,
    Describable,
    Divided,
    Fenced,
    Identified,
    Inspectable,
    Listable,
    Loadable[Item],
    Paced,
    Prompt,
    Remakable,
    Removable,
    ScratchAreas,
):
    """A table that holds one route's items, each under the key attributes of its address."""

    lists_once: ClassVar[bool] = True
    """A scan goes by the order of the keys: each page begins after the last key of the one before."""
    Connection: TypeAlias = options.Connection
    Placement: TypeAlias = options.Placement

    def __init__(
        self,
        connection: Connection,
        placement: Placement,
        route: str,
        *,
        timing: Timing = TIMING,
        most_import_files: int = FILE_LIMIT,
    ) -> None:
        """Take the options; raises ValueError for those that cannot be served."""
        self._table = options.table_name(connection, placement, route)
        options.check_placement(placement)
        self._key = placement.key
        self._territory = Territory(self._table, placement.key, shared=placement.shared)
        self._ttl_attribute = placement.ttl_attribute if placement.expires is not None else None
        self.calls = Calls(
            self._table,
            region=connection.region,
            endpoint=connection.endpoint,
            profile=connection.profile,
            timing=timing,
        )
        self._requests = ConcurrentRequests(options.checked_requests(connection), timing.clock)
        self._fence = TargetFence()
        self._described = Table(self._table, self.calls, options.wanted(placement), self._fence)
        ceilings = connection.ceilings()
        self.pace = pace(f"table {self._table}", ceilings, f"{connection.endpoint} {connection.region}", timing)
        self._items = Items(
            self._table,
            self._key,
            self.calls,
            self._requests,
            self.pace,
            self._fence,
            connection.retry_deadline_s,
            ttl_attribute=self._ttl_attribute,
            exact_units=ceilings.in_units,
        )
        place = f"{placement.oversize_prefix}{self._table}/{route}/"
        self._folding = options.folding(placement, place)
        self._objects: Objects | None = None
        if placement.oversize_bucket is not None:
            self._objects = options.objects(
                connection, placement.oversize_bucket, place, "oversize_bucket", self._fence
            )
        parts = Parts(self._ttl_attribute, self._items.put, self._items.get, self._items.delete)
        self._piece_store = self._objects or (parts if placement.oversize == "split" else None)
        self._import: Import | None = None
        if placement.import_bucket is not None:
            place = f"{placement.import_prefix}{self._table}/{route}/"
            files = Files(
                options.objects(connection, placement.import_bucket, place, "import_bucket", self._fence),
                place,
                self._key,
                self._folding,
                self._objects,
                self._ttl_attribute,
                most_files=most_import_files,
            )
            self._import = Import(
                self._described,
                self.calls,
                files,
                placement.import_bucket,
                self._fence,
                connection.import_deadline_s,
            )

    @classmethod
    def scratch_areas(cls, name: str, /) -> Sequence[ScratchArea]:
        """Return the areas that a canary of this name may use."""
        return (ScratchArea("item", {"table": name}),)

    @property
    def records(self) -> tuple[type[Item], ...]:
        """The record types it holds."""
        return (Item,)

    def set_fence(self, fence: Fence, /) -> None:
        """Look at this fence before each request that changes the table, its items or the route's objects in S3."""
        self._fence.set(fence)

    @property
    def prompt(self) -> bool:
        """Whether answers have not been waited for so far."""
        return not self._requests.waits

    @property
    def territory(self) -> str:
        """The whole table, or in a shared table the texts that the route's keys begin with."""
        return self._territory.text

    def describe_place(self) -> str:
        """Return the table, and in a shared table how the route's keys begin."""
        prefixes = [text.rstrip("\0") for text in self._territory.text.split("\x01")[1:]]
        return f"table {self._table}" + (f", keys {', '.join(f'{text}*' for text in prefixes)}" if prefixes else "")

    def describe_server(self) -> str:
        """Return the service and the region that its client works with."""
        return f"DynamoDB in {self.calls.client().meta.region_name}"

    @property
    def staging(self) -> Import | None:
        """Where a backfill's items wait to be imported; None for a route whose items are written as they come."""
        return self._import

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError if the table exists and is not the plan's."""
        if self._objects is not None:
            self._objects.check()
        return self._described.check() if self._import is None else self._import.check()

    def inspect_place(self) -> Place:
        """Return where DynamoDB answers and whether the table exists."""
        exists = self._described.id() is not None
        asked = ["dynamodb:DescribeTable", *(["dynamodb:DescribeTimeToLive"] if exists else [])]
        if self._objects is not None or self._import is not None:
            asked.append("s3:ListBucket")
        return Place(f"DynamoDB at {self.calls.host()}", f"table {self._table}", exists, asked)

    def identity(self) -> str | None:
        """Return the TableId, None where there is no table; "" of a route that is imported."""
        return self._described.id() if self._import is None else ""

    def prepare(self) -> str:
        """The table exists as planned, is active and expires items if asked; return its TableId (R137).

        Of a route that is imported the table is made at the end, and has no identity before.
        """
        if self._objects is not None:
            self._objects.check()
        if self._import is not None:
            self._import.check()
            return ""
        return self._described.prepare()

    def write(self, records: Sequence[Item], /) -> Sequence[Rejected]:
        """Write the items, each replacing what its address held; return those that DynamoDB refused.

        Of several items with the same address the last is written, and its rejection has that item's index. The pieces
        of an oversize item are written before the item, and the pieces of the item it replaces are deleted after.
        """
        last = {record.address: index for index, record in enumerate(records)}
        has_key = self._territory.has_key
        foreign = [
            Rejected(
                index, "E-DDB-KEY", f"the item's key attributes are not the table's ({', '.join(self._key.names)})"
            )
            for index, record in enumerate(records)
            if not has_key(record.address)
        ]
        for rejection in foreign:
            last.pop(records[rejection.index].address, None)
        if self._folding is None and not self._territory.shared:
            order = spread(list(last.items()), WRITE_LIMIT)
            puts = (put(index, address, records[index].body) for address, index in order)
            return foreign + self._items.apply(puts)
        before = self._piece_names(list(last))
        rejected = foreign
        writes: list[Write] = []
        pieces: dict[int, Collection[str]] = {}
        for address, index in last.items():
            try:
                if not self._territory.owns_address(address):
                    text = (
                        "its key does not begin with the fixed text of the route's `key`; it belongs to another route"
                    )
                    raise Unfit("E-DDB-TERRITORY", text)
                body = records[index].body
                if self._folding is not None:
                    folded = self._folding.fold(records[index])
                    body, pieces[index] = folded.body, folded.pieces.keys()
                    if folded.pieces and self._piece_store is not None:
                        self._piece_store.put(folded.pieces, folded.attributes)
                writes.append(put(index, address, body))
            except Unfit as unfit:
                rejected.append(Rejected(index, unfit.code, unfit.reason))
        rejected += self._items.apply(spread(writes, WRITE_LIMIT))
        if self._piece_store is not None:
            # Whatever the item at an address does not point at now is deleted: the old pieces, or the new ones of a
            # record that was refused.
            refused = {rejection.index for rejection in rejected}
            kept = {name for address, names in before.items() if last[address] in refused for name in names}
            kept |= {name for index, names in pieces.items() if index not in refused for name in names}
            all_names = {name for names in (*before.values(), *pieces.values()) for name in names}
            self._piece_store.delete(sorted(all_names - kept))
        return rejected

    def delete(self, addresses: Sequence[str], /) -> None:
        """Delete the route's items at these addresses, and then their pieces.

        An item that is not the route's, which a record for its place was refused for, stays.
        """
        items = [
            address
            for address in dict.fromkeys(addresses)
            if not address.startswith(_OBJECT)
            and self._territory.has_key(address)
            and self._territory.owns_address(address)
        ]
        pieces = [address.removeprefix(_OBJECT) for address in addresses if address.startswith(_OBJECT)]
        pieces += [name for names in self._piece_names(items).values() for name in names]
        self._items.delete(items)
        if self._piece_store is not None:
            self._piece_store.delete(pieces)

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Item]:
        """Return the items at these addresses, strongly consistent; an absent item is not in the answer.

        A folded item is returned as it was before folding. A folded item that cannot be unfolded is returned folded,
        which equals no mapper's record.
        """
        items = self._items.get(addresses)
        if self._folding is None:
            return items
        unfolded: dict[str, Item] = {}
        for address, item in items.items():
            whole = self._unfolded(item)
            if whole is not None:
                unfolded[address] = whole
        return unfolded

    def count(self) -> int | None:
        """Return how many items a strongly consistent scan counts; None where only their keys tell whose they are."""
        if self._territory.shared or self._folding is not None:
            return None
        return self._items.count()

    def addresses(self) -> Iterator[str]:
        """Yield the address of every item of the route, a page at a time, and then of pieces no item points at."""
        return self.addresses_of(0, 1)

    def addresses_of(self, share: int, shares: int, /) -> Iterator[str]:
        """Yield the addresses of one segment of a parallel scan; pieces need to be seen together, by the first."""
        if self._folding is None:
            return self._listed({} if shares == 1 else {"Segment": share, "TotalSegments": shares})
        return self._listed({}) if share == 0 else iter(())

    def _listed(self, segment: Mapping[str, int]) -> Iterator[str]:
        names = dict(zip(("#partition", "#sort"), self._key.names, strict=False))
        if self._piece_store is not None:
            names["#mark"] = MARK
        parts: dict[str, list[str]] = {}
        owned: set[str] = set()
        wanted = {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}
        for attributes in self._items.scan({**wanted, **segment}):
            if not self._territory.owns(attributes):
                continue
            address = self._items.address(attributes)
            group = self._folding.group(attributes) if self._folding is not None else None
            if group is not None:
                parts.setdefault(group, []).append(address)
                continue
            if self._folding is not None and MARK in attributes:
                owned.update(self._folding.owned(attributes))
            yield address
        yield from (address for group, listed in parts.items() if group not in owned for address in listed)
        if self._objects is not None:
            yield from (_OBJECT + name for name in self._objects.names() if name not in owned)

    @property
    def made(self) -> bool:
        """Whether `prepare` made the table."""
        return self._described.made

    def obsolete(self) -> str | None:
        """Return the TableId of a table without any item that has another key or other indexes than the plan."""
        identity = None if self._import is not None else self._described.obsolete()
        if identity is None:
            return None
        return identity if next(iter(self._items.scan({})), None) is None else None

    def audit(self) -> Sequence[str]:
        """Return why the table does not serve its items as planned: it is not active, or expires none."""
        return self._described.audit()

    def remove(self) -> None:
        """There is no table."""
        self._described.remove()

    def close(self) -> None:
        """Release connections."""
        self._requests.close()
        self.calls.close()
        for part in (self._objects, self._import):
            if part is not None:
                part.close()

    def _unfolded(self, item: Item) -> Item | None:
        """Return the item as it was before it was folded; None where its parts have expired before itself."""
        if self._folding is None or f'"{MARK}"'.encode() not in item.body:
            return item
        attributes = orjson.loads(item.body)
        if MARK not in attributes:
            return item
        names = self._folding.names(attributes)
        pieces = self._piece_store.get(names) if self._piece_store is not None else {}
        whole = self._folding.unfolded(attributes, pieces)
        if whole is not None:
            return Item(item.address, orjson.dumps(whole))
        expires = attributes.get(self._ttl_attribute or "", {}).get("N")
        gone = self._objects is None and len(pieces) < len(names)
        return None if gone and expires is not None and float(expires) <= time.time() else item

    def _piece_names(self, addresses: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return the names of the pieces that the items now held at these addresses point at.

        This reads what is to be replaced: without it a piece would be left behind that nothing points at.
        """
        if self._piece_store is None or self._folding is None:
            return {}
        return {
            address: self._folding.names(orjson.loads(item.body))
            for address, item in self._items.get(addresses).items()
            if MARK.encode() in item.body
        }
