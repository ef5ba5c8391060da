"""A proxy before an Elasticsearch, whose faults no server can be made to have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from http_servers import HANG_UP, Forward, Reply, Request, forward

PRODUCT: Mapping[str, str] = {"X-Elastic-Product": "Elasticsearch"}
Fault = Callable[[Request, Forward], "Reply | None"]
"""Answers a request in the server's stead; None for one that is not meant for it."""


def canned(path: str, status: int, body: Any, **headers: str) -> Fault:
    """Answer the next request whose path holds this with this, without asking the server."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = Reply(status, text, headers or PRODUCT)
    return lambda request, forward: reply if path in request.path else None


def error(status: int, kind: str, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "reason": reason, **more}, "status": status}


def hang_up(path: str) -> Fault:
    return lambda request, forward: HANG_UP if path in request.path else None


def edited(path: str, edit: Callable[[Any], object]) -> Fault:
    """Let the server answer the next request whose path holds this, and change what it says."""

    def fault(request: Request, forward: Forward) -> Reply | None:
        if path not in request.path:
            return None
        reply = forward(request)
        content = json.loads(reply.body)
        edit(content)
        return Reply(reply.status, json.dumps(content).encode(), PRODUCT)

    return fault


def withheld(place: int, status: int, kind: str, reason: str = "", **more: Any) -> Fault:
    """Carry out a bulk request but for the action at this place, which is refused and never reaches the server."""

    def fault(request: Request, forward: Forward) -> Reply | None:
        if "/_bulk" not in request.path:
            return None
        lines = request.body.split(b"\n")
        index, identifier = request.path.split("/")[1], json.loads(lines[2 * place])["index"]["_id"]
        body = b"\n".join(lines[: 2 * place] + lines[2 * place + 2 :])
        content: dict[str, Any] = {"items": []}
        if body.strip():
            content = json.loads(forward(Request(request.method, request.path, request.headers, body)).body)
        refused = {"_index": index, "_id": identifier, **error(status, kind, reason, **more)}
        content["items"].insert(place, {"index": refused})
        return Reply(200, json.dumps({**content, "errors": True}).encode(), PRODUCT)

    return fault


class Proxy:
    """Passes requests on to a server, but for those its faults answer: each once and in order, the constant always."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        """Where it listens, once it does."""
        self.upstream = upstream
        self.faults: list[Fault] = []
        self.constant: Fault = lambda request, forward: None
        self.seen: list[Request] = []

    def reply(self, request: Request) -> Reply:
        self.seen.append(request)
        if reply := self.constant(request, self.forward):
            return reply
        if self.faults and (reply := self.faults[0](request, self.forward)):
            self.faults.pop(0)
            return reply
        return self.forward(request)

    def forward(self, request: Request) -> Reply:
        return forward(self.upstream, request)

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.seen if path in request.path]
