"""The errors of PostgreSQL and of PgBouncer as those of a state: what passes by itself, and what a person must change.

An error within a connection has a code (SQLSTATE). One of making a connection has only a text, which the server may
write in another language; libpq and the operating system have words of their own. No text is passed on but the first
line of a server, and what libpq says of a connection: details quote rows.
"""

from __future__ import annotations

from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from stores.connection_faults import connection_fault
from stores.errors import OfframpError, PermanentError, PlanError, TransientError

_READ_ONLY: Final = "25006"
"""What a standby says, which may take over."""
_PASSING: Final = (
    "08",  # the connection
    "40",  # a deadlock, or a transaction that cannot be put in a row with others
    "53",  # no connection, memory or disk left
    "57",  # a server that shuts down or starts, a cancelled query
    "58",  # the system under the server
    _READ_ONLY,
    "25P02",  # a transaction that another error had ended
    "25P03",  # a transaction that was idle for too long
    "25P04",
    "55P03",  # a lock that did not come free
)
_GONE: Final = ("42P01", "42703", "3F000", "3D000")
"""A table, a column, a schema or the database is not there any more."""
_FULL_WORDS: Final = (
    "too many clients",
    "too many connections",
    "connection slots are reserved",
    "no more connections allowed",
)
_PASSING_WORDS: Final = (
    *_FULL_WORDS,
    "starting up",
    "shutting down",
    "in recovery mode",
    "not yet accepting connections",
    "not accepting connections",
    "recovery conflict",
    "terminating connection",
    "server closed the connection",
    "server login has been failing",
    "server conn crashed",
    "query_wait_timeout",
    "client_login_timeout",
    "pgbouncer is shutting down",
    "session is not read-write",
    "session is read-only",
    "server is not in hot standby mode",
)
_LASTING_WORDS: Final = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no such database",
    "no such user",
    "no pg_hba.conf entry",
    "permission denied",
    "is not permitted to log in",
    "does not support ssl",
    "certificate",
    "private key",
    "invalid",
    "unsupported startup parameter",
)


def fault_at_opening(error: Exception, place: str) -> OfframpError:
    """Return why the state cannot be opened: a PlanError E-STATE-OPEN, unless it passes by itself."""
    if _passes(error, unknown=False):
        return _busy(error, place)
    return PlanError(
        "E-STATE-OPEN",
        f"state {place} cannot be used: {_words(error)}; correct `state`, or what the message names in the database",
    )


def fault_at_work(error: Exception, place: str) -> OfframpError:
    """Return why a state that was open does not serve."""
    if _sqlstate(error) in _GONE:
        return gone(place, "it lost tables that it had")
    if _passes(error, unknown=True):
        return _busy(error, place)
    return PermanentError("E-STATE-BROKEN", f"state {place} cannot be used: {_words(error)}")


def only_reads(place: str) -> TransientError:
    """Return the error that nothing can be written where the state is."""
    return TransientError(
        "E-STATE-BUSY",
        f"state {place} only reads: it is a standby, or default_transaction_read_only is set; name in `state` the"
        " server that writes, which target_session_attrs=read-write finds among several hosts",
    )


def passes(error: Exception) -> bool:
    """Return whether what went wrong at work may go well later."""
    return _sqlstate(error) not in _GONE and _passes(error, unknown=True)


def gone(place: str, what: str) -> PermanentError:
    """Return the error that the state is not the one that was opened."""
    return PermanentError(
        "E-STATE-GONE",
        f"state {place} is not what it was when the run began: {what}. The run stops here; put the state back as it was"
        " and run the same command, or start over with backfill --restart",
    )


def lost_connection(error: Exception) -> bool:
    """Return whether the connection ended, so that it is not known from the error what became of its transaction."""
    original = _original(error)
    if not isinstance(original, psycopg.Error):
        return True
    return not (original.sqlstate or "").startswith(("40", "23", "25", "55"))


def _passes(error: Exception, *, unknown: bool) -> bool:
    """Return whether the same may go well later; `unknown` for a refusal in words that are not known here."""
    original = _original(error)
    if not isinstance(original, psycopg.Error):
        return not isinstance(original, SQLAlchemyError) or "Timeout" in type(original).__name__
    if original.sqlstate:
        # PgBouncer has one code for all that it says, and says most of it before a query.
        return original.sqlstate.startswith(_PASSING) and not _has(original, _LASTING_WORDS)
    if not isinstance(original, psycopg.OperationalError):
        return False
    if _has(original, _PASSING_WORDS):
        return True
    if _has(original, _LASTING_WORDS):
        return False
    if "FATAL" in str(original):
        return unknown
    fault = connection_fault(str(original))
    return fault is None or (fault.passes and fault.kind != "unknown_host")


def _has(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(each in text for each in words)


def _busy(error: Exception, place: str) -> TransientError:
    if _sqlstate(error) == _READ_ONLY:
        return only_reads(place)
    if _sqlstate(error) == "53300" or _has(error, _FULL_WORDS):
        return TransientError(
            "E-STATE-BUSY",
            f"state {place} has no connection left: {_words(error)}; close others, raise max_connections, or put"
            " PgBouncer before the server",
        )
    return TransientError("E-STATE-BUSY", f"state {place} does not answer: {_words(error)}")


def _words(error: Exception) -> str:
    """Return what the server or libpq says, on one line and without details, which may quote rows."""
    original = _original(error)
    if isinstance(original, psycopg.Error) and original.diag.message_primary:
        return f"{original.diag.message_primary} ({original.sqlstate})"
    if isinstance(original, psycopg.OperationalError):
        # libpq tries more than one address, or a way without TLS, and says the same of each.
        lines = [line.strip().removeprefix("connection failed: ") for line in str(original).splitlines()]
        return "; ".join(dict.fromkeys(filter(None, lines))) or type(original).__name__
    if isinstance(original, SQLAlchemyError) and "Timeout" in type(original).__name__:
        return "all connections of this process are at work"
    return type(original).__name__


def _sqlstate(error: Exception) -> str:
    original = _original(error)
    return (original.sqlstate or "") if isinstance(original, psycopg.Error) else ""


def _original(error: Exception) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
