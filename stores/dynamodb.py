"""DynamoDB as a target: one table a route, written in batches of prepared JSON and read back strongly consistent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from mappers.dynamodb import Item, Key, item_from_store
from stores.contract import Rejected
from stores.dynamodb_calls import Calls, Refused
from stores.errors import PermanentError, PlanError, TransientError
from stores.retrying import Backoff

_WRITE_LIMIT = 25
_WRITE_LIMIT_BYTES = 12 * 1024 * 1024
"""BatchWriteItem takes 16 MB as sent; control characters alone grow sixfold in JSON (R46)."""
_READ_LIMIT = 100
_KEY_NAME_LIMIT_BYTES = 255
_CREATION_DEADLINE_S = 600.0


class DynamoDBTarget:
    """A table that holds one route's items, each under the key attributes of its address."""

    @dataclass(frozen=True, slots=True)
    class Connection:
        """How DynamoDB is reached; the credentials come from AWS's own chain (environment, profile, role)."""

        region: str | None = None
        """The AWS region; without it the one of the environment or the profile."""
        endpoint: str | None = None
        """The URL of a server other than AWS's own, such as a local one."""
        table_prefix: str = ""
        """What the name of a table starts with where a route names none."""
        profile: str | None = None
        """A profile of the AWS configuration files."""
        retry_deadline_s: float = 600
        """How long a batch of which nothing gets through is tried again before the run stops, fit to be resumed."""

    @dataclass(frozen=True, slots=True)
    class Placement:
        """Where a route's items go, and how the table is created if it is not there."""

        table: str | None = None
        """The table's name; without it the prefix and the route's name."""
        key: Key = Key()  # noqa: RUF009 - frozen, so that one default may be shared
        """Names of the key attributes."""
        billing: Literal["on_demand", "provisioned"] = "on_demand"
        """How a new table is paid for; one that exists keeps its own."""
        read_units: int | None = None
        """Read capacity units of a new provisioned table."""
        write_units: int | None = None
        """Write capacity units of a new provisioned table."""
        expires: str | None = None
        """A date field after which DynamoDB may drop the item; it turns on the table's time to live."""
        ttl_attribute: str = "_ttl"
        """The attribute that holds `expires` in epoch seconds."""

    def __init__(self, connection: Connection, placement: Placement, route: str) -> None:
        """Take the options; raises ValueError for those that cannot be served."""
        self._table = _table_name(connection, placement, route)
        _check_placement(placement)
        self._placement = placement
        self._key = placement.key
        self._retry_deadline_s = connection.retry_deadline_s
        self.calls = Calls(
            self._table, region=connection.region, endpoint=connection.endpoint, profile=connection.profile
        )

    @property
    def records(self) -> tuple[type[Item], ...]:
        """The record types it holds."""
        return (Item,)

    @property
    def territory(self) -> str:
        """The whole table."""
        return self._table + "\0"

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError if the table exists and is not the plan's."""
        table = self._describe()
        return () if table is None else self._compare(table)

    def prepare(self) -> str:
        """The table exists as planned, is active and expires items if asked; return its TableId (R137)."""
        if self._describe() is None:
            self._create()
        table = self._created()
        self._compare(table)
        if self._placement.expires is not None:
            self._enable_ttl()
        return str(table.get("TableId") or f"{table['TableArn']} {table['CreationDateTime'].isoformat()}")

    def write(self, records: Sequence[Item], /) -> Sequence[Rejected]:
        """Every item is held, replacing what stood at its address, or is in the answer.

        Of several items with one address the last is written, and a rejection is reported at its place.
        """
        last = {record.address: index for index, record in enumerate(records)}
        foreign = [
            Rejected(index, "E-DDB-KEY", f"the item's key is not the table's ({', '.join(self._key.names)})")
            for index, record in enumerate(records)
            if tuple(orjson.loads(record.address)) != self._key.names
        ]
        refused = {one.index for one in foreign}
        return foreign + self._apply(
            _Operation(index, address, b'{"PutRequest":{"Item":%b}}' % records[index].body)
            for address, index in last.items()
            if index not in refused
        )

    def delete(self, addresses: Sequence[str], /) -> None:
        """Nothing is held at these addresses."""
        rejected = self._apply(
            _Operation(index, address, b'{"DeleteRequest":{"Key":%b}}' % address.encode())
            for index, address in enumerate(dict.fromkeys(addresses))
        )
        if rejected:
            text = f"table {self._table!r} refuses {len(rejected)} deletes: {rejected[0].reason}; correct `key`"
            raise PermanentError("E-DDB-REFUSED", text)

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Item]:
        """Return the items held at these addresses, strongly consistent; an absent one is not in the answer."""
        held: dict[str, Item] = {}
        wanted = list(dict.fromkeys(addresses))
        for at in range(0, len(wanted), _READ_LIMIT):
            held |= self._read_batch(set(wanted[at : at + _READ_LIMIT]))
        return held

    def addresses(self) -> Iterator[str]:
        """Yield the address of every item in the table, a page at a time."""
        names = dict(zip(("#partition", "#sort"), self._key.names, strict=False))
        position: dict[str, Any] = {}
        while True:
            page = self.calls.patiently(
                self._retry_deadline_s,
                "scan",
                TableName=self._table,
                ConsistentRead=True,
                ProjectionExpression=", ".join(names),
                ExpressionAttributeNames=names,
                **position,
            )
            for attributes in self._part(page, "Items"):
                yield self._address(attributes)
            if not page.get("LastEvaluatedKey"):
                return
            position = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def close(self) -> None:
        """Release connections."""
        self.calls.close()

    def _apply(self, operations: Iterable[_Operation]) -> list[Rejected]:
        return [rejected for batch in _batches(operations) for rejected in self._apply_batch(batch)]

    def _apply_batch(self, batch: Sequence[_Operation]) -> Iterator[Rejected]:
        """Carry the operations out and yield those refused; the halves of a refused batch are tried apart (R142)."""
        pending = {operation.address: operation for operation in batch}
        backoff = Backoff(self._retry_deadline_s)
        while pending:
            try:
                left = self._send(pending)
            except TransientError:
                if not backoff.wait():
                    raise
                continue
            except Refused as refused:
                operations = list(pending.values())
                if len(operations) == 1:
                    yield Rejected(operations[0].index, refused.store_code, refused.reason)
                    return
                half = len(operations) // 2
                yield from self._apply_batch(operations[:half])
                yield from self._apply_batch(operations[half:])
                return
            if len(left) < len(pending):
                backoff = Backoff(self._retry_deadline_s)
            pending = {address: pending[address] for address in left}
            if pending and not backoff.wait():
                raise self._throttled(len(pending))

    def _send(self, pending: Mapping[str, _Operation]) -> Collection[str]:
        """Send one BatchWriteItem and return the addresses it left unprocessed."""
        requests = b",".join(operation.request for operation in pending.values())
        body = b'{"RequestItems":{"%b":[%b]}}' % (self._table.encode(), requests)
        # The arguments name the table alone: were the body not replaced, DynamoDB would refuse the empty list.
        answer = self.calls.once("batch_write_item", body, RequestItems={self._table: []})
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
                answer = self.calls.once("batch_get_item", body, RequestItems={self._table: {"Keys": []}})
            except TransientError:
                if not backoff.wait():
                    raise
                continue
            for attributes in self._part(answer, "Responses").get(self._table, ()):
                item = item_from_store(attributes, self._key)
                if item.address not in wanted:
                    raise self.calls.no_answer()
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

    def _left(self, asked: Collection[str], unprocessed: Iterable[Mapping[str, Any]]) -> Collection[str]:
        """Return the addresses left unprocessed; raises PermanentError for one that was not asked for."""
        left = {self._address(attributes) for attributes in unprocessed}
        if not left <= set(asked):
            raise self.calls.no_answer()
        return left

    def _throttled(self, left: int) -> TransientError:
        text = f"table {self._table!r}: {left} items stay unprocessed; raise its capacity or run again later to resume"
        return TransientError("E-DDB-BUSY", text)

    def _describe(self) -> Mapping[str, Any] | None:
        """Return the table's description, or None if it does not exist."""
        try:
            table: Mapping[str, Any] = self._part(self.calls.control("describe_table"), "Table")
        except PermanentError as error:
            if error.code == "E-DDB-ABSENT":
                return None
            raise
        return table

    def _compare(self, table: Mapping[str, Any]) -> Sequence[str]:
        """Return warnings; raises PlanError naming what is there and what the plan says."""
        at = f"table {self._table!r}"
        types = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
        schema = sorted(table["KeySchema"], key=lambda one: str(one["KeyType"]))  # HASH comes before RANGE.
        found = ", ".join(f"{one['AttributeName']} {types[one['AttributeName']]}" for one in schema)
        planned = ", ".join(f"{name} S" for name in self._key.names)
        if found != planned:
            text = f"{at}: its key is ({found}), the plan says ({planned}); name another table or change `key`"
            raise PlanError("E-DDB-KEYS", text)
        # An updating table takes reads and writes as an active one does.
        if table["TableStatus"] not in ("ACTIVE", "UPDATING"):
            text = f"{at}: its status is {table['TableStatus']}, a run needs ACTIVE; wait, then run again"
            raise PlanError("E-DDB-STATUS", text)
        return [*self._compare_ttl(at), *_warnings(at, table, self._placement)]

    def _compare_ttl(self, at: str) -> Iterator[str]:
        found, planned = self._ttl(), self._placement.ttl_attribute
        if found is None:
            return
        if self._placement.expires is None:
            yield (
                f"{at} expires items by {found!r}, of which the route says nothing: DynamoDB deletes an item in which "
                "this is a number of seconds in the past"
            )
        elif found != planned:
            text = f"{at}: it expires items by {found!r}, the plan says {planned!r}; set `ttl_attribute` to {found!r}"
            raise PlanError("E-DDB-TTL", text)

    def _ttl(self) -> str | None:
        """Return the attribute by which the table expires items, None if it expires none."""
        ttl = self._part(self.calls.control("describe_time_to_live"), "TimeToLiveDescription")
        return str(ttl["AttributeName"]) if ttl["TimeToLiveStatus"] in ("ENABLED", "ENABLING") else None

    def _create(self) -> None:
        """The table is being created, by this call or by another process at the same time."""
        names = self._key.names
        billing: dict[str, Any] = {"BillingMode": "PAY_PER_REQUEST"}
        if self._placement.billing == "provisioned":
            reads, writes = self._placement.read_units, self._placement.write_units
            units = {"ReadCapacityUnits": reads, "WriteCapacityUnits": writes}
            billing = {"BillingMode": "PROVISIONED", "ProvisionedThroughput": units}
        kinds = zip(names, ("HASH", "RANGE"), strict=False)
        try:
            self.calls.control(
                "create_table",
                KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in kinds],
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
                **billing,
            )
        except PermanentError as error:
            if error.code != "E-DDB-IN-USE":
                raise

    def _created(self) -> Mapping[str, Any]:
        """Return the table's description once it is no longer being created."""
        backoff = Backoff(_CREATION_DEADLINE_S, first_s=0.5, most_s=5.0)
        while True:
            table = self._describe()  # Just after its creation a table may not be found yet.
            if table is not None and table["TableStatus"] != "CREATING":
                return table
            if not backoff.wait():
                text = f"table {self._table!r}: not ACTIVE after {_CREATION_DEADLINE_S:.0f} s; run again later"
                raise TransientError("E-DDB-STATUS", text)

    def _enable_ttl(self) -> None:
        """The table expires items by the route's attribute."""
        planned = self._placement.ttl_attribute
        if self._ttl() == planned:
            return
        try:
            self.calls.control(
                "update_time_to_live", TimeToLiveSpecification={"Enabled": True, "AttributeName": planned}
            )
        except (PlanError, PermanentError):
            if self._ttl() != planned:  # Else another process was first.
                raise


