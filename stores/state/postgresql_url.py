"""The URL of a state on PostgreSQL: read by libpq itself but for `schema`, and refused in words without its secrets."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from stores.errors import PlanError
from stores.transport_security import is_this_machine, unchecked, unencrypted
from stores.urls import check_url, split_url

URL_FORM: Final = "postgresql://user:${PASSWORD}@host/database?sslmode=verify-full"
SCHEMES: Final = ("postgresql", "postgres", "postgresql+psycopg")
_DEFAULT_SCHEMA: Final = "offramp"
_LONGEST_NAME_BYTES: Final = 63
"""PostgreSQL cuts a longer name off silently (NAMEDATALEN)."""
_DEFAULTS: Final[Mapping[str, Any]] = {
    "connect_timeout": 10,
    # A connection whose other end is gone is found out within half a minute, and not by the kernel after hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
    "client_encoding": "utf8",
    "fallback_application_name": "offramp",
}
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "passfile")
_REFUSED: Final = {
    "options": "PgBouncer refuses it, and offramp sets what it needs in each transaction",
    "replication": "a connection for replication takes no queries",
    "service": "its file is of one machine, and a worker elsewhere has none; write what it says here",
    "servicefile": "its file is of one machine, and a worker elsewhere has none; write what it says here",
}


@dataclass(frozen=True, slots=True)
class PostgresqlUrl:
    """Where a state on PostgreSQL is, and how it is reached."""

    parameters: Mapping[str, Any] = field(repr=False)
    """What libpq is given: the password too."""
    schema: str
    place: str
    """How a message names it: hosts, database and schema."""

    def transport_notes(self) -> Iterator[str]:
        """Yield what a person should know of the way to the database; nothing for one on this machine."""
        hosts = str(self.parameters.get("host", "")).split(",")
        if all(not host or host.startswith(("/", "@")) or is_this_machine(host) for host in hosts):
            return
        mode = self.parameters.get("sslmode", "prefer")
        at, remedy = f"the state at {','.join(hosts)}", "write sslmode=verify-full in `state`"
        if mode in ("disable", "allow", "prefer"):
            yield unencrypted(at, remedy)
        elif mode != "verify-full":
            yield unchecked(at, remedy)


def read_url(url: str) -> PostgresqlUrl:
    """Return what the URL says; raises PlanError E-STATE-URL for one that libpq does not read, or names no database.

    Raises PlanError E-STATE-DRIVER where psycopg is not installed.
    """
    driver = _driver()
    try:
        check_url("state", url)
    except ValueError as error:
        raise _refused(str(error).removeprefix("state: ")) from None
    allowed = {option.keyword.decode() for option in driver.pq.Conninfo.get_defaults()}
    schema, kept = _DEFAULT_SCHEMA, []
    before, _, query = url.partition("?")
    named: set[str] = set()
    for option in filter(None, query.split("&")):
        name, _, value = option.partition("=")
        if name in named:  # libpq would take the last one: another schema, or no TLS.
            raise _refused(f"it has the option {name!r} twice; keep one")
        named.add(name)
        if name == "schema":
            schema = unquote(value)
        elif name in _REFUSED:
            raise _refused(f"{name} is not allowed, because {_REFUSED[name]}")
        elif name not in allowed:
            raise _refused(f"it has an unknown option {name!r}; allowed are schema and the parameters of libpq")
        else:
            _ensure_full_path(name, unquote(value))
            kept.append(option)
    plain = f"postgresql://{''.join(split_url(before))}"
    try:
        parameters = driver.conninfo.conninfo_to_dict(f"{plain}?{'&'.join(kept)}" if kept else plain)
    except driver.Error:  # Its text may have a part of the password.
        raise _refused("libpq does not read it") from None
    if any(port and not port.isdecimal() for port in str(parameters.get("port") or "").split(",")):
        raise _refused("its port is no number")
    if not parameters.get("dbname"):
        raise _refused("it names no database")
    if not schema or "\0" in schema or len(schema.encode()) > _LONGEST_NAME_BYTES:
        raise _refused(f"schema is a name of 1 to {_LONGEST_NAME_BYTES} bytes")
    if schema.startswith("pg_"):
        raise _refused("PostgreSQL keeps schemas that begin with pg_ for itself")
    return PostgresqlUrl({**_DEFAULTS, **parameters}, schema, _place(parameters, schema))


def _ensure_full_path(option: str, value: str) -> None:
    """Return if the option names no file, or one by its full path; raises PlanError for a relative path.

    libpq begins a relative path in the folder where a command runs: a worker or a scheduler would find another file.
    """
    if option in _FILES and value and not value.startswith("/") and (option, value) != ("sslrootcert", "system"):
        raise _refused(f"{option} is the relative path {value!r}; write the whole path, from / on")


def _place(parameters: Mapping[str, Any], schema: str) -> str:
    hosts = str(parameters.get("host") or parameters.get("hostaddr") or "this machine").split(",")
    ports = str(parameters.get("port") or "").split(",")
    ports = ports if len(ports) == len(hosts) else ports[:1] * len(hosts)
    named = [f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=True)]
    return f"postgresql://{','.join(named)}/{parameters['dbname']}, schema {schema}"


def _driver() -> Any:
    try:
        import psycopg
    except ImportError as error:
        missing = "psycopg" if isinstance(error, ModuleNotFoundError) and error.name == "psycopg" else "libpq"
        raise PlanError(
            "E-STATE-DRIVER",
            f"a state on PostgreSQL needs the extra `postgresql`, of which {missing} is not installed; run in"
            f" offramp's clone: {sys.executable} -m pip install -r requirements/postgresql.txt",
        ) from None
    return psycopg


def _refused(what: str) -> PlanError:
    return PlanError("E-STATE-URL", f"state is no URL of PostgreSQL that can be used: {what}; write {URL_FORM}")


def is_postgresql(url: str) -> bool:
    """Return whether the URL names a PostgreSQL, right or wrong."""
    return bool(re.match(rf"(?:{'|'.join(map(re.escape, SCHEMES))})://", url))
