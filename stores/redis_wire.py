"""The exchange with one Redis server: packed pipelines, an outcome per command, one retry loop, errors translated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis.exceptions as driver
from hiredis import pack_command
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from stores.errors import PermanentError, TransientError
from stores.retrying import Backoff

_COMMANDS = 500
_PIPELINE_BYTES = 2**20
"""What one pipeline holds at most (R72); a larger step goes alone."""

_CODES: tuple[tuple[type[driver.ResponseError], str], ...] = (
    (driver.OutOfMemoryError, "OOM"),
    (driver.ReadOnlyError, "READONLY"),
    (driver.NoPermissionError, "NOPERM"),
    (driver.MasterDownError, "MASTERDOWN"),
    (driver.ClusterDownError, "CLUSTERDOWN"),
    (driver.TryAgainError, "TRYAGAIN"),
    (driver.MovedError, "MOVED"),
    (driver.AskError, "ASK"),
    (driver.ExecAbortError, "EXECABORT"),
)
"""The driver cuts these codes off the server's text; every other text starts with its code."""

AGAIN = frozenset(("OOM", "READONLY", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "MISCONF", "NOREPLICAS"))
"""Refusals that pass: the same command may succeed later (R70, R72). LOADING ends the driver's connection instead."""

_AUTH = (
    driver.AuthenticationError,
    driver.AuthorizationError,
    driver.NoPermissionError,
    driver.AuthenticationWrongNumberOfArgsError,
)

LOST = (driver.ConnectionError, driver.TimeoutError, OSError)
"""What a connection raises that cannot be used or did not last."""

Command = tuple[str | bytes, ...]
Refused = driver.ResponseError
"""One command's error reply."""


@dataclass(frozen=True, slots=True)
class Step:
    """The commands of one record or address, packed: they succeed, fail and are sent again together."""

    number: int
    key: str
    packed: bytes
    replies: int
    atomic: bool
    """Whether they stand between MULTI and EXEC, so that the last reply holds the others' outcomes."""

    @classmethod
    def of(cls, number: int, key: str, *commands: Command, atomic: bool = False) -> Step:
        """Return the step of these commands; steps of one key are applied in their order."""
        packed = b"".join(pack_command(command) for command in commands)  # type: ignore[arg-type]  # a union per item
        return cls(number, key, packed, len(commands), atomic)


def failure(step: Step, replies: Sequence[Any]) -> Refused | None:
    """Return the first error among a step's replies; that of a command in a transaction tells more than EXEC's."""
    for reply in (*replies, *replies[-1]) if step.atomic and isinstance(replies[-1], list) else replies:
        if isinstance(reply, Refused):
            return reply
    return None


def code(error: Refused) -> str:
    """Return the server's code, such as ``OOM`` or ``WRONGTYPE``."""
    found = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if found == "EXECABORT":  # "Transaction discarded because of: OOM command not allowed ..."
        return str(error).partition("because of: ")[2].partition(" ")[0] or found
    return found or str(error).partition(" ")[0]


class Server:
    """One database of a server, reached through connections that are opened when first used, from any thread."""

    def __init__(self, url: str, retry_deadline_s: float) -> None:
        """Take the URL without connecting; raises ValueError for one that is none."""
        self._pool, self.place = _pool(url)
        self._deadline_s = retry_deadline_s

    def run(self, steps: Iterable[Step], deadline_s: float | None = None) -> Iterator[tuple[Step, list[Any]]]:
        """Yield each step, in any order, with its replies, errors among them but none that may pass.

        Raises TransientError when nothing got through for the deadline, PermanentError for a refused user.
        """
        for pipeline in _pipelines(steps):
            yield from self._settle(pipeline, self._deadline_s if deadline_s is None else deadline_s)

    def ask(self, *commands: Command, deadline_s: float | None = None) -> list[Any]:
        """Return the replies to a few commands, none of them an error."""
        ((step, replies),) = self.run([Step.of(0, "", *commands)], deadline_s)
        error = failure(step, replies)
        if error is not None:
            raise self.refusal(error) from error
        return replies

    @contextmanager
    def wire(self) -> Iterator[Wire]:
        """Give one connection for as long as the block lasts; raises one of `LOST` if there is none."""
        try:
            connection = self._pool.get_connection()
        except driver.RedisError as error:
            if isinstance(error, LOST) and not isinstance(error, _AUTH):
                raise
            raise self.refusal(error) from error
        try:
            yield Wire(connection, self)
        finally:
            self._pool.release(connection)

    def refusal(self, error: driver.RedisError) -> PermanentError:
        """Return an error reply that will not pass as what a person must act upon."""
        if isinstance(error, _AUTH):
            text = f"{self.place} refuses this user ({_told(error)}); see user, password and ACL"
            return PermanentError("E-RDS-AUTH", text)
        if isinstance(error, driver.AskError):
            text = f"{self.place} is a cluster, which is not supported yet; use one server"
            return PermanentError("E-RDS-CLUSTER", text)
        return PermanentError("E-RDS-SERVER", f"{self.place} refused a command: {_told(error)}")

    def gave_up(self, error: Exception, deadline_s: float | None = None) -> TransientError:
        """Return the last error of a series of attempts as what may pass."""
        tried = f"for {self._deadline_s if deadline_s is None else deadline_s:g} s"
        if not isinstance(error, Refused):
            text = f"{self.place} could not be reached {tried} ({type(error).__name__}: {error}); check it, then resume"
            return TransientError("E-RDS-UNREACHABLE", text)
        if code(error) == "OOM":
            text = f"{self.place} was out of memory {tried}{self._memory()}; raise its maxmemory, then resume"
            return TransientError("E-RDS-OOM", text)
        text = f"{self.place} answered {code(error)} {tried}; resume when it takes writes"
        return TransientError("E-RDS-UNAVAILABLE", text)

    def close(self) -> None:
        """Release the connections; a later call opens new ones."""
        self._pool.disconnect()

    def _settle(self, steps: Sequence[Step], deadline_s: float) -> list[tuple[Step, list[Any]]]:
        backoff = Backoff(deadline_s)
        settled: list[tuple[Step, list[Any]]] = []
        while steps:
            again: list[Step] = []
            cause: Exception | None = None
            try:
                with self.wire() as wire:
                    answers = wire.exchange(steps)
            except LOST as error:
                # What the server did with it is unknown: all of it is sent again, which changes nothing twice (R72).
                again, cause = list(steps), error
            else:
                late: set[str] = set()
                for step, replies in zip(steps, answers, strict=True):
                    refused = failure(step, replies)
                    if refused is not None and code(refused) in AGAIN:
                        cause = refused
                        late.add(step.key)
                    # What followed on the same key follows again, or the earlier record would win.
                    if step.key in late:
                        again.append(step)
                    else:
                        settled.append((step, replies))
                if again:
                    # After a fail-over these connections lead to what is a replica now.
                    self._pool.disconnect(inuse_connections=False)
                if len(again) < len(steps):
                    backoff = Backoff(deadline_s)
            if cause is not None and not backoff.wait():
                raise self.gave_up(cause, deadline_s) from cause
            steps = again
        return settled

    def _memory(self) -> str:
        try:
            with self.wire() as wire:
                info = parsed_info(wire.demand([Step.of(0, "", ("INFO", "memory"))])[0])
        except (*LOST, PermanentError):
            return ""  # The lack of memory is the news; a server that falls silent now adds none.
        return f": used_memory {info.get('used_memory', '?')} of maxmemory {info.get('maxmemory', '?')} bytes"


