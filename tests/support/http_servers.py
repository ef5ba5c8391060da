"""HTTP servers in a thread of the test: one that answers by a function, and a proxy whose answers can be faulty."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """What a client sent; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def lines(self) -> list[bytes]:
        """The body's lines."""
        return self.body.splitlines()


@dataclass(frozen=True)
class Reply:
    """What a client gets."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Forward = Callable[[Request], Reply]
HANG_UP = Reply(0, b"")
"""No answer: the connection is closed."""


@contextmanager
def serving(answer: Forward) -> Iterator[str]:
    """Yield the URL of a server that answers each request by the function; it is gone at the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # Headers and body in one packet, or each answer waits 40 ms for an acknowledgement.

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = answer(Request(self.command, self.path, headers, body))
            if reply is HANG_UP:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def forward(upstream: str, request: Request) -> Reply:
    """Return the answer of the server at this URL, of its headers only the one that names its product."""
    with closing(http.client.HTTPConnection(urlsplit(upstream).netloc)) as connection:
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        connection.request(request.method, request.path, request.body or None, headers)
        answer = connection.getresponse()
        product = answer.headers["X-Elastic-Product"]
        return Reply(answer.status, answer.read(), {"X-Elastic-Product": product} if product else {})
