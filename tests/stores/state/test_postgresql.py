"""A state on PostgreSQL: who may use which schema, what is wrong with a server, and what passes by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from certificates import Authority
from postgresqls import DATABASE, PASSWORD, USER, Postgresql, pgbouncer, raw
from psycopg import sql
from states import begun, execute, rows, tally
from waiting import until

from flows.demo.servers import free_port
from stores.errors import PermanentError, PlanError, TransientError
from stores.state.database import backend
from stores.state.postgresql_checks import OLDEST_SERVER
from stores.state.state import State


@pytest.fixture
def url(postgresql_url: str) -> str:
    return postgresql_url


@pytest.fixture
def plain_user(postgresql: Postgresql, unique: str) -> Iterator[str]:
    """A user who may connect to the database and nothing else."""
    postgresql.execute(f"CREATE ROLE {unique} LOGIN PASSWORD {sql.Literal(PASSWORD).as_string()}")
    yield unique
    postgresql.execute(f"DROP OWNED BY {unique} CASCADE", f"DROP ROLE {unique}")


def refused(url: str, code: str = "E-STATE-OPEN") -> str:
    with pytest.raises(PlanError) as told:
        State(url, "shop")
    assert told.value.code == code
    assert PASSWORD not in told.value.message
    return told.value.message


@pytest.mark.parametrize("schema", ["plain", 'we"ird %s {x}; --', "Ünï cödé"])
def test_a_schema_of_any_name_holds_a_state_of_its_own(postgresql: Postgresql, unique: str, schema: str) -> None:
    urls = [postgresql.url(f"{unique} {schema}{number}") for number in range(2)]
    states = [State(url, "shop") for url in urls]
    fences = [begun(state).fence for state in states]
    assert fences == [1, 1]
    assert [rows(url, "SELECT plan, route FROM leases") for url in urls] == [[("shop", "orders")]] * 2
    for state in states:
        state.close()


def test_a_look_makes_nothing_and_says_what_a_run_makes(postgresql: Postgresql, url: str, unique: str) -> None:
    database = backend(url)
    assert not database.exists()
    assert database.what_a_run_makes() == f"a run makes the schema {unique} and its tables"
    assert database.place == f"postgresql://127.0.0.1:{postgresql.port}/{DATABASE}, schema {unique}"
    database.close()
    assert postgresql.execute(f"SELECT 1 FROM pg_namespace WHERE nspname = '{unique}'") == []
    State(url, "shop").close()
    assert database.exists()
    database.close()


def test_a_missing_right_is_told_with_the_statement_that_gives_it(
    postgresql: Postgresql, plain_user: str, unique: str
) -> None:
    schema = f"{unique}_own"
    url = postgresql.url(schema, user=plain_user)

    def told_statement(words: str) -> str:
        message = refused(url)
        assert words in message
        return words

    postgresql.execute(told_statement(f'CREATE SCHEMA "{schema}" AUTHORIZATION "{plain_user}"'))
    postgresql.execute(f'ALTER SCHEMA "{schema}" OWNER TO "{USER}"')
    grant = told_statement(f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO "{plain_user}"')
    State(postgresql.url(schema), "shop").close()  # Another user's tables.
    told_statement(f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO "{plain_user}"')
    postgresql.execute(grant)
    tables = told_statement(
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema}" TO "{plain_user}"'
    )
    postgresql.execute(tables)
    # What only a run that was overtaken needs is asked for at once, too.
    postgresql.execute(told_statement(f'GRANT USAGE ON ALL SEQUENCES IN SCHEMA "{schema}" TO "{plain_user}"'))
    state = State(url, "shop")
    begun(state)
    state.late_writes.note("orders", [b"x"])
    state.close()


def test_another_user_of_the_database_puts_no_function_before_those_of_the_server(
    postgresql: Postgresql, plain_user: str, unique: str
) -> None:
    """Two teams whose users may both make their schema: one makes a schema with the name of the other's user."""
    team, other, url = unique, f"{unique}_other", postgresql.url(schema=f"{unique}_state", user=plain_user)
    postgresql.execute(
        f"GRANT CREATE ON DATABASE {sql.Identifier(DATABASE).as_string()} TO {team}",
        f"CREATE ROLE {other}",
    )
    try:
        State(url, "shop").close()
        postgresql.execute(
            f"CREATE SCHEMA {team} AUTHORIZATION {other}",
            f"GRANT USAGE ON SCHEMA {team} TO PUBLIC",
            f"CREATE TABLE {team}.taken AS SELECT current_user::text",
            f"GRANT INSERT ON {team}.taken TO PUBLIC",
            f"CREATE FUNCTION {team}.joined(text, oid) RETURNS text LANGUAGE sql"
            f" AS $$ INSERT INTO {team}.taken VALUES (current_user); SELECT pg_catalog.concat($1, $2) $$",
            f"CREATE OPERATOR {team}.|| (LEFTARG = text, RIGHTARG = oid, FUNCTION = {team}.joined)",
            f"TRUNCATE {team}.taken",
        )
        assert f"ALTER ROLE {sql.Identifier(team).as_string()} SET search_path = ''" in refused(url, "E-STATE-UNSAFE")
        assert postgresql.execute(f"SELECT * FROM {team}.taken") == []

        postgresql.execute(f"ALTER ROLE {team} SET search_path = ''")
        State(url, "shop").close()
        assert postgresql.execute(f"SELECT * FROM {team}.taken") == []
    finally:
        postgresql.execute(f"DROP SCHEMA {team} CASCADE", f"DROP ROLE {other}")


