"""A commit whose connection dies is read, never guessed: cut at each side of it, and with a server that is killed."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from postgresql_relay import CommitRelay, Cut, commit_relay
from postgresqls import USER, Postgresql, postgresql_server
from states import LIMIT_S, begun, execute, rows, tally, until

from stores.contract.journal import Reject
from stores.errors import PermanentError, TransientError
from stores.state.leases import Lease
from stores.state.state import State


@pytest.fixture
def relay(postgresql: Postgresql) -> Iterator[CommitRelay]:
    with commit_relay(postgresql.port) as relay:
        yield relay


@pytest.mark.parametrize(("cut", "committed"), [("before", False), ("after", True), ("unnoticed", False)])
def test_a_commit_whose_connection_is_cut_ends_as_the_server_says(
    postgresql: Postgresql, postgresql_url: str, unique: str, relay: CommitRelay, cut: Cut, committed: bool
) -> None:
    state = State(postgresql.url(unique, port=relay.port), "shop")
    lease = begun(state)
    for round_ in range(3):
        before = state.partitions.of_route("orders")[0].tally.read
        relay.next_commit = cut
        if committed:
            state.partitions.checkpoint(lease, 0, b"p", tally(1), [Reject("n:1", "map", "E", "", "r")])
        else:
            with pytest.raises(TransientError) as told:
                state.partitions.checkpoint(lease, 0, b"p", tally(1), [Reject("n:1", "map", "E", "", "r")])
            assert told.value.code == "E-STATE-BUSY"
        assert relay.cuts == round_ + 1
        # No session that did not notice holds a row, or commits later.
        assert state.partitions.of_route("orders")[0].tally.read == before + (1 if committed else 0)
        state.partitions.checkpoint(lease, 0, b"q", tally(1))
    assert state.partitions.of_route("orders")[0].tally.read == (6 if committed else 3)
    state.close()


def test_a_number_that_a_crash_gave_to_another_transaction_does_not_stand_for_ours(
    postgresql: Postgresql, postgresql_url: str, unique: str, relay: CommitRelay
) -> None:
    """As after a crash: the transaction left nothing, and one of its number is committed."""
    state = State(postgresql.url(unique, port=relay.port), "shop")
    lease = begun(state)
    relay.next_commit = "after"
    execute(
        postgresql_url,
        "CREATE FUNCTION lost() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER lost BEFORE UPDATE ON transactions FOR EACH ROW EXECUTE FUNCTION lost()",
    )
    with pytest.raises(TransientError):
        state.partitions.checkpoint(lease, 0, b"p", tally(1))
    state.close()


def test_a_database_that_was_put_back_under_a_run_stops_it(postgresql_url: str) -> None:
    state = State(postgresql_url, "shop")
    lease = begun(state)
    ((identity,),) = rows(postgresql_url, "SELECT value FROM meta WHERE key = 'identity'")
    # As a dump has it: the same rows in tables of their own.
    execute(
        postgresql_url,
        "ALTER TABLE meta RENAME TO old; CREATE TABLE meta (LIKE old INCLUDING ALL);INSERT INTO meta SELECT * FROM old",
    )
    assert rows(postgresql_url, "SELECT value FROM meta WHERE key = 'identity'") == [(identity,)]
    with pytest.raises(PermanentError) as told:
        state.partitions.checkpoint(lease, 0, b"p", tally(1))
    assert told.value.code == "E-STATE-GONE"
    state.close()


class Writer(threading.Thread):
    """Records one document after the other until it is to end, and counts those of which it was told that they are."""

    def __init__(self, state: State, lease: Lease, number: int, ending: threading.Event) -> None:
        super().__init__(daemon=True)
        self._state, self._lease, self._number, self._ending = state, lease, number, ending
        self.recorded = self.refused = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ending.is_set():
                try:
                    self._state.partitions.checkpoint(self._lease, self._number, b"p", tally(1))
                    self.recorded += 1
                except TransientError:
                    self.refused += 1
        except BaseException as error:  # noqa: BLE001 - shown by the test, in its own thread
            self.failure = error


def until_answered(server: Postgresql, *, own: bool = True) -> list[int]:
    """Return the processes that serve the writers, once the server has recovered; with `own=False` any process."""
    pids: list[int] = []
    chosen = f"usename = '{USER}'" if own else "true"

    def answered() -> bool:
        with suppress(psycopg.OperationalError):
            pids.extend(p for (p,) in server.execute(f"SELECT pid FROM pg_stat_activity WHERE {chosen}"))
        return bool(pids)

    until(answered)
    return pids


@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.soak)])
def test_a_server_that_is_killed_during_commits_loses_none_and_makes_up_none(
    tmp_path_factory: pytest.TempPathFactory, starts_server: None, kills: int
) -> None:
    """A process of the server is killed, so that it ends all others, and recovers what had reached the disk."""
    with postgresql_server(Path(tmp_path_factory.mktemp("killed"))) as server:
        state = State(server.url("killed"), "shop")
        lease = begun(state)
        ending = threading.Event()
        writers = [Writer(state, lease, number % 2, ending) for number in range(4)]
        for writer in writers:
            writer.start()
        for _ in range(kills):
            before = sum(writer.recorded for writer in writers)
            until(lambda before=before: sum(writer.recorded for writer in writers) > before + 20)  # type: ignore[misc]
            os.kill(random.choice(until_answered(server)), signal.SIGKILL)
        before = sum(writer.recorded for writer in writers)
        until(lambda: sum(writer.recorded for writer in writers) > before)
        ending.set()
        for writer in writers:
            writer.join(LIMIT_S)
        assert [writer.failure for writer in writers] == [None] * len(writers)
        assert sum(writer.refused for writer in writers) > 0
        until_answered(server, own=False)  # It may recover from the last kill only now.
        found = [part.tally.read for part in state.partitions.of_route("orders")]
        assert sum(found) == sum(writer.recorded for writer in writers)
        state.close()