@dataclass(frozen=True, slots=True)
class _Operation:
    """One put or delete: its place in the caller's list, its address, and its JSON in a BatchWriteItem."""

    index: int
    address: str
    request: bytes


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


def _table_name(connection: DynamoDBTarget.Connection, placement: DynamoDBTarget.Placement, route: str) -> str:
    name = connection.table_prefix + route if placement.table is None else placement.table
    illegal = sorted(set(re.sub(r"[A-Za-z0-9_.-]", "", name)))
    if illegal:
        shown = ", ".join(map(repr, illegal))
        raise ValueError(f"table: {name!r} has {shown}; DynamoDB takes A-Z a-z 0-9 _ . - only: name another")
    if not 3 <= len(name) <= 255:
        raise ValueError(f"table: {name!r} has {len(name)} characters; DynamoDB takes 3 to 255: name another")
    return name


def _check_placement(placement: DynamoDBTarget.Placement) -> None:
    names = placement.key.names
    for name in names:
        size = len(name.encode())
        if not 0 < size <= _KEY_NAME_LIMIT_BYTES:
            raise ValueError(f"key: the name {name!r} has {size} bytes; DynamoDB takes 1 to {_KEY_NAME_LIMIT_BYTES}")
    if len(set(names)) < len(names):
        raise ValueError(f"key: partition and sort are both {names[0]!r}; name two attributes")
    if placement.expires is not None and placement.ttl_attribute in names:
        raise ValueError(f"ttl_attribute: {placement.ttl_attribute!r} is a key attribute; name another")
    for option, units in (("read_units", placement.read_units), ("write_units", placement.write_units)):
        if placement.billing == "provisioned" and (units is None or units < 1):
            raise ValueError(f"{option}: `billing: provisioned` needs a number of at least 1")
        if placement.billing == "on_demand" and units is not None:
            raise ValueError(f"{option}: `billing: on_demand` takes none; remove it or set `billing: provisioned`")


def _warnings(at: str, table: Mapping[str, Any], placement: DynamoDBTarget.Placement) -> Iterator[str]:
    if table.get("StreamSpecification", {}).get("StreamEnabled"):
        yield f"{at} has a stream: every item written reaches its consumers (W-DDB-STREAM)"
    if table.get("Replicas"):
        yield f"{at} is a global table: every item is written, and paid for, in {len(table['Replicas'])} replicas too"
    indexes = [one["IndexName"] for kind in ("Global", "Local") for one in table.get(f"{kind}SecondaryIndexes") or ()]
    if indexes:
        yield (
            f"{at} has secondary indexes ({', '.join(indexes)}): an item in which an attribute that keys one has "
            "another type is refused"
        )
    # A table that was never on demand has no summary.
    billing = (
        "on_demand" if table.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST" else "provisioned"
    )
    if billing != placement.billing:
        yield f"{at} exists with billing {billing} and keeps it; the plan's {placement.billing} is for a new table"