def test_a_schema_that_everybody_may_use_is_none_to_look_for_functions_in(
    postgresql: Postgresql, plain_user: str, unique: str
) -> None:
    """`public` of a database that was upgraded from PostgreSQL 14; here a schema of the test's own."""
    shared, url = f"{unique}_shared", postgresql.url(f"{unique}_state", user=plain_user)
    postgresql.execute(
        f"CREATE SCHEMA {unique}_state AUTHORIZATION {plain_user}",
        f"CREATE SCHEMA {shared}",
        f"GRANT USAGE ON SCHEMA {shared} TO PUBLIC",
        f"ALTER ROLE {plain_user} SET search_path = {shared}",
    )
    try:
        State(url, "shop").close()
        postgresql.execute(f"GRANT CREATE ON SCHEMA {shared} TO PUBLIC")
        assert f"the schema '{shared}'" in refused(url, "E-STATE-UNSAFE")
    finally:
        postgresql.execute(f"DROP SCHEMA {shared} CASCADE")


@pytest.fixture
def own_url(postgresql: Postgresql, plain_user: str, unique: str) -> str:
    """The URL of a state in a schema of the plain user's own."""
    postgresql.execute(f'CREATE SCHEMA "{unique}_own" AUTHORIZATION "{plain_user}"')
    return postgresql.url(f"{unique}_own", user=plain_user)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_state_where_nothing_can_be_written_is_not_called_fit(
    postgresql: Postgresql, plain_user: str, own_url: str, read_only: bool
) -> None:
    State(own_url, "shop").close()
    postgresql.execute(f"ALTER ROLE {plain_user} SET default_transaction_read_only = on")
    with pytest.raises(TransientError) as told:
        State(own_url, "shop", read_only=read_only)
    assert told.value.code == "E-STATE-BUSY"
    assert "only reads" in told.value.message
    assert "target_session_attrs=read-write" in told.value.message


def test_a_server_that_takes_no_connection_for_a_while_is_awaited(
    postgresql: Postgresql, plain_user: str, own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "stores.state.postgresql_transactions")
    state = State(own_url, "shop")
    lease = begun(state)
    postgresql.execute(
        f"ALTER ROLE {plain_user} CONNECTION LIMIT 0",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{plain_user}'",
    )
    with ThreadPoolExecutor(2) as threads:
        written = threads.submit(state.partitions.checkpoint, lease, 0, b"p", tally(1))
        read = threads.submit(state.partitions.of_route, "orders")
        both = (written, read)
        until(lambda: caplog.text.count("it is asked again") > 1 or any(each.done() for each in both), "second attempt")
        assert not any(each.done() for each in both)
        postgresql.execute(f"ALTER ROLE {plain_user} CONNECTION LIMIT -1")
        written.result(60)
        read.result(60)
    assert state.partitions.of_route("orders")[0].tally.read == 1
    state.close()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody else"}, "authentication failed"),
        ({"sslmode": "require"}, "SSL"),
    ],
)
def test_what_is_wrong_with_the_url_is_named(
    postgresql: Postgresql, unique: str, change: dict[str, str], word: str
) -> None:
    assert word in refused(postgresql.url(unique, **change))  # type: ignore[arg-type]


