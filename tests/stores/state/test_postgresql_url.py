"""The URL of a state on PostgreSQL: what it says, what is wrong with it, and nothing secret in any word about it."""

from __future__ import annotations

import sys

import pytest
from postgresqls import PASSWORD, USER, Postgresql

from stores.errors import PlanError
from stores.state.postgresql_url import is_postgresql, read_url

SECRET = "s3cr3t"


def test_the_schema_is_ours_and_everything_else_is_given_to_libpq() -> None:
    url = Postgresql("", 6432).url("team a", sslmode="verify-full", sslrootcert="/etc/ca file.pem")
    read = read_url(url)
    assert read.schema == "team a"
    kept = {name: read.parameters[name] for name in ("user", "password", "host", "port", "dbname", "sslrootcert")}
    assert kept == {
        "user": USER,
        "password": PASSWORD,
        "host": "127.0.0.1",
        "port": "6432",
        "dbname": "states",
        "sslrootcert": "/etc/ca file.pem",
    }
    assert read.place == "postgresql://127.0.0.1:6432/states, schema team a"
    assert PASSWORD not in repr(read)


def test_a_schema_is_named_offramp_unless_the_url_names_one_and_hosts_may_be_several() -> None:
    read = read_url("postgresql://ada@one:5433,two:5434/states?target_session_attrs=read-write&connect_timeout=3")
    assert (read.schema, read.parameters["connect_timeout"]) == ("offramp", "3")
    assert read.place == "postgresql://one:5433,two:5434/states, schema offramp"
    # A connection that is gone is found out by the kernel within half a minute, not after hours.
    assert read.parameters["tcp_user_timeout"] == 30_000


@pytest.mark.parametrize(
    ("url", "word"),
    [
        (f"postgresql://ada:{SECRET}@host", "no database"),
        (f"postgresql://ada:{SECRET}@host/", "no database"),
        (f"postgresql://ada:{SECRET}#1@host/db", "percent-encoded"),
        (f"postgresql://ada:{SECRET} 1@host/db", "percent-encoded"),
        (f"postgresql://ada:{SECRET}@host:port/db", "port is no number"),
        (f"postgresql://ada:{SECRET}@host/db?sslmod=require", "unknown option 'sslmod'"),
        (f"postgresql://ada:{SECRET}@host/db?options=-csearch_path%3Dx", "options is not allowed"),
        (f"postgresql://ada:{SECRET}@host/db?service=prod", "service is not allowed"),
        (f"postgresql://ada:{SECRET}@host/db?schema=a&sslmode=require&schema=b", "option 'schema' twice"),
        (f"postgresql://ada:{SECRET}@host/db?sslmode=verify-full&sslmode=disable", "option 'sslmode' twice"),
        (f"postgresql://ada:{SECRET}@host/db?sslmode=verify-full&sslrootcert=ca.pem", "relative path 'ca.pem'"),
        (f"postgresql://ada:{SECRET}@host/db?sslkey=~%2Fada.key", "relative path '~/ada.key'"),
        (f"postgresql://ada:{SECRET}@host/db?schema=", "1 to 63 bytes"),
        (f"postgresql://ada:{SECRET}@host/db?schema={'x' * 64}", "1 to 63 bytes"),
        (f"postgresql://ada:{SECRET}@host/db?schema=pg_temp", "pg_"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_secrets(url: str, word: str) -> None:
    with pytest.raises(PlanError) as told:
        read_url(url)
    assert told.value.code == "E-STATE-URL"
    assert word in told.value.message
    assert "postgresql://user:${PASSWORD}@host/database" in told.value.message
    assert SECRET not in told.value.message


def test_only_its_own_schemes_name_a_postgresql() -> None:
    assert [is_postgresql(url) for url in ("postgresql://h/d", "postgres://h/d", "sqlite:///x", "mysql://h/d")] == [
        *(True, True, False, False)
    ]


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(PlanError) as told:
        read_url("postgresql://ada@host/db")
    assert told.value.code == "E-STATE-DRIVER"
    assert f"{sys.executable} -m pip install -r requirements/postgresql.txt" in told.value.message


@pytest.mark.parametrize(
    ("host", "options", "word"),
    [
        ("127.0.0.1", "", ""),
        ("localhost", "?sslmode=disable", ""),
        ("", "?host=/var/run/postgresql", ""),
        ("db.example", "", "without TLS"),
        ("db.example", "?sslmode=prefer", "without TLS"),
        ("localhost,db.example", "?sslmode=disable", "without TLS"),
        ("db.example", "?sslmode=require", "is not checked"),
        ("db.example", "?sslmode=verify-ca", "is not checked"),
        ("db.example", "?sslmode=verify-full&sslrootcert=system", ""),
    ],
)
def test_a_way_that_others_can_read_or_lead_elsewhere_is_noted(host: str, options: str, word: str) -> None:
    notes = list(read_url(f"postgresql://{host}/states{options}").transport_notes())
    assert [word in note and "sslmode=verify-full" in note for note in notes] == ([True] if word else [])
