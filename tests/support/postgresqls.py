"""A PostgreSQL as tests want it: a user without rights of the server's own, a schema for each test, and a PgBouncer."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import psycopg
from psycopg import sql
from waiting import ending, until

from flows.demo import servers

PASSWORD = "s3cr€t p:@/#?%&'\"\\+"
"""It has every character that a URL or a shell gives a meaning."""
USER = "moving team"
DATABASE = "states"


@dataclass(frozen=True)
class Postgresql:
    """A server, and the way to it as its superuser."""

    superuser: str = field(repr=False)
    port: int

    def url(self, schema: str, *, port: int = 0, user: str = USER, database: str = DATABASE, **options: str) -> str:
        """Return the URL of a state as a plan has it; with `port`, through another server before this one."""
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in {"schema": schema, **options}.items())
        login = f"{quote(user, safe='')}:{quote(PASSWORD, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{port or self.port}/{quote(database, safe='')}?{query}"

    def execute(self, *statements: str, database: str = DATABASE) -> list[tuple[Any, ...]]:
        """Run the statements as the superuser, each in a transaction of its own; returns the rows of the last one."""
        with closing(psycopg.connect(self.superuser, dbname=database, autocommit=True)) as db:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                cursor = db.execute(statement)
                rows = cursor.fetchall() if cursor.description else []
            return rows


@contextmanager
def postgresql_server(folder: Path, *options: str) -> Iterator[Postgresql]:
    """Give a server with a database for states, whose owner is no superuser."""
    with servers.postgresql(folder, *options, password=PASSWORD) as url:
        login = url.replace("@", f":{quote(PASSWORD, safe='')}@", 1)
        server = Postgresql(login, urlsplit(url).port or 0)
        user, database = sql.Identifier(USER).as_string(), sql.Identifier(DATABASE).as_string()
        server.execute(
            f"CREATE ROLE {user} LOGIN PASSWORD {sql.Literal(PASSWORD).as_string()}",
            f"CREATE DATABASE {database} OWNER {user}",
            database="postgres",
        )
        yield server


@contextmanager
def pgbouncer(folder: Path, server: Postgresql, *settings: str) -> Iterator[int]:
    """Give the port of a PgBouncer in transaction mode before the server, with two sessions of its own there."""
    folder.mkdir(parents=True, exist_ok=True)
    users = folder / "users.txt"
    escaped = PASSWORD.replace('"', '""')
    users.write_text(f'"{USER}" "{escaped}"\n', encoding="utf-8")
    port = servers.free_port()
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        "\n".join(
            [
                "[databases]",
                f"* = host=127.0.0.1 port={server.port}",
                "[pgbouncer]",
                "listen_addr = 127.0.0.1",
                f"listen_port = {port}",
                "unix_socket_dir =",
                "pool_mode = transaction",
                "default_pool_size = 2",
                "auth_type = scram-sha-256",
                f"auth_file = {users}",
                *(["user = nobody"] if os.geteuid() == 0 else []),
                *settings,
            ]
        )
        + "\n",
        encoding="utf-8",
    )
    log = folder / "pgbouncer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["pgbouncer", str(configuration)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        until(lambda: process.poll() is not None or _listens(port), "PgBouncer that listens", log)
        assert process.poll() is None, ending(log)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def raw(url: str) -> psycopg.Connection[Any]:
    """Return a connection to a state past the modules under test, whose statements go to its schema."""
    before, _, query = url.partition("?")
    options = query.split("&")
    (schema,) = [option.removeprefix("schema=") for option in options if option.startswith("schema=")]
    kept = "&".join(option for option in options if not option.startswith("schema="))
    db = psycopg.connect(f"{before}?{kept}", autocommit=True)
    db.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(unquote(schema))))
    return db


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
