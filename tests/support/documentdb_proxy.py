"""A proxy that makes an Amazon DocumentDB of the server behind it: no local server is one.

It speaks the wire protocol (OP_MSG, and the first hello of a driver), refuses what `documentdb_rules` says, changes
answers to what the service gives, and keeps every command. At the end of its block it fails the test if a command was
refused that the test did not expect: the program must not send one anywhere.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import bson
from bson import Int64, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from documentdb_rules import VERSIONS, Name, Refusal, Version, refusal
from documentdb_streams import StreamRefused, Streams
from relay import serving

_REPLY, _QUERY, _MESSAGE = 1, 2004, 2013
_COMMAND: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_NOT_GIVEN = ("$clusterTime", "topologyVersion", "lastWrite", "arbiters", "passives", "secantusVersion", "gitVersion")
"""Fields of an answer that the service has not."""
_TOO_MANY_CURSORS = "cannot open a new cursor since too many cursors are already opened"


@dataclass
class DocumentDB:
    """One server, as its clients see it."""

    behind: tuple[str, int]
    version: Version
    streams: Streams
    most_cursors: int | None = None
    """How many cursors may be open at once."""
    tells_operations: bool = True
    """Whether currentOp is allowed to the user."""
    tells_scopes: bool = True
    """Whether $listChangeStreams is allowed to the user."""
    url: str = ""
    sent: list[Mapping[str, Any]] = field(default_factory=list)
    """Every command, in order."""
    refused: list[Refusal] = field(default_factory=list)
    """What was refused and not expected."""
    cursors: set[int] = field(default_factory=set)
    """What is open now."""
    most_open: int = 0
    """How many cursors were open at once at the most."""
    _expected: set[str] = field(default_factory=set)
    _sockets: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, *constructs: str) -> None:
        """These constructs may be sent, as a probe does; they are refused all the same."""
        self._expected.update(constructs)

    def enable(self, database: str = "", collection: str = "", *, enable: bool = True) -> None:
        """Turn change streams on, or off, as an administrator does."""
        with socket.create_connection(self.behind) as upstream:
            now = _as_int(_asked(upstream, {"ping": 1, "$db": "admin"})["operationTime"])
        self.streams.modify(database, collection, now, enable=enable)

    def opened(self) -> list[Mapping[str, Any]]:
        """Return how each stream was asked for, in order."""
        stages = [command["pipeline"][0] for command in self.sent if "aggregate" in command and command["pipeline"]]
        return [stage["$changeStream"] for stage in stages if "$changeStream" in stage]

    def serve(self, listener: socket.socket) -> None:
        """Answer each connection until the listener is shut down."""
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return  # The test is over.
            upstream = socket.create_connection(self.behind)
            self._sockets += (near, upstream)
            threading.Thread(target=self._converse, args=(near, upstream), daemon=True).start()

    def close(self) -> None:
        """End the connections."""
        for one in self._sockets:
            one.close()

    def _converse(self, near: socket.socket, upstream: socket.socket) -> None:
        try:
            while True:
                request, opcode, body = _received(near)
                if opcode == _QUERY:
                    at = body.index(b"\x00", 4) + 9
                    command = bson.decode(body[at:], _COMMAND) | {"$db": "admin"}
                    head, code = struct.pack("<iqii", 8, 0, 0, 1), _REPLY
                    answer = self._answer(command, None, upstream)
                else:
                    command = bson.decode(body[5 : 5 + int.from_bytes(body[5:9], "little")], _COMMAND)
                    head, code = bytes(5), _MESSAGE
                    answer = self._answer(command, body, upstream)
                near.sendall(struct.pack("<iiii", 16 + len(head) + len(answer), 0, request, code) + head + answer)
        except (OSError, struct.error):
            pass  # The client has gone, or the test has ended.
        finally:
            near.close()
            upstream.close()

    def _answer(self, command: dict[str, Any], body: bytes | None, upstream: socket.socket) -> bytes:
        """Return the answer to a command, whose message was this, as BSON."""
        name = next(iter(command))
        with self._lock:
            self.sent.append(command)
        if (found := refusal(command, self.version)) is not None:
            with self._lock:
                if not found.by_driver and found.what not in self._expected:
                    self.refused.append(found)
            return _error(found.code, found.text)
        try:
            own = self._own(name, command, upstream)
            if own is not None:
                return own
            pipeline = command.get("pipeline") or [{}]
            of_stream = name == "aggregate" and "$changeStream" in pipeline[0]
            if of_stream:
                collection = command["aggregate"]
                stage = self.streams.opening(
                    command["$db"], collection if isinstance(collection, str) else "", pipeline[0]["$changeStream"]
                )
                command, body = {**command, "pipeline": [{"$changeStream": stage}, *pipeline[1:]]}, None
        except StreamRefused as refused:
            return _error(refused.code, str(refused))
        if self.most_cursors is not None and name in ("find", "aggregate") and len(self.cursors) >= self.most_cursors:
            return _error(1, _TOO_MANY_CURSORS)
        reply = dict(_asked(upstream, command, body))
        for field_name in _NOT_GIVEN:
            reply.pop(field_name, None)
        self._change(name, command, reply, of_stream=of_stream)
        return bson.encode(reply)

    def _own(self, name: str, command: Mapping[str, Any], upstream: socket.socket) -> bytes | None:
        """Return the answer to what no other server knows, or to a stream that is silent; None for the rest."""
        if name == "getEngineVersion":
            return bson.encode({"engineVersion": self.version.engine, "ok": 1.0})
        if name == "modifyChangeStreams":
            now = _as_int(_asked(upstream, {"ping": 1, "$db": "admin"})["operationTime"])
            self.streams.modify(command["database"], command["collection"], now, enable=command["enable"])
            return bson.encode({"ok": 1.0})
        if name == "aggregate" and any("$listChangeStreams" in stage for stage in command["pipeline"]):
            if not self.tells_scopes:
                return _error(13, "Authorization failure")
            return _cursor("admin.$cmd.aggregate", self.streams.listed())
        if name == "find" and (command["$db"], command["find"]) == ("local", "oplog.rs"):
            return _cursor("local.oplog.rs", [])
        if name == "currentOp" and not self.tells_operations:
            return _error(13, "Authorization failure")
        if name == "getMore" and self.streams.is_silent(command["getMore"]):
            # An awaiting server waits; one whose first answers are empty does not.
            if self.streams.stalled.is_set():
                time.sleep(command.get("maxTimeMS", 0) / 1000)
            ns = f"{command['$db']}.$cmd.aggregate"
            now = _asked(upstream, {"ping": 1, "$db": "admin"})["operationTime"]
            cursor = {"id": Int64(command["getMore"]), "ns": ns, "nextBatch": []}
            return bson.encode({"cursor": cursor, "operationTime": now, "ok": 1.0})
        return None

    def _change(self, name: str, command: Mapping[str, Any], reply: dict[str, Any], *, of_stream: bool) -> None:
        """Make the answer one of the service."""
        if name.lower() in ("hello", "ismaster"):
            own = self.url.removeprefix("mongodb://").removesuffix("/")
            reply |= {"setName": "rs0", "hosts": [own], "me": own, "primary": own, "maxWireVersion": self.version.wire}
        elif name.lower() == "buildinfo":
            reply |= {
                "version": ".".join(map(str, self.version.compatible)),
                "versionArray": [*self.version.compatible, 0],
            }
        elif name == "serverStatus":
            reply.pop("oplog", None)
        elif name == "currentOp" and self.streams.stalled.is_set():
            running = {
                "active": True,
                "op": "update",
                "ns": "shop.$cmd",
                "secs_running": 12,
                "command": {"update": "x"},
            }
            reply["inprog"] = [*reply["inprog"], running]
        elif name == "killCursors":
            with self._lock:
                self.cursors.difference_update(command["cursors"])
        elif reply.get("ok") != 1.0 and reply.get("code") == 286:
            reply |= {"code": 136, "codeName": "CappedPositionLost", "errmsg": "CappedPositionLost: not in the log"}
        if "cursor" in reply:
            self._change_cursor(name, command, reply, of_stream=of_stream)

    def _change_cursor(self, name: str, command: Mapping[str, Any], reply: dict[str, Any], *, of_stream: bool) -> None:
        cursor = dict(reply["cursor"])
        key = "firstBatch" if "firstBatch" in cursor else "nextBatch"
        with self._lock:
            if name == "getMore":
                self.cursors.discard(command["getMore"])
            if cursor["id"]:
                self.cursors.add(int(cursor["id"]))
                self.most_open = max(self.most_open, len(self.cursors))
        if name == "listCollections":
            cursor[key] = [shown for each in cursor[key] if (shown := self._collection(each)) is not None]
        if of_stream or (name == "getMore" and self.streams.is_stream(command["getMore"])):
            if of_stream:
                self.streams.opened(int(cursor["id"]))
            cursor[key] = self.streams.shown(cursor[key])
            after = cursor.pop("postBatchResumeToken", None)
            if after is not None and not of_stream:
                token = self.streams.token_after(after, _as_int(reply["operationTime"]))
                cursor |= {} if token is None else {"postBatchResumeToken": token}
        reply["cursor"] = cursor

    def _collection(self, each: Mapping[str, Any]) -> Mapping[str, Any] | None:
        options = {"capped": False, "storageEngine": {"documentDB": {}}}
        if each.get("type") == "view":
            return each if self.version.views else None
        info = {key: value for key, value in (each.get("info") or {}).items() if key != "uuid"}
        return {**each, "options": options, "info": info}


@contextmanager
def documentdb(
    url: str,
    version: Name | Version = "5.0",
    *,
    enabled: bool = True,
    empty_answers: int = 4,
    most_cursors: int | None = None,
) -> Iterator[DocumentDB]:
    """Give a DocumentDB of this version before the MongoDB at the URL; with `enabled`, streams of all databases are on.

    `empty_answers` of a new stream say that there is nothing. The block fails at its end for each command that was
    refused and not expected.
    """
    parts = urlsplit(url)
    known = version if isinstance(version, Version) else VERSIONS[version]
    streams = Streams(known.post_batch_token, empty_answers)
    server = DocumentDB((parts.hostname or "", parts.port or 0), known, streams, most_cursors)
    if enabled:
        server.streams.modify("", "", 0, enable=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.url = f"mongodb://127.0.0.1:{listener.getsockname()[1]}/"
        with serving(server, listener):
            yield server
    assert not server.refused, f"sent to a DocumentDB {'.'.join(map(str, known.compatible))}: {server.refused}"


def _asked(upstream: socket.socket, command: Mapping[str, Any], body: bytes | None = None) -> RawBSONDocument:
    """Return the answer of the server behind to a command, or to the message that it came in."""
    if body is None:
        message = bytes(5) + bson.encode(command)
    else:
        # Without the flag by which answers go on coming.
        flags = int.from_bytes(body[:4], "little") & 0xFFFF
        message = flags.to_bytes(4, "little") + body[4:]
    upstream.sendall(struct.pack("<iiii", 16 + len(message), 1, 0, _MESSAGE) + message)
    _, _, answer = _received(upstream)
    return RawBSONDocument(answer[5:], _RAW)


def _received(connection: socket.socket) -> tuple[int, int, bytes]:
    """Return the next message's number, its kind and its body."""
    length, request, _, opcode = struct.unpack("<iiii", _exactly(connection, 16))
    return request, opcode, _exactly(connection, length - 16)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(min(1 << 20, length - len(data)))
        if not part:
            raise OSError("the other end has gone")
        data += part
    return bytes(data)


def _cursor(ns: str, batch: list[Mapping[str, Any]]) -> bytes:
    return bson.encode({"cursor": {"id": Int64(0), "ns": ns, "firstBatch": batch}, "ok": 1.0})


def _error(code: int, text: str) -> bytes:
    return bson.encode({"ok": 0.0, "code": code, "errmsg": text})


def _as_int(at: Timestamp) -> int:
    return at.time << 32 | at.inc
