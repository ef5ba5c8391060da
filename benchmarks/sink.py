"""Targets that cost nothing: HTTP servers that acknowledge what DynamoDB or Elasticsearch would store.

Run as ``python -m benchmarks.sink dynamodb|elasticsearch PORT [--keep] [--latency-ms N]``. With ``--keep`` what was
written is held in memory, for verification to read; the latency is added to every write.
"""

from __future__ import annotations

import argparse
import asyncio
from urllib.parse import parse_qs, unquote, urlsplit

from benchmarks.exchange import Reply, Request, Store
from benchmarks.tcp_server import Converse, serve


def conversation(store: Store, latency_s: float) -> Converse:
    """Return how the store talks HTTP, its answers to writes so much later."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            reply = store.answer(await _request(reader))
            if reply.writes and latency_s:
                await asyncio.sleep(latency_s)
            writer.write(_head(reply) + reply.body)
            await writer.drain()

    return converse


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    return Request(method, unquote(parts.path), parse_qs(parts.query, keep_blank_values=True), headers, body)


def _head(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} -", f"content-length: {len(reply.body)}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def main() -> None:
    """Serve what the arguments say."""
    from benchmarks.dynamodb_sink import DynamoDB
    from benchmarks.elasticsearch_sink import Elasticsearch

    parser = argparse.ArgumentParser(description="A target that acknowledges everything.")
    parser.add_argument("kind", choices=("dynamodb", "elasticsearch"))
    parser.add_argument("port", type=int)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--latency-ms", type=float, default=0)
    given = parser.parse_args()
    store: Store = DynamoDB(given.keep) if given.kind == "dynamodb" else Elasticsearch(given.keep)
    asyncio.run(serve(given.port, conversation(store, given.latency_ms / 1000)))


if __name__ == "__main__":
    main()