class Wire:
    """One connection while it is held; it is closed, not given back in use, when replies are left unread."""

    def __init__(self, connection: Any, server: Server) -> None:
        """Take a connection of the driver's pool."""
        self._connection = connection
        self._server = server

    def exchange(self, steps: Sequence[Step]) -> list[list[Any]]:
        """Return each step's replies, errors among them; raises one of `LOST` if the connection did not last."""
        try:
            self._connection.send_packed_command([b"".join(step.packed for step in steps)], check_health=False)
            return [[self._reply() for _ in range(step.replies)] for step in steps]
        except BaseException as error:
            self._connection.disconnect()
            # NOAUTH is an error of the connection to the driver, but not one that waiting helps.
            if isinstance(error, driver.RedisError) and (isinstance(error, _AUTH) or not isinstance(error, LOST)):
                raise self._server.refusal(error) from error
            raise

    def demand(self, steps: Sequence[Step]) -> list[Any]:
        """Return the one reply of each step, never an error: one that may pass counts as a lost connection."""
        replies = [reply for (reply,) in self.exchange(steps)]
        for reply in replies:
            if isinstance(reply, Refused):
                # WRONGTYPE: the key became another since its type was asked for.
                if code(reply) in AGAIN or code(reply) == "WRONGTYPE":
                    raise driver.ConnectionError(_told(reply)) from reply
                raise self._server.refusal(reply) from reply
        return replies

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except Refused as error:
            return error


def parsed_info(reply: bytes) -> Mapping[str, str]:
    """Return the fields of an INFO reply."""
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _pool(url: str) -> tuple[ConnectionPool, str]:
    """Return unconnected connections and the server's name for people; raises ValueError for a URL that is none."""
    try:
        parts = urlsplit(url)
        options = parse_url(url)  # type: ignore[no-untyped-call]
        database = parts.path.strip("/")
        # The driver would take database 0 for a name it cannot read.
        if parts.scheme != "unix" and database and not database.isdecimal():
            raise ValueError
    except ValueError:
        # Neither the URL nor the driver's text is shown: a URL split in the wrong place shows part of its password.
        raise ValueError(
            "url is not of the form redis://[user:password@]host[:port][/database number]; "
            "percent-encode what is special in user and password"
        ) from None
    options.setdefault("socket_timeout", 30.0)
    options.setdefault("socket_connect_timeout", 5.0)
    # One retry loop, ours: the driver's own would not end at the deadline. Replies stay bytes, in the forms of RESP2.
    options |= {"retry": Retry(NoBackoff(), 0), "decode_responses": False, "protocol": 2, "health_check_interval": 0}
    pool = ConnectionPool(**options)
    try:
        pool.make_connection()
    except TypeError:
        names = ", ".join(sorted(name.partition("=")[0] for name in parts.query.split("&")))
        raise ValueError(f"url has an option the driver does not know, one of: {names}") from None
    if "path" in options:
        return pool, f"redis at {options['path']}"
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    return pool, f"redis at {host}:{port}/{options.get('db', 0)}"


def _pipelines(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Yield the steps in their order, cut where a pipeline would pass its number of commands or bytes (R72)."""
    pipeline: list[Step] = []
    commands = size_bytes = 0
    for step in steps:
        commands += step.replies
        size_bytes += len(step.packed)
        if pipeline and (commands > _COMMANDS or size_bytes > _PIPELINE_BYTES):
            yield pipeline
            pipeline, commands, size_bytes = [], step.replies, len(step.packed)
        pipeline.append(step)
    if pipeline:
        yield pipeline


def _told(error: Exception) -> str:
    """Return the server's text without the arguments that it repeats from a command it does not know."""
    return str(error).partition(", with args")[0]
