"""Elasticsearch as far as a migration asks for it; documents are acknowledged, and kept only if asked to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any
from uuid import uuid4

import orjson

from benchmarks.exchange import Reply, Request

_VERSION = {"number": "8.19.0", "build_flavor": "default"}
_SHARDS = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
_NO_ID = b'"_id":""'
_WITHOUT_INDEX = {"_bulk", "_mget", "_search", "_pit"}


@dataclass
class _Index:
    """An index's definition, and its documents by id where they are kept."""

    mappings: Mapping[str, Any]
    settings: Mapping[str, Any]
    uuid: str = field(default_factory=lambda: uuid4().hex)
    documents: dict[str, bytes] = field(default_factory=dict)


class Elasticsearch:
    """One node; writing to an index that does not exist makes it."""

    def __init__(self, keep: bool) -> None:
        """Keep documents, or only acknowledge them."""
        self._keep = keep
        self._indices: dict[str, _Index] = {}
        self._listed: list[str] = []

    def answer(self, request: Request, /) -> Reply:
        """Return the answer to one request."""
        parts = [part for part in request.path.split("/") if part]
        name = parts.pop(0) if parts and parts[0] not in _WITHOUT_INDEX else ""
        match request.method, parts:
            case "GET", [] if not name:
                return _reply({"name": "sink", "cluster_name": "sink", "version": _VERSION, "tagline": "-"})
            case (("GET" | "HEAD"), []) if name in self._indices:
                return _reply({name: self._described(name)})
            case "PUT", []:
                asked = orjson.loads(request.body or b"{}")
                settings = asked.get("settings", {})
                self._indices[name] = _Index(asked.get("mappings", {}), settings.get("index", settings))
                return _reply({"acknowledged": True, "shards_acknowledged": True, "index": name})
            case "DELETE", [] if name:
                self._indices.pop(name, None)
                return _reply({"acknowledged": True})
            case "GET", ["_settings", *_] if name in self._indices:
                return _reply({name: {"settings": {"index": {"uuid": self._indices[name].uuid}}}})
            case "POST" | "PUT", ["_bulk"]:
                return self._bulk(request, name)
            case "POST", ["_refresh"]:
                return _reply({"_shards": _SHARDS})
            case "POST", ["_count"] if name in self._indices:  # Asked of what an index ignored: nothing.
                return _reply({"count": 0, "_shards": _SHARDS})
            case "POST", ["_mget"] if name in self._indices:
                asked = orjson.loads(request.body)
                return self._get(
                    asked["ids"] if "ids" in asked else [document["_id"] for document in asked["docs"]], name
                )
            case "POST", ["_pit"] if name in self._indices:
                self._listed = list(self._indices[name].documents)
                return _reply({"id": name})
            case "DELETE", ["_pit"]:
                return _reply({"succeeded": True, "num_freed": 1})
            case "POST", ["_search"]:
                return self._page(orjson.loads(request.body))
        fault = {"type": "index_not_found_exception", "reason": f"no such index [{name}]", "index": name}
        return _reply({"error": fault | {"root_cause": [fault]}, "status": 404}, status=404)

    def _described(self, name: str) -> Mapping[str, Any]:
        index = self._indices[name]
        return {
            "aliases": {},
            "mappings": index.mappings,
            "settings": {"index": {**index.settings, "uuid": index.uuid}},
        }

    def _bulk(self, request: Request, name: str) -> Reply:
        tops, parts = _wanted(request)
        items: list[orjson.Fragment] = []
        if self._keep or parts:
            lines = request.body.split(b"\n")
            for action, source in zip(lines[0:-1:2], lines[1:-1:2], strict=True):
                ((verb, metadata),) = orjson.loads(action).items()
                into = metadata.get("_index", name)
                if self._keep:
                    self._indices.setdefault(into, _Index({}, {})).documents[metadata["_id"]] = source
                named = _NO_ID[:-2] + orjson.dumps(metadata["_id"])
                items.append(orjson.Fragment(_item(verb, into, parts).replace(_NO_ID, named, 1)))
        content: dict[str, Any] = {"took": 1, "errors": False} | ({"items": items} if parts else {})
        return _reply({key: value for key, value in content.items() if key in tops}, writes=True)

    def _get(self, ids: list[str], name: str) -> Reply:
        held = self._indices[name].documents
        documents: list[Any] = []
        for identifier in ids:
            found: dict[str, Any] = {"_index": name, "_id": identifier, "found": identifier in held}
            if identifier in held:
                found |= {"_version": 1, "_seq_no": 1, "_primary_term": 1}
                found["_source"] = orjson.Fragment(held[identifier])
            documents.append(found)
        return _reply({"docs": documents})

    def _page(self, asked: Mapping[str, Any]) -> Reply:
        name = asked["pit"]["id"]
        first = int(asked.get("search_after", [-1])[0]) + 1
        page = islice(self._listed, first, first + int(asked["size"]))
        hits = [
            {"_index": name, "_id": identifier, "_score": None, "sort": [number]}
            for number, identifier in enumerate(page, first)
        ]
        total = {"value": len(self._listed), "relation": "eq"}
        found = {"total": total, "max_score": None, "hits": hits}
        return _reply({"pit_id": name, "took": 1, "timed_out": False, "_shards": _SHARDS, "hits": found})


def _wanted(request: Request) -> tuple[set[str], frozenset[str]]:
    """Return which parts of a bulk answer, and of each item in it, are asked for by `filter_path`, all without it.

    A part that no item has, as an error here, is left out with the items themselves, as the real one does.
    """
    every = frozenset(_outcome("", ""))
    if "filter_path" not in request.query:
        return {"took", "errors", "items"}, every
    names = request.query["filter_path"][0].split(",")
    asked = {name.split(".")[2] for name in names if name.startswith("items.*.")}
    return {name.split(".")[0] for name in names}, every if asked & {"*"} or "items" in names else every & asked


@cache
def _item(verb: str, index: str, parts: frozenset[str]) -> bytes:
    """Return an item of a bulk answer, as far as it is asked for, with an empty id, which stands first."""
    outcome = _outcome(index, "")
    return orjson.dumps({verb: {part: outcome[part] for part in sorted(parts, key=lambda part: part != "_id")}})


def _outcome(index: str, identifier: str) -> Mapping[str, Any]:
    return {
        "_index": index,
        "_id": identifier,
        "_version": 1,
        "result": "created",
        "_shards": {"total": 2, "successful": 1, "failed": 0},
        "_seq_no": 1,
        "_primary_term": 1,
        "status": 201,
    }


def _reply(content: Any, *, status: int = 200, writes: bool = False) -> Reply:
    headers = {
        "content-type": "application/vnd.elasticsearch+json;compatible-with=8",
        "x-elastic-product": "Elasticsearch",
    }
    return Reply(orjson.dumps(content), status, headers, writes)
