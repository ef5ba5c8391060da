"""The items of one table as the table holds them: put, deleted and read in batches, and scanned (R45, R46, R142)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from msgspec.structs import replace

from mappers.dynamodb.records import Item, Key, item_from_store, item_size
from stores.contract.fence import Fence
from stores.contract.target import Rejected
from stores.dynamodb.client import Calls, Refused
from stores.dynamodb.concurrency import ConcurrentRequests
from stores.errors import PermanentError, TransientError
from stores.throttling.backoff import Backoff, Left, retry_rest
from stores.throttling.batches import cut
from stores.throttling.rate_limiter import Pace

WRITE_LIMIT = 25
"""The items of one BatchWriteItem."""
_WRITE_LIMIT_BYTES = 12 * 1024 * 1024
"""BatchWriteItem takes 16 MB as sent; control characters alone grow sixfold in JSON (R46)."""
_READ_LIMIT = 100


class Write(NamedTuple):
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


def put(place: int, address: str, body: bytes) -> Write:
    """Return the write that puts an item, given as its typed JSON, at its address."""
    return Write(place, address, b'{"PutRequest":{"Item":%b}}' % body)


def _sent_bytes(write: Write) -> int:
    return len(write.request) + 1


class Items:
    """The items of one table, each under the key attributes of its address."""

    def __init__(
        self,
        table: str,
        key: Key,
        calls: Calls,
        requests: ConcurrentRequests,
        pace: Pace,
        fence: Fence,
        retry_deadline_s: float,
        *,
        ttl_attribute: str | None,
        exact_units: bool,
    ) -> None:
        """Take how the table is reached; nothing is asked yet.

        `exact_units` counts the capacity units of each write exactly, which takes time; else they are estimated.
        """
        self._table = table
        self._key = key
        self._calls = calls
        self._requests = requests
        self._pace = pace
        self._fence = fence
        self._retry_deadline_s = retry_deadline_s
        self._ttl_attribute = ttl_attribute
        self._exact_units = exact_units

    def apply(self, writes: Iterable[Write]) -> list[Rejected]:
        """Every write is carried out, or is in the answer with its place."""
        answers = self._requests.answers(
            self._apply_batch, list(cut(writes, WRITE_LIMIT, _WRITE_LIMIT_BYTES, _sent_bytes))
        )
        return [rejected for answer in answers for rejected in answer]

    def put(self, bodies: Mapping[str, bytes]) -> Sequence[Rejected]:
        """Every item, given as its typed JSON by address, is held or refused."""
        return self.apply(put(0, address, body) for address, body in bodies.items())

    def delete(self, addresses: Sequence[str]) -> None:
        """There are no items at these addresses."""
        rejected = self.apply(
            Write(index, address, b'{"DeleteRequest":{"Key":%b}}' % address.encode())
            for index, address in enumerate(dict.fromkeys(addresses))
        )
        if rejected:
            text = f"table {self._table!r} refuses {len(rejected)} deletes: {rejected[0].reason}; correct `key`"
            raise PermanentError("E-DDB-REFUSED", text)

    def get(self, addresses: Sequence[str]) -> dict[str, Item]:
        """Return the items as the table has them, strongly consistent; an absent item is not in the answer."""
        items: dict[str, Item] = {}
        for answer in self._requests.answers(self._read_batch, list(cut(dict.fromkeys(addresses), _READ_LIMIT))):
            items |= answer
        return items

    def count(self) -> int:
        """Return how many items a strongly consistent scan counts."""
        return sum(int(self._part(page, "Count")) for page in self._pages({"Select": "COUNT"}))

    def scan(self, wanted: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the attributes of every item as a strongly consistent scan gives them, a page at a time."""
        for page in self._pages(wanted):
            yield from self._part(page, "Items")

    def address(self, attributes: Mapping[str, Any]) -> str:
        """Return the address of the item that has these typed attributes."""
        return item_from_store({name: attributes[name] for name in self._key.names}, self._key).address

    def _pages(self, wanted: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        position: dict[str, Any] = {}
        while True:
            asked = {"TableName": self._table, "ConsistentRead": True, **wanted, **position}
            page = self._calls.patiently(
                self._retry_deadline_s,
                partial(self._calls.prepared, "scan", orjson.dumps(asked), TableName=self._table),
            )
            yield page
            if not page.get("LastEvaluatedKey"):
                return
            position = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _apply_batch(self, batch: Sequence[Write]) -> list[Rejected]:
        """Carry the writes out and return those refused; the halves of a refused request are tried apart (R142)."""
        backoff = self._backoff()
        refused: tuple[Sequence[Write], Refused] | None = None

        def send(pending: Sequence[Write]) -> Left[Write] | None:
            nonlocal refused
            turn = self._pace.ask(len(pending), self._units(pending), patience_s=backoff.left_s)
            backoff.extend(turn.excused_s)
            try:
                unprocessed = self._send(pending)
            except TransientError as error:
                self._pace.record_result(turn, len(pending), throttled=error.code == "E-DDB-BUSY")
                raise
            except Refused as error:
                refused = (pending, error)
                return None
            self._pace.record_result(turn, len(unprocessed))
            if not unprocessed:
                return None
            return Left([write for write in pending if write.address in unprocessed], self._throttled(len(unprocessed)))

        retry_rest(send, batch, backoff)
        if refused is None:
            return []
        writes, error = refused
        if len(writes) == 1:
            return [Rejected(writes[0].place, error.store_code, error.reason)]
        half = len(writes) // 2
        return [*self._apply_batch(writes[:half]), *self._apply_batch(writes[half:])]

    def _units(self, writes: Collection[Write]) -> float:
        """Return the write capacity units of writes: exactly where there is a ceiling, else at most those."""
        if not self._exact_units:
            return len(writes) + sum([len(write.request) for write in writes]) / 1024
        return sum([write.units() for write in writes])

    def _send(self, pending: Sequence[Write]) -> Collection[str]:
        """Send one BatchWriteItem and return the addresses it left unprocessed."""
        requests = b",".join([write.request for write in pending])
        body = b'{"RequestItems":{"%b":[%b]}}' % (self._table.encode(), requests)
        with self._requests.turn():
            answer = self._calls.prepared("batch_write_item", body, self._fence, RequestItems={self._table: []})
        unprocessed = [
            request["PutRequest"]["Item"] if "PutRequest" in request else request["DeleteRequest"]["Key"]
            for requests in self._part(answer, "UnprocessedItems").values()
            for request in requests
        ]
        return self._unprocessed([write.address for write in pending], unprocessed) if unprocessed else ()

    def _read_batch(self, wanted: Sequence[str]) -> dict[str, Item]:
        items: dict[str, Item] = {}

        def send(addresses: Sequence[str]) -> Left[str] | None:
            keys = ",".join(addresses).encode()
            body = b'{"RequestItems":{"%b":{"ConsistentRead":true,"Keys":[%b]}}}' % (self._table.encode(), keys)
            with self._requests.turn():
                answer = self._calls.prepared("batch_get_item", body, RequestItems={self._table: {"Keys": []}})
            asked = set(addresses)
            for attributes in self._part(answer, "Responses").get(self._table, ()):
                item = item_from_store(attributes, self._key)
                if item.address not in asked:
                    raise self._calls.no_answer()
                if self._ttl_attribute is not None and (expires := attributes.get(self._ttl_attribute, {}).get("N")):
                    item = replace(item, expires_at_ms=int(float(expires) * 1000))
                items[item.address] = item
            keys_left = self._part(answer, "UnprocessedKeys").get(self._table, {}).get("Keys", ())
            if not keys_left:
                return None
            unprocessed = self._unprocessed(asked, keys_left)
            return Left([*unprocessed], self._throttled(len(unprocessed)))

        retry_rest(send, wanted, self._backoff())
        return items

    def _part(self, answer: Mapping[str, Any], name: str) -> Any:
        """Return a part of an answer that DynamoDB never leaves out; raises PermanentError if it is not there."""
        if name not in answer:
            raise self._calls.no_answer()
        return answer[name]

    def _unprocessed(self, asked: Collection[str], left: Sequence[Mapping[str, Any]]) -> Collection[str]:
        """Return the addresses left unprocessed; raises PermanentError for an address that was not asked for."""
        addresses = {self.address(attributes) for attributes in left}
        if not addresses <= set(asked):
            raise self._calls.no_answer()
        return addresses

    def _throttled(self, left: int) -> TransientError:
        at = f"table {self._table!r}: items that stay unprocessed: {left}"
        text = f"{at}; raise its capacity, or run the same command later"
        return TransientError("E-DDB-BUSY", text)

    def _backoff(self) -> Backoff:
        return Backoff(self._retry_deadline_s, timing=self._calls.timing)
