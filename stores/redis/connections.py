"""Connections to a server as the driver opens them, with replies read many at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import redis.exceptions as driver
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.connection import Connection, DefaultParser, SSLConnection, parse_url
from redis.retry import Retry

from stores.connection_faults import ConnectionFault
from stores.protocol_probe import PlainQuestion, tls_mismatch
from stores.redis import configuration
from stores.redis.aws_login import IamLogin
from stores.redis.configuration import SILENT_S, Certificates
from stores.sharing import Sharing

TIMEOUTS = {"socket_timeout": SILENT_S, "socket_connect_timeout": 5.0}
"""Unless the URL says others."""
ONE_TRY = {"retry": Retry(NoBackoff(), 0), "decode_responses": False, "protocol": 2, "health_check_interval": 0}
"""One retry loop, ours: the driver's own would not end at the deadline. Replies stay bytes, in the forms of RESP2."""


_POOLS: Sharing[ConnectionPool] = Sharing()
_PING = PlainQuestion(b"PING\r\n", lambda answer: answer[:1] in (b"+", b"-"))
_MATCHING: set[tuple[str, int, bool]] = set()
"""Hosts and ports, with whether they are spoken to by TLS, that were asked without a mismatch."""


class Connections:
    """Connections to one server, opened when first used; all that have the same URL share them."""

    def __init__(self, way: configuration.Connection, at: tuple[str, int] | None = None) -> None:
        """Open none yet; raises ValueError for a URL that is none, or certificates or a login where they are not used.

        `at` is a host and a port in place of the URL's. A connection that says nothing for `way.silent_s` counts as
        lost, unless the URL says another time.
        """
        self.options = dict(connection_options(way.url, way.certificates))
        if self.options["socket_timeout"] == SILENT_S:
            self.options["socket_timeout"] = way.silent_s
        if way.iam is not None:
            way.iam.check(self.options, encrypted=self.encrypted)
            self.options["credential_provider"] = IamLogin(way.iam)
        if at is not None:
            self.options["host"], self.options["port"] = at
        self._key = (way.url, way.certificates, way.silent_s, way.iam, at)
        self._lock = threading.Lock()
        self._pool: ConnectionPool | None = None
        self._use = ExitStack()
        self._asked = False
        self._mismatch: ConnectionFault | None = None

    @property
    def server(self) -> str:
        """The server's name for people."""
        options = self.options
        if "path" in options:
            return f"redis at {options['path']}"
        return f"redis at {options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"

    @property
    def encrypted(self) -> bool:
        """Whether they speak TLS."""
        return issubclass(self.options["connection_class"], SSLConnection)

    def tls_mismatch(self) -> ConnectionFault | None:
        """Return that only one of URL and server speaks TLS, None where both do or neither; asked once."""
        at = (self.options.get("host", "localhost"), int(self.options.get("port", 6379)))
        place = (*at, self.encrypted)
        if not (self._asked or place in _MATCHING or "path" in self.options):
            self._asked = True
            self._mismatch = tls_mismatch(*at, _PING, encrypted=self.encrypted)
            if self._mismatch is None:
                _MATCHING.add(place)
        return self._mismatch

    @contextmanager
    def one(self) -> Iterator[Any]:
        """Give a connection of the driver's for the length of the body; raises the driver's errors."""
        pool = self._opened()
        connection = pool.get_connection()
        self._asked = True  # The driver has exchanged words with the server, so there is no mismatch.
        try:
            yield connection
        finally:
            pool.release(connection)

    def close_idle(self) -> None:
        """Nobody is given a connection that was opened before now."""
        if self._pool is not None:
            self._pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Release the connections, which its last user closes; a later call opens new ones."""
        with self._lock:
            self._use.close()
            self._pool = None

    def _locate(self) -> None:
        """The host and the port are those to connect to now; called with the lock."""

    def _lead_to(self, at: tuple[str, int]) -> None:
        """They lead to this host and port from now on, those that are in use apart."""
        self._use.close()
        self._pool = None
        self.options["host"], self.options["port"] = at
        self._key = (*self._key[:-1], at)

    def _opened(self) -> ConnectionPool:
        with self._lock:
            self._locate()
            if self._pool is None:
                self._pool = self._use.enter_context(_POOLS.use(self._key, lambda: ConnectionPool(**self.options)))
            return self._pool


# Each route of a plan asks, mostly with the same URL, and the answer takes a connection to make.
@lru_cache(maxsize=64)
def connection_options(url: str, certificates: Certificates) -> Mapping[str, Any]:
    """Return what the driver makes connections of.

    Raises ValueError, the key first where it is not the URL, for a URL that is none, or certificates that are not used.
    """
    try:
        parts = urlsplit(url)
        given = parse_url(url)  # type: ignore[no-untyped-call]
        database = parts.path.strip("/")
        # The driver would take database 0 for a name it cannot read.
        if parts.scheme != "unix" and database and not database.isdecimal():
            raise ValueError
    except ValueError:
        # Neither the URL nor the driver's text is shown: a URL split in the wrong place shows part of its password.
        raise ValueError(
            "url is not of the form redis://[user:password@]host[:port][/database number]; "
            "percent-encode special characters in user and password"
        ) from None
    certificates.check(given, encrypted=parts.scheme == "rediss")
    options: dict[str, Any] = TIMEOUTS | given | certificates.options() | ONE_TRY | {"parser_class": _Parser}
    kind = options.get("connection_class", Connection)
    options["connection_class"] = type(f"Many{kind.__name__}", (_ManyReplies, kind), {})
    try:
        ConnectionPool(**options).make_connection()
    except TypeError:
        names = ", ".join(sorted(name.partition("=")[0] for name in parts.query.split("&")))
        raise ValueError(f"url has an option that the driver does not know, one of: {names}") from None
    return options


class _Parser(DefaultParser):  # type: ignore[valid-type,misc]  # a name for one of two classes
    """The driver's parser, which gives many replies at once too: by one, each takes as long as making its command."""

    _errors = 0

    def on_connect(self, connection: Any, **options: Any) -> None:
        """Begin with an empty reader, and see what it answers while there is no whole reply."""
        super().on_connect(connection, **options)
        self._nothing_yet = self._reader.gets()

    def parse_error(self, response: str) -> Exception:
        """Return the error of the server's reply, and count it: it may be within another reply, as in EXEC's."""
        self._errors += 1
        error: Exception = super().parse_error(response)
        return error

    def many(self, count: int) -> tuple[list[Any], int]:
        """Return so many replies, and how many errors are among them or within them.

        Raises an error of `LOST` for a connection that ends or must end.
        """
        gets, nothing_yet = self._reader.gets, self._nothing_yet
        self._errors = 0
        replies: list[Any] = []
        while len(replies) < count:
            reply = gets()
            if reply is nothing_yet:
                self.read_from_socket()
                continue
            if isinstance(reply, driver.ConnectionError):
                raise reply
            replies.append(reply)
        return replies, self._errors


class _ManyReplies:
    """What a connection of ours can do beside the driver's own, whichever kind it is."""

    _parser: _Parser

    def replies(self, count: int) -> tuple[list[Any], int]:
        """Return the next replies, errors among them, and how many errors there are."""
        return self._parser.many(count)
