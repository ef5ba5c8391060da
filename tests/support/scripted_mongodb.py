"""A MongoDB server that answers from a script what no local one can: a mongos, tokens of MongoDB's form, parts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import Int64, Timestamp

from benchmarks.replay import Server

DATABASE = "shop"
CURSOR = 7


def at(seconds: int, increment: int = 1) -> int:
    """Return a cluster time as positions have it."""
    return seconds << 32 | increment


def stamp(time: int) -> Timestamp:
    return Timestamp(time >> 32, time & 0xFFFFFFFF)


def token(time: int, rest: str = "2b0429296e1404") -> dict[str, Any]:
    """Return a resume token as MongoDB makes them: the rest given is that of one that is no event's."""
    return {"_data": f"82{time:016x}{rest}"}


def event(kind: str, time: int, collection: str = "things", own: Any = None, **more: Any) -> dict[str, Any]:
    """Return an event of the stream, as the pipeline leaves it."""
    key = {} if own is None else {"documentKey": {"_id": own}}
    ns = {"db": DATABASE, "coll": collection}
    return {"_id": token(time, f"ff{own}"), "operationType": kind, "clusterTime": stamp(time), "ns": ns, **key, **more}


@dataclass
class Scripted(Server):
    """Answers each getMore with the next line of the script, then with nothing new up to now."""

    collections: Mapping[str, Any] = field(default_factory=dict)
    script: list[tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]] | int] = field(default_factory=list)
    """Events and the token after them, or the code of an error."""
    refusals: list[int] = field(default_factory=list)
    """Codes of errors that the next streams are refused with."""
    now: int = at(1000)
    oldest: int | None = at(1)
    """What the oplog begins with; None where it may not be read."""
    earliest: int | None = None
    """The same as serverStatus tells it; None where it may not be asked."""
    users: Sequence[Mapping[str, str]] = ()
    sharded: bool = False
    version: tuple[int, int, int] = (8, 0, 4)
    port: int = 0
    heard: list[Mapping[str, Any]] = field(default_factory=list)
    last: Mapping[str, Any] = field(default_factory=lambda: token(at(1)))

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/"

    @property
    def streams(self) -> list[Mapping[str, Any]]:
        """How each stream was asked for."""
        return [command["pipeline"][0]["$changeStream"] for command in self.heard if "aggregate" in command]

    def answer(self, command: Mapping[str, Any]) -> bytes:
        self.heard.append(command)
        name = next(iter(command))
        answer = self._told(name.lower(), command)
        time = {"operationTime": stamp(self.now), "$clusterTime": {"clusterTime": stamp(self.now)}}
        return bson.encode({"ok": 1.0, **time, **answer})

    def _told(self, name: str, command: Mapping[str, Any]) -> Mapping[str, Any]:
        if name in ("hello", "ismaster"):
            told = bson.decode(self._hello(command))
            if self.sharded:
                return told | {"msg": "isdbgrid"}
            own = f"127.0.0.1:{self.port}"
            return told | {"setName": "rs", "setVersion": 1, "hosts": [own], "me": own, "primary": own}
        if name == "buildinfo":
            return {"version": ".".join(map(str, self.version)), "versionArray": [*self.version, 0]}
        if name == "connectionstatus":
            return {"authInfo": {"authenticatedUsers": self.users}}
        if name == "aggregate":
            after = command.get("readConcern", {}).get("afterClusterTime", stamp(0))
            self.now = max(self.now, after.time << 32 | after.inc)  # The read waits for it.
            return _error(self.refusals.pop(0)) if self.refusals else self._batch("firstBatch", [])
        if name == "getmore":
            if not self.script:
                if self.last["_data"] < token(self.now)["_data"]:
                    self.last = token(self.now)
                return self._batch("nextBatch", [])
            line = self.script.pop(0)
            if isinstance(line, int):
                return _error(line)
            self.last = line[1]
            return self._batch("nextBatch", line[0])
        if name == "find":
            if self.oldest is None:
                return _error(13)
            return {"cursor": {"id": Int64(0), "ns": "local.oplog.rs", "firstBatch": [{"ts": stamp(self.oldest)}]}}
        if name == "serverstatus":
            return _error(13) if self.earliest is None else {"oplog": {"earliestOptime": stamp(self.earliest)}}
        return {}

    def _batch(self, key: str, events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        cursor = {"id": Int64(CURSOR), "ns": f"{DATABASE}.$cmd.aggregate", key: events}
        return {"cursor": cursor | {"postBatchResumeToken": self.last}}


def _error(code: int) -> Mapping[str, Any]:
    return {"ok": 0.0, "code": code, "codeName": "Scripted", "errmsg": "by the script"}


@contextmanager
def serving(server: Scripted) -> Iterator[Scripted]:
    """The server listens on a free port."""
    with serving_any(server) as port:
        server.port = port
        yield server


@contextmanager
def serving_any(server: Server) -> Iterator[int]:
    """Give the port, a free one, on which the server listens."""
    loop = asyncio.new_event_loop()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await server.converse(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # The client has gone, or the test has ended.
        finally:
            writer.close()

    listening = loop.run_until_complete(asyncio.start_server(hold, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        listening.close()
        loop.close()
