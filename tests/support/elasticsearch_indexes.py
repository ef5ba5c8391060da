"""Documents of an Elasticsearch index, and asking the server itself what it holds."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from typing import Any

import orjson
import pytest

from mappers.elasticsearch.records import IndexDocument

SECRET = "kept-from-every-log"
"""A value of a document that no message may repeat."""


def document(identifier: str, **values: Any) -> IndexDocument:
    return IndexDocument(identifier, orjson.dumps(values))


def told(url: str, method: str, path: str, body: Any = None) -> Any:
    """Ask the server itself, past the target; the answer's JSON whatever its status."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What a handler of the root logger sees: the client's log of bodies does not propagate, yet pytest reads it."""
    return "\n".join(record.getMessage() for record in caplog.records if logging.getLogger(record.name).propagate)


def sources(url: str, index: str) -> dict[str, Any]:
    """Everything the index holds, as the server lists it."""
    told(url, "POST", f"/{index}/_refresh")
    found = told(url, "POST", f"/{index}/_search", {"size": 1000})
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}
