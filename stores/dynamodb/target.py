"""DynamoDB as a target: one table a route, written in batches of prepared JSON and read back strongly consistent."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import orjson
from msgspec.structs import replace

from mappers.dynamodb.records import Item, item_from_store, item_size
from stores.contract.target import Rejected
from stores.dynamodb import configuration as options
from stores.dynamodb.client import Calls, Refused
from stores.dynamodb.concurrency import SideBySide
from stores.dynamodb.import_files import Files
from stores.dynamodb.import_from_s3 import Import
from stores.dynamodb.oversize import MARK, Unfit
from stores.dynamodb.oversize_parts import Parts
from stores.dynamodb.s3 import Objects
from stores.dynamodb.table import Table
from stores.errors import PermanentError, TransientError
from stores.throttling.backoff import Backoff
from stores.throttling.rate_limiter import pace, spread

_WRITE_LIMIT = 25
_WRITE_LIMIT_BYTES = 12 * 1024 * 1024
"""BatchWriteItem takes 16 MB as sent; control characters alone grow sixfold in JSON (R46)."""
_READ_LIMIT = 100
_OBJECT = "s3:"
"""What the address of an object that no item points at begins with; any other address is JSON."""


class DynamoDBTarget:
    """A table that holds one route's items, each under the key attributes of its address."""

    Connection: TypeAlias = options.Connection
    Placement: TypeAlias = options.Placement

    def __init__(self, connection: Connection, placement: Placement, route: str) -> None:
        """Take the options; raises ValueError for those that cannot be served."""
        self._table = options.table_name(connection, placement, route)
        options.check_placement(placement)
        self._key = placement.key
        self._shared = placement.shared
        names = [orjson.dumps(name).decode() for name in placement.key.names]
        self._marks = [("}," if at else "{") + name + ':{"' for at, name in enumerate(names)]
        self._prefixes = tuple(one.prefix for one in placement.key.attributes)
        self._ttl_attribute = placement.ttl_attribute if placement.expires is not None else None
        self._retry_deadline_s = connection.retry_deadline_s
        self.calls = Calls(
            self._table, region=connection.region, endpoint=connection.endpoint, profile=connection.profile
        )
        self._requests = SideBySide(options.checked_requests(connection))
        self._described = Table(self._table, self.calls, options.wanted(placement))
        ceilings = connection.ceilings()
        self.pace = pace(f"table {self._table}", ceilings, f"{connection.endpoint} {connection.region}")
        self._exactly = ceilings.in_units
        place = f"{placement.oversize_prefix}{self._table}/{route}/"
        self._folding = options.folding(placement, place)
        self._objects: Objects | None = None
        if placement.oversize_bucket is not None:
            self._objects = options.objects(connection, placement.oversize_bucket, place, "oversize_bucket")
        parts = Parts(self._ttl_attribute, self._put_bodies, self._held, self._delete_items)
        self._beside = self._objects or (parts if placement.oversize == "split" else None)
        self._import: Import | None = None
        if placement.import_bucket is not None:
            place = f"{placement.import_prefix}{self._table}/{route}/"
            files = Files(
                options.objects(connection, placement.import_bucket, place, "import_bucket"),
                place,
                self._key,
                self._folding,
                self._objects,
                self._ttl_attribute,
            )
            self._import = Import(
                self._described, self.calls, files, placement.import_bucket, connection.import_deadline_s
            )

    @property
    def records(self) -> tuple[type[Item], ...]:
        """The record types it holds."""
        return (Item,)

    @property
    def prompt(self) -> bool:
        """Whether answers have not been waited for so far."""
        return not self._requests.waits

    @property
    def territory(self) -> str:
        """The whole table, or in a shared one what its keys begin with."""
        if not self._shared:
            return self._table + "\0"
        return "\x01".join((self._table + "\0", *self._prefixes))

    @property
    def staging(self) -> Import | None:
        """Where a backfill's items wait to be imported; None for a route whose items are written as they come."""
        return self._import

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError if the table exists and is not the plan's."""
        if self._objects is not None:
            self._objects.check()
        return self._described.check() if self._import is None else self._import.check()

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
        """Every item is held, replacing what stood at its address, or is in the answer.

        Of several items with one address the last is written, and a rejection is reported at its place. What an item
        is too large for is held beside it before the item is written, and what it held before is deleted after.
        """
        last = {record.address: index for index, record in enumerate(records)}
        foreign = [
            Rejected(index, "E-DDB-KEY", f"the item's key is not the table's ({', '.join(self._key.names)})")
            for index, record in enumerate(records)
            if not self._keyed(record.address)
        ]
        for one in foreign:
            last.pop(records[one.index].address, None)
        if self._folding is None and not self._shared:
            order = spread(list(last.items()), _WRITE_LIMIT)
            puts = (_Operation(index, address, _put(records[index].body)) for address, index in order)
            return foreign + self._apply(puts)
        before = self._pieces_held(list(last))
        rejected = foreign
        operations: list[_Operation] = []
        pieces: dict[int, Collection[str]] = {}
        for address, index in last.items():
            try:
                if self._shared and not self._mine(orjson.loads(address)):
                    text = "its key does not begin as the route's `key` says, so it is not this route's to write"
                    raise Unfit("E-DDB-TERRITORY", text)
                body = records[index].body
                if self._folding is not None:
                    folded = self._folding.fold(records[index])
                    body, pieces[index] = folded.body, folded.pieces.keys()
                    if folded.pieces and self._beside is not None:
                        self._beside.put(folded.pieces, folded.attributes)
                operations.append(_Operation(index, address, _put(body)))
            except Unfit as unfit:
                rejected.append(Rejected(index, unfit.code, unfit.reason))
        rejected += self._apply(spread(operations, _WRITE_LIMIT))
        if self._beside is not None:
            # Whatever the item at an address does not point at now is deleted: the old pieces, or the new ones of a
            # record that was refused.
            refused = {one.index for one in rejected}
            kept = {name for address, names in before.items() if last[address] in refused for name in names}
            kept |= {name for index, names in pieces.items() if index not in refused for name in names}
            all_names = {name for names in (*before.values(), *pieces.values()) for name in names}
            self._beside.delete(sorted(all_names - kept))
        return rejected

    def delete(self, addresses: Sequence[str], /) -> None:
        """Nothing of the route is held at these addresses: no item, and then no piece of one.

        An item that is not the route's, which a record for its place was refused for, stays.
        """
        items = [
            address
            for address in dict.fromkeys(addresses)
            if not address.startswith(_OBJECT)
            and self._keyed(address)
            and (not self._shared or self._mine(orjson.loads(address)))
        ]
        pieces = [address.removeprefix(_OBJECT) for address in addresses if address.startswith(_OBJECT)]
        pieces += [name for names in self._pieces_held(items).values() for name in names]
        self._delete_items(items)
        if self._beside is not None:
            self._beside.delete(pieces)

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Item]:
        """Return the items held at these addresses, strongly consistent; an absent one is not in the answer.

        An item that was folded is returned as it was before, through its pieces; one that cannot be is returned as it
        stands, which no mapper makes.
        """
        held = self._held(addresses)
        if self._folding is None:
            return held
        unfolded: dict[str, Item] = {}
        for address, item in held.items():
            whole = self._unfolded(item)
            if whole is not None:
                unfolded[address] = whole
        return unfolded

    def count(self) -> int | None:
        """Return how many items a strongly consistent scan counts; None where only their keys tell whose they are."""
        if self._shared or self._folding is not None:
            return None
        pages = self._pages({"Select": "COUNT"})
        return sum(int(self._part(page, "Count")) for page in pages)

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
        if self._beside is not None:
            names["#mark"] = MARK
        parts: dict[str, list[str]] = {}
        owned: set[str] = set()
        wanted = {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}
        for page in self._pages({**wanted, **segment}):
            for attributes in self._part(page, "Items"):
                if self._shared and not self._mine(attributes):
                    continue
                address = self._address(attributes)
                group = self._folding.group(attributes) if self._folding is not None else None
                if group is not None:
                    parts.setdefault(group, []).append(address)
                    continue
                if self._folding is not None and MARK in attributes:
                    owned.update(self._folding.owned(attributes))
                yield address
        yield from (address for group, found in parts.items() if group not in owned for address in found)
        if self._objects is not None:
            yield from (_OBJECT + name for name in self._objects.names() if name not in owned)

    def _pages(self, wanted: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the pages of a strongly consistent scan."""
        position: dict[str, Any] = {}
        while True:
            asked = {"TableName": self._table, "ConsistentRead": True, **wanted, **position}
            page = self.calls.patiently(
                self._retry_deadline_s, partial(self.calls.prepared, "scan", orjson.dumps(asked), TableName=self._table)
            )
            yield page
            if not page.get("LastEvaluatedKey"):
                return
            position = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

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
        for one in (self._objects, self._import):
            if one is not None:
                one.close()

    def _held(self, addresses: Sequence[str]) -> dict[str, Item]:
        """Return the items as the table holds them."""
        wanted = list(dict.fromkeys(addresses))
        batches = [set(wanted[at : at + _READ_LIMIT]) for at in range(0, len(wanted), _READ_LIMIT)]
        held: dict[str, Item] = {}
        for some in self._requests.answers(self._read_batch, batches):
            held |= some
        return held

    def _unfolded(self, item: Item) -> Item | None:
        """Return the item as it was before it was folded; None where its parts have expired before itself."""
        if self._folding is None or f'"{MARK}"'.encode() not in item.body:
            return item
        attributes = orjson.loads(item.body)
        if MARK not in attributes:
            return item
        names = self._folding.names(attributes)
        pieces = self._beside.get(names) if self._beside is not None else {}
        whole = self._folding.unfolded(attributes, pieces)
        if whole is not None:
            return Item(item.address, orjson.dumps(whole))
        expires = attributes.get(self._ttl_attribute or "", {}).get("N")
        gone = self._objects is None and len(pieces) < len(names)
        return None if gone and expires is not None and float(expires) <= time.time() else item

    def _pieces_held(self, addresses: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return the names of the pieces that the items now held at these addresses point at.

        This reads what is to be replaced: without it a piece would be left behind that nothing points at.
        """
        if self._beside is None or self._folding is None:
            return {}
        return {
            address: self._folding.names(orjson.loads(item.body))
            for address, item in self._held(addresses).items()
            if MARK.encode() in item.body
        }

    def _put_bodies(self, bodies: Mapping[str, bytes]) -> Sequence[Rejected]:
        return self._apply(_Operation(0, address, _put(body)) for address, body in bodies.items())

    def _delete_items(self, addresses: Sequence[str]) -> None:
        rejected = self._apply(
            _Operation(index, address, b'{"DeleteRequest":{"Key":%b}}' % address.encode())
            for index, address in enumerate(dict.fromkeys(addresses))
        )
        if rejected:
            text = f"table {self._table!r} refuses {len(rejected)} deletes: {rejected[0].reason}; correct `key`"
            raise PermanentError("E-DDB-REFUSED", text)

    def _keyed(self, address: str) -> bool:
        """Whether the address is of the table's key attributes: within a string of JSON each quote has a backslash."""
        first, *others = self._marks
        return (
            address.startswith(first)
            and all(map(address.__contains__, others))
            and address.count('":{"') == len(self._marks)
        )

    def _mine(self, attributes: Mapping[str, Any]) -> bool:
        """Whether an item of a shared table is this route's, by what its keys begin with."""
        return all(
            (attributes[name].get("S", "") + "\0").startswith(prefix)
            for name, prefix in zip(self._key.names, self._prefixes, strict=True)
        )

    def _apply(self, operations: Iterable[_Operation]) -> list[Rejected]:
        answers = self._requests.answers(lambda batch: list(self._apply_batch(batch)), list(_batches(operations)))
        return [rejected for answer in answers for rejected in answer]

    def _apply_batch(self, batch: Sequence[_Operation]) -> Iterator[Rejected]:
        """Carry the operations out and yield those refused; the halves of a refused batch are tried apart (R142)."""
        pending = {operation.address: operation for operation in batch}
        backoff = Backoff(self._retry_deadline_s)
        while pending:
            turn = self.pace.ask(len(pending), self._units(pending.values()))
            backoff.extend(turn.waited_s)
            try:
                left = self._send(pending)
            except TransientError as error:
                self.pace.tell(turn, len(pending), throttled=error.code == "E-DDB-BUSY")
                if not backoff.wait():
                    raise
                continue
            except Refused as refused:
                operations = list(pending.values())
                if len(operations) == 1:
                    yield Rejected(operations[0].place, refused.store_code, refused.reason)
                    return
                half = len(operations) // 2
                yield from self._apply_batch(operations[:half])
                yield from self._apply_batch(operations[half:])
                return
            self.pace.tell(turn, len(left))
            if len(left) < len(pending):
                backoff = Backoff(self._retry_deadline_s)
            pending = {address: pending[address] for address in left}
            if pending and not backoff.wait():
                raise self._throttled(len(pending))

    def _units(self, operations: Collection[_Operation]) -> float:
        """Return the write capacity units of operations: exactly where there is a ceiling, else at most those."""
        if not self._exactly:
            return len(operations) + sum([len(one.request) for one in operations]) / 1024
        return sum([one.units() for one in operations])

    def _send(self, pending: Mapping[str, _Operation]) -> Collection[str]:
        """Send one BatchWriteItem and return the addresses it left unprocessed."""
        requests = b",".join(operation.request for operation in pending.values())
        body = b'{"RequestItems":{"%b":[%b]}}' % (self._table.encode(), requests)
        with self._requests.turn():
            answer = self.calls.prepared("batch_write_item", body, RequestItems={self._table: []})
        unprocessed = [
            request["PutRequest"]["Item"] if "PutRequest" in request else request["DeleteRequest"]["Key"]
            for requests in self._part(answer, "UnprocessedItems").values()
            for request in requests
        ]
        return self._left(pending, unprocessed)

    def _read_batch(self, wanted: Collection[str]) -> dict[str, Item]:
        held: dict[str, Item] = {}
        backoff = Backoff(self._retry_deadline_s)
        while wanted:
            keys = ",".join(wanted).encode()
            body = b'{"RequestItems":{"%b":{"ConsistentRead":true,"Keys":[%b]}}}' % (self._table.encode(), keys)
            try:
                with self._requests.turn():
                    answer = self.calls.prepared("batch_get_item", body, RequestItems={self._table: {"Keys": []}})
            except TransientError:
                if not backoff.wait():
                    raise
                continue
            for attributes in self._part(answer, "Responses").get(self._table, ()):
                item = item_from_store(attributes, self._key)
                if item.address not in wanted:
                    raise self.calls.no_answer()
                if self._ttl_attribute is not None and (expires := attributes.get(self._ttl_attribute, {}).get("N")):
                    item = replace(item, expires_at_ms=int(float(expires) * 1000))
                held[item.address] = item
            left = self._left(wanted, self._part(answer, "UnprocessedKeys").get(self._table, {}).get("Keys", ()))
            if len(left) < len(wanted):
                backoff = Backoff(self._retry_deadline_s)
            wanted = left
            if wanted and not backoff.wait():
                raise self._throttled(len(wanted))
        return held

    def _part(self, answer: Mapping[str, Any], name: str) -> Any:
        """Return a part of an answer that DynamoDB never leaves out; raises PermanentError if it is not there."""
        if name not in answer:
            raise self.calls.no_answer()
        return answer[name]

    def _address(self, attributes: Mapping[str, Any]) -> str:
        return item_from_store({name: attributes[name] for name in self._key.names}, self._key).address

    def _left(self, asked: Collection[str], unprocessed: Sequence[Mapping[str, Any]]) -> Collection[str]:
        """Return the addresses left unprocessed; raises PermanentError for one that was not asked for."""
        if not unprocessed:
            return ()
        left = {self._address(attributes) for attributes in unprocessed}
        if not left <= set(asked):
            raise self.calls.no_answer()
        return left

    def _throttled(self, left: int) -> TransientError:
        text = f"table {self._table!r}: {left} items stay unprocessed; raise its capacity or run again later to resume"
        return TransientError("E-DDB-BUSY", text)


class _Operation(NamedTuple):
    """One put or delete: its place in the caller's list, its address, and its JSON in a BatchWriteItem."""

    place: int
    address: str
    request: bytes

    def units(self) -> int:
        """Return the write capacity units it takes, those of indexes apart (R53)."""
        size = len(self.request)  # The item is never larger.
        if size > 1024:
            size = item_size(orjson.loads(self.request).get("PutRequest", {}).get("Item", {}))
        return max(1, -(-size // 1024))


def _batches(operations: Iterable[_Operation]) -> Iterator[list[_Operation]]:
    """Yield the operations in batches that BatchWriteItem takes: by number, and by bytes as sent (R46)."""
    batch: list[_Operation] = []
    size = 0
    for operation in operations:
        if batch and (len(batch) == _WRITE_LIMIT or size + len(operation.request) > _WRITE_LIMIT_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(operation)
        size += len(operation.request) + 1
    if batch:
        yield batch


def _put(body: bytes) -> bytes:
    return b'{"PutRequest":{"Item":%b}}' % body
