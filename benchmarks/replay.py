"""A MongoDB server that only replays prepared documents, so that reading costs the client alone.

Run as ``python -m benchmarks.replay PORT NAME:KB:COUNT...`` it serves the collections of the database `bench`. A
collection of any size is made of a few thousand bodies, each sent again under the next `_id`.
"""

from __future__ import annotations

import asyncio
import random
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import bson
from bson import Int64, ObjectId

from benchmarks.documents import Size, encoded, identifier
from benchmarks.tcp_server import serve

DATABASE = "bench"
_BODIES: Mapping[Size, int] = {1: 10_000, 10: 1_000}
_ID_AT, _ID_END = 9, 21
"""Where the `_id` stands: behind the document's length, the element's type and its name."""
_MOST_BYTES = 16 * 2**20 - 2**14
"""A server ends a batch before its answer would have more than 16 MB."""
_FIRST_BATCH = 101
_REPLY, _QUERY, _MESSAGE = 1, 2004, 2013
_CHECKSUM, _MORE_TO_COME = 1, 2
_HELLO = {
    "ismaster": True,
    "isWritablePrimary": True,
    "helloOk": True,
    "maxBsonObjectSize": 16 * 2**20,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "logicalSessionTimeoutMinutes": 30,
    "connectionId": 1,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "readOnly": False,
    "ok": 1.0,
}
_OK = {"ok": 1.0}


class Refused(Exception):
    """A command that this server does not know."""


@dataclass(frozen=True)
class Collection:
    """So many documents in ascending order of `_id`."""

    size: Size
    documents: int
    bodies: Sequence[tuple[bytes, bytes]] = field(repr=False)
    """What stands before the `_id` and behind it, used in turn."""

    @classmethod
    def of(cls, size: Size, documents: int) -> Collection:
        """Return the collection with its bodies made."""
        made = (encoded(number, size) for number in range(min(documents, _BODIES[size])))
        return cls(size, documents, [(body[:_ID_AT], body[_ID_END:]) for body in made])

    def span(self, command: Mapping[str, Any]) -> tuple[int, int]:
        """Return the numbers of the first document that a query asks for and of the one behind its last."""
        first, end = 0, self.documents
        bounds: list[tuple[str, ObjectId]] = []
        condition = (command.get("filter") or {}).get("_id", {})
        if isinstance(condition, Mapping) and "$in" in condition:  # As a check asks, for an `_id` that is not there.
            return 0, 0
        bounds += condition.items() if isinstance(condition, Mapping) else [("$gte", condition), ("$lte", condition)]
        bounds += [("$gte", command["min"]["_id"])] if "min" in command else []
        bounds += [("$lt", command["max"]["_id"])] if "max" in command else []
        numbers = range(self.documents)
        for operator, bound in bounds:
            find = bisect_left if operator in ("$gte", "$lt") else bisect_right
            at = find(numbers, bound.binary, key=identifier)
            if operator in ("$gte", "$gt"):
                first = max(first, at)
            elif operator in ("$lt", "$lte"):
                end = min(end, at)
            else:
                raise Refused(f"the operator {operator}")
        first += int(command.get("skip") or 0)
        limit = abs(int(command.get("limit") or 0))
        return first, max(first, min(end, first + limit) if limit else end)

    def batch(self, first: int, end: int) -> tuple[bytes, int]:
        """Return documents as a BSON array, as many as one answer may have, and the number of the next one."""
        parts: list[bytes] = []
        size = 0
        for place, number in enumerate(range(first, end)):
            before, behind = self.bodies[number % len(self.bodies)]
            size += len(before) + len(behind) + 20
            if size > _MOST_BYTES:
                end = number
                break
            parts += (b"\x03%d\x00" % place, before, identifier(number), behind)
        return _whole(*parts), end

    @property
    def mean_bytes(self) -> int:
        """How large a document is."""
        return 12 + sum(len(before) + len(behind) for before, behind in self.bodies) // max(1, len(self.bodies))