def test_a_wrong_password_is_not_shown(postgresql: Postgresql, unique: str) -> None:
    message = refused(postgresql.url(unique).replace("%E2%82%AC", "wr0ng"))
    assert "password authentication failed" in message
    assert "wr0ng" not in message


def test_a_database_of_another_encoding_is_refused(postgresql: Postgresql, unique: str) -> None:
    postgresql.execute(f"CREATE DATABASE {unique} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    assert "encoding is SQL_ASCII" in refused(postgresql.url(unique, database=unique))
    postgresql.execute(f"DROP DATABASE {unique}")


def test_a_server_that_does_not_answer_may_answer_later(postgresql: Postgresql, unique: str) -> None:
    with pytest.raises(TransientError) as told:
        State(postgresql.url(unique, port=free_port()), "shop")
    assert told.value.code == "E-STATE-BUSY"
    assert "refused" in told.value.message
    assert PASSWORD not in told.value.message


def test_text_sorts_by_its_code_points_whatever_the_language_of_the_database(state: State, url: str) -> None:
    state.leases.acquire("a")
    columns = "SELECT count(*), count(collation_name) FROM information_schema.columns WHERE data_type = 'text'"
    ((texts, with_collation),) = rows(url, f"{columns} AND table_schema = current_schema()")
    assert texts == with_collation != 0


def test_a_state_that_was_made_anew_under_a_run_stops_it(
    state: State, url: str, unique: str, opened: Callable[..., State]
) -> None:
    lease = begun(state)
    assert state.is_usable()
    execute(url, f"DROP SCHEMA {unique} CASCADE")
    with pytest.raises(PermanentError) as told:
        state.partitions.of_route("orders")
    assert told.value.code == "E-STATE-GONE"
    assert not state.is_usable()
    opened().leases.acquire("orders")
    assert not state.is_usable()
    with pytest.raises(PermanentError) as told:
        state.partitions.checkpoint(lease, 0, b"p", tally(1))
    assert told.value.code == "E-STATE-GONE"
    assert "others now" in told.value.message


def test_connections_that_the_server_has_ended_are_replaced(postgresql: Postgresql, state: State, url: str) -> None:
    lease = begun(state)
    with raw(url) as own:
        (mine,) = own.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        postgresql.execute(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{USER}' AND pid <> {mine}"
        )
    assert state.partitions.of_route("orders")[0].position is None
    state.partitions.checkpoint(lease, 0, b"p", tally(1))
    assert state.partitions.of_route("orders")[0].position == b"p"


def test_a_state_behind_a_pgbouncer_is_used_by_more_threads_than_it_has_sessions(
    postgresql: Postgresql, pgbouncer_port: int, unique: str
) -> None:
    state = State(postgresql.url(unique, port=pgbouncer_port), "shop")
    lease = begun(state)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                state.partitions.checkpoint(lease, 0, b"p", tally(1))
                state.leases.renew(lease)
                state.partitions.of_route("orders")
        except BaseException as error:  # noqa: BLE001 - shown below, in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert state.partitions.of_route("orders")[0].tally.read == 12 * 20
    state.close()


def test_the_way_to_a_pgbouncer_that_speaks_tls_is_checked_by_the_url(
    postgresql: Postgresql, unique: str, tmp_path: Path
) -> None:
    authority, other = Authority(tmp_path / "right"), Authority(tmp_path / "wrong", "other")
    good = authority.certificate("server")
    settings = [
        "client_tls_sslmode = require",
        f"client_tls_key_file = {good.key}",
        f"client_tls_cert_file = {good.certificate}",
    ]
    with pgbouncer(tmp_path / "pgbouncer", postgresql, *settings) as port:
        checked = {"sslmode": "verify-full", "sslrootcert": str(authority.file)}
        State(postgresql.url(unique, port=port, **checked), "shop").close()
        message = refused(postgresql.url(unique, port=port, sslmode="verify-full", sslrootcert=str(other.file)))
        assert "certificate verify failed" in message
        assert "SSL required" in refused(postgresql.url(unique, port=port, sslmode="disable"))


def test_the_oldest_server_is_one_that_was_tested() -> None:
    assert OLDEST_SERVER == 15
