"""What an error of PostgreSQL means for a run, at its beginning and later; servers cannot be told to make them all."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.errors import lookup
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.state.postgresql_faults import fault_at_opening, fault_at_work, lost_connection

PLACE = "postgresql://db.example/states, schema team"


def code(sqlstate: str) -> psycopg.Error:
    return lookup(sqlstate)("what the server says")


def refusal(text: str) -> psycopg.Error:
    """Return the error of a connection that was not made."""
    return psycopg.OperationalError(
        f'connection failed: connection to server at "db.example", port 5432 failed: {text}'
    )


@pytest.mark.parametrize(
    "error",
    [
        *map(code, ("40P01", "40001", "55P03", "53300", "53100", "57P01", "57P03", "57014", "25006", "25P03", "08006")),
        psycopg.OperationalError("the connection is lost"),
        psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly"),
        *map(
            refusal,
            (
                "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
                "FATAL:  sorry, too many clients already",
                "FATAL:  the database system is starting up",
                "FATAL:  no more connections allowed (max_client_conn)",
                "session is read-only",
                "could not translate host name: Temporary failure in name resolution",
            ),
        ),
        psycopg.errors.ConnectionTimeout("connection timeout expired"),
        NoConnectionLeft("QueuePool limit of size 8 overflow 8 reached, connection timed out"),
    ],
    ids=str,
)
def test_what_passes_by_itself_pauses_a_run(error: Exception) -> None:
    for fault in (fault_at_opening(error, PLACE), fault_at_work(error, PLACE)):
        assert isinstance(fault, TransientError)
        assert fault.code == "E-STATE-BUSY"
        assert PLACE in fault.message


@pytest.mark.parametrize(
    "error",
    [
        *map(code, ("42501", "28P01", "22P02", "23505", "XX001")),
        *map(
            refusal,
            (
                'FATAL:  password authentication failed for user "ada"',
                'FATAL:  no pg_hba.conf entry for host "10.0.0.1"',
                "server does not support SSL, but SSL was required",
                "SSL error: certificate verify failed",
                "could not translate host name: Name or service not known",
            ),
        ),
    ],
    ids=str,
)
def test_what_a_person_must_change_refuses_a_plan_and_stops_a_run(error: Exception) -> None:
    opening, work = fault_at_opening(error, PLACE), fault_at_work(error, PLACE)
    assert (type(opening), opening.code) == (PlanError, "E-STATE-OPEN")
    assert (type(work), work.code) == (PermanentError, "E-STATE-BROKEN")


def test_a_refusal_in_unknown_words_refuses_a_plan_and_pauses_a_run() -> None:
    error = refusal("FATAL:  die Katze schläft auf dem Server")
    assert isinstance(fault_at_opening(error, PLACE), PlanError)
    assert isinstance(fault_at_work(error, PLACE), TransientError)


@pytest.mark.parametrize("sqlstate", ["42P01", "3F000", "3D000"])
def test_what_is_not_there_any_more_is_gone(sqlstate: str) -> None:
    fault: OfframpError = fault_at_work(code(sqlstate), PLACE)
    assert (type(fault), fault.code) == (PermanentError, "E-STATE-GONE")


def test_the_same_words_of_two_attempts_are_shown_once() -> None:
    error = psycopg.OperationalError("\n".join([str(refusal('FATAL:  password authentication failed for "ada"'))] * 2))
    assert fault_at_opening(error, PLACE).message.count("authentication failed") == 1
    # As libpq says it: only the first attempt is introduced.
    second = str(error).splitlines()[1].removeprefix("connection failed: ")
    error = psycopg.OperationalError(f"{str(error).splitlines()[0]}\n{second}")
    assert fault_at_opening(error, PLACE).message.count("authentication failed") == 1


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (code("53300"), "raise max_connections"),
        (refusal("FATAL:  remaining connection slots are reserved for roles"), "raise max_connections"),
        (code("25006"), "name in `state` the server that writes"),
    ],
    ids=str,
)
def test_what_passes_only_if_a_person_acts_says_what_to_do(error: Exception, advice: str) -> None:
    for fault in (fault_at_opening(error, PLACE), fault_at_work(error, PLACE)):
        assert advice in fault.message
        assert "does not answer" not in fault.message


def test_only_an_error_that_the_server_has_decided_leaves_no_commit_in_doubt() -> None:
    assert [lost_connection(code(each)) for each in ("40001", "40P01", "23505", "25P03")] == [False] * 4
    assert [lost_connection(code(each)) for each in ("57P01", "57P02", "08006", "58030")] == [True] * 4
    assert lost_connection(psycopg.OperationalError("the connection is lost"))


def test_a_row_that_an_error_quotes_is_not_passed_on() -> None:
    error = lookup("23505")("duplicate key\nDETAIL:  Key (id)=(s:ada@example.com) already exists.")
    for fault in (fault_at_opening(error, PLACE), fault_at_work(error, PLACE)):
        assert "ada@example.com" not in fault.message