@dataclass
class Server:
    """Answers commands; cursors live until they end or are killed."""

    collections: Mapping[str, Collection]
    _cursors: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    _rows: dict[int, tuple[str, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(1000))

    def answer(self, command: Mapping[str, Any]) -> bytes:
        """Return the answer to a command, as BSON."""
        name = next(iter(command))
        known: Mapping[str, Callable[[Mapping[str, Any]], bytes]] = {
            "hello": self._hello,
            "isMaster": self._hello,
            "ismaster": self._hello,
            "find": self._find,
            "getMore": self._more,
            "killCursors": self._kill,
            "aggregate": self._aggregate,
            "count": self._count,
            "collStats": self._statistics,
            "listCollections": self._list_collections,
            "listIndexes": self._list_indexes,
            "buildInfo": lambda _: bson.encode({"version": "7.0.0", "versionArray": [7, 0, 0, 0]} | _OK),
            "ping": lambda _: bson.encode(_OK),
            "endSessions": lambda _: bson.encode(_OK),
        }
        try:
            if name not in known:
                raise Refused(f"the command {name}")
            return known[name](command)
        except Refused as refused:
            return bson.encode({"ok": 0.0, "code": 59, "codeName": "CommandNotFound", "errmsg": f"unknown: {refused}"})

    def _hello(self, _: Mapping[str, Any]) -> bytes:
        return bson.encode(_HELLO)

    def _find(self, command: Mapping[str, Any]) -> bytes:
        name = command["find"]
        collection = self.collections.get(name)
        first, end = collection.span(command) if collection else (0, 0)
        batch = int(command.get("batchSize", _FIRST_BATCH))
        return self._cursor("firstBatch", name, first, end, batch, keep=not command.get("singleBatch"))

    def _more(self, command: Mapping[str, Any]) -> bytes:
        cursor = int(command["getMore"])
        if cursor in self._rows:
            return _rows_reply("nextBatch", *self._rows.pop(cursor))
        if cursor not in self._cursors:
            return bson.encode({"ok": 0.0, "code": 43, "codeName": "CursorNotFound", "errmsg": "no such cursor"})
        name, first, end = self._cursors.pop(cursor)
        return self._cursor("nextBatch", name, first, end, int(command.get("batchSize") or 0) or None, cursor)

    def _cursor(
        self, key: str, name: str, first: int, end: int, most: int | None, cursor: int = 0, *, keep: bool = True
    ) -> bytes:
        array, following = _whole(), end
        if first < end:
            until = end if most is None else min(end, first + most)
            array, following = self.collections[name].batch(first, until)
        number = 0
        if following < end and keep:
            number = cursor or next(self._numbers)
            self._cursors[number] = (name, following, end)
        return _cursor_reply(key, name, array, number)

    def _kill(self, command: Mapping[str, Any]) -> bytes:
        for cursor in command["cursors"]:
            self._cursors.pop(int(cursor), None)
        return bson.encode(_OK)

    def _aggregate(self, command: Mapping[str, Any]) -> bytes:
        name, stages = command["aggregate"], list(command["pipeline"])
        collection = self.collections.get(name, Collection(1, 0, ()))
        condition = stages.pop(0)["$match"] if stages and "$match" in stages[0] else {}
        first, end = collection.span({"filter": condition})
        if len(stages) > 1 and "$limit" in stages[0]:
            end = min(end, first + int(stages.pop(0)["$limit"]))
        match [next(iter(stage)) for stage in stages]:
            case ["$group"]:
                rows = [{"_id": "objectId", "documents": end - first}] if first < end else []
            case ["$sample", "$project", *_]:
                size = min(end - first, int(stages[0]["$sample"]["size"]))
                numbers = sorted(random.Random(size).sample(range(first, end), size))
                if len(stages) > 2 and "$match" in stages[2]:
                    within = range(*collection.span({"filter": {"_id": _bounds(stages[2]["$match"])}}))
                    numbers = [number for number in numbers if number in within]
                rows = [{"_id": ObjectId(identifier(number))} for number in numbers]
            case ["$limit"] | []:
                return self._cursor("firstBatch", name, first, end if not stages else min(end, first + 1), None)
            case names:
                raise Refused(f"the pipeline {' '.join(names)}")
        if command.get("cursor", {}).get("batchSize") == 0:  # The driver asks so where it wants raw batches.
            number = next(self._numbers)
            self._rows[number] = (name, rows)
            return _cursor_reply("firstBatch", name, _whole(), number)
        return _rows_reply("firstBatch", name, rows)

    def _count(self, command: Mapping[str, Any]) -> bytes:
        collection = self.collections.get(command["count"])
        return bson.encode({"n": collection.documents if collection else 0} | _OK)

    def _statistics(self, command: Mapping[str, Any]) -> bytes:
        collection = self.collections.get(command["collStats"], Collection(1, 0, ()))
        return bson.encode({"count": collection.documents, "avgObjSize": collection.mean_bytes} | _OK)

    def _list_collections(self, _: Mapping[str, Any]) -> bytes:
        index = {"v": 2, "key": {"_id": 1}, "name": "_id_"}
        shape = {"type": "collection", "options": {}, "info": {"readOnly": False}, "idIndex": index}
        return _rows_reply("firstBatch", "$cmd.listCollections", [{"name": name} | shape for name in self.collections])

    def _list_indexes(self, command: Mapping[str, Any]) -> bytes:
        return _rows_reply("firstBatch", command["listIndexes"], [{"v": 2, "key": {"_id": 1}, "name": "_id_"}])

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests until it closes."""
        while True:
            head = await reader.readexactly(16)
            length, request, opcode = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4, 12))
            body = await reader.readexactly(length - 16)
            if opcode == _QUERY:
                at = body.index(b"\x00", 4) + 9
                reply = self.answer(bson.decode(body[at : at + int.from_bytes(body[at : at + 4], "little")]))
                flags = _int32(8) + bytes(8) + _int32(0) + _int32(1)
                writer.write(_message(request, _REPLY, flags, reply))
            else:
                flag_bits, command = _command(body)
                reply = self.answer(command)
                if not flag_bits & _MORE_TO_COME:
                    writer.write(_message(request, _MESSAGE, bytes(5), reply))
            await writer.drain()


def _bounds(match: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the bounds of ``{$expr: {$and: [{$gt: ["$_id", {$literal: bound}]}, …]}}`` as a query has them."""
    comparisons = [comparison for comparison in match["$expr"]["$and"] if isinstance(comparison, Mapping)]
    return {operator: pair[1]["$literal"] for comparison in comparisons for operator, pair in comparison.items()}


def _command(body: bytes) -> tuple[int, dict[str, Any]]:
    """Return the flags and the command of an OP_MSG; documents sent apart from it are none that matter here."""
    flags = int.from_bytes(body[:4], "little")
    at, end = 4, len(body) - (4 if flags & _CHECKSUM else 0)
    command: dict[str, Any] = {}
    while at < end:
        length = int.from_bytes(body[at + 1 : at + 5], "little")
        if body[at] == 0:
            command = bson.decode(body[at + 1 : at + 1 + length])
        at += 1 + length
    return flags, command


def _message(request: int, opcode: int, head: bytes, body: bytes) -> bytes:
    return b"".join((*map(_int32, (16 + len(head) + len(body), 0, request, opcode)), head, body))


def _rows_reply(key: str, name: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    return _cursor_reply(key, name, bson.encode({str(place): row for place, row in enumerate(rows)}), 0)


def _cursor_reply(key: str, name: str, array: bytes, cursor: int) -> bytes:
    fields = _elements({"id": Int64(cursor), "ns": f"{DATABASE}.{name}"})
    inner = _whole(fields, b"\x04%b\x00" % key.encode(), array)
    return _whole(b"\x03cursor\x00", inner, _elements(_OK))


def _elements(fields: Mapping[str, Any]) -> bytes:
    return bson.encode(fields)[4:-1]


def _whole(*parts: bytes) -> bytes:
    """Return a BSON document, or array, of these elements."""
    return b"".join((_int32(5 + sum(map(len, parts))), *parts, b"\x00"))


def _int32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def main(arguments: Sequence[str]) -> None:
    """Serve the collections that the arguments name."""
    collections: dict[str, Collection] = {}
    for argument in arguments[1:]:
        name, size, documents = argument.split(":")
        collections[name] = Collection.of(1 if size == "1" else 10, int(documents))
    asyncio.run(serve(int(arguments[0]), Server(collections).converse))


if __name__ == "__main__":
    main(sys.argv[1:])
