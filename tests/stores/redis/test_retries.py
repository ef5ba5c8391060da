"""Connections that die, a server without memory, and refusals that stop a route."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from clocks import Clock
from redis_relay import LATER, WITHIN_S, cutting, eventually, round_trips

from mappers.redis.records import Hash, Member, String
from stores.errors import PermanentError, PlanError, TransientError
from stores.redis.client import code
from stores.redis.commands import Held
from stores.redis.configuration import Durability
from stores.redis.target import RedisTarget
from stores.throttling.backoff import Timing

# Trying again (R70, R72)


@pytest.mark.parametrize("allowances", [(0,), (10,), (43,), (2000,), (2000, 0, 500)])
def test_a_write_whose_connection_dies_is_completed(
    make: Callable[..., RedisTarget], redis_url: str, client: redis.Redis, unique: str, allowances: tuple[int, ...]
) -> None:
    records: list[Any] = []
    for n in range(400):
        records += [
            String(f"{unique}:s{n}", b"%d" % n),
            Hash(f"{unique}:h{n}", ((b"n", b"%d" % n),), LATER),
            Member(unique, f"m{n}", n),
            String(f"{unique}:last", b"%d" % n),
        ]
    with cutting(redis_url, *allowances) as (url, passed):
        assert make(url).write(records) == []
        assert len(passed) > len(allowances)
        assert passed[: len(allowances)] == list(allowances)
    target = make()
    expected = {record.address: record.canonical() for record in records}
    assert {at: record.canonical() for at, record in target.read(list(expected)).items()} == expected
    assert set(target.addresses()) == set(expected)


def test_reads_and_deletes_whose_connection_dies_are_completed(
    make: Callable[..., RedisTarget], redis_url: str, unique: str
) -> None:
    records = [String(f"{unique}:{n}", b"%d" % n) for n in range(800)]
    make().write(records)
    with cutting(redis_url, 500, 6000) as (url, passed):
        target = make(url)
        assert len(target.read([record.address for record in records])) == 800
        assert passed[:2] == [500, 6000]
    with cutting(redis_url, 500) as (url, passed):
        make(url).delete([record.address for record in records])
        assert passed[0] == 500
    assert list(make().addresses()) == []


def test_writing_goes_on_after_the_server_dropped_the_client(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target = make()
    for n in range(3):
        round_trips(target, [String(f"{unique}:{n}", b"v")])
        client.client_kill_filter(_type="normal", skipme=True)
    assert len(list(target.addresses())) == 3


def test_a_server_that_stays_away_is_a_transient_error_without_the_password(
    make: Callable[..., RedisTarget], unique: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    target = make(f"redis://:hush@127.0.0.1:{port}/0", deadline_s=0.2)
    calls: list[Callable[[], object]] = [
        target.check,
        lambda: target.write([String(f"{unique}:1", b"v")]),
        lambda: target.delete([f"{unique}:1"]),
        lambda: target.read([f"{unique}:1"]),
        lambda: list(target.addresses()),
    ]
    for call in calls:
        with pytest.raises(TransientError) as failed:
            call()
        assert failed.value.code == "E-RDS-UNREACHABLE"
        assert str(port) in str(failed.value)
        assert "hush" not in str(failed.value)


def test_a_full_memory_is_waited_for_and_then_reported_with_its_size(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server("--maxmemory", "4mb")
    target = make(url, deadline_s=0.5)
    with pytest.raises(TransientError) as failed:
        target.write([String(f"{unique}:{n}", b"v" * 200_000) for n in range(50)])
    assert failed.value.code == "E-RDS-OOM"
    assert str(4 * 2**20) in failed.value.message
    with redis.Redis.from_url(url) as server:
        assert server.dbsize() < 50


def test_a_hash_that_finds_no_memory_leaves_the_old_one_whole(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server()
    old = Hash(f"{unique}:1", ((b"a", b"1"), (b"b", b"2")), LATER)
    make(url).write([old])
    with redis.Redis.from_url(url) as server:
        server.config_set("maxmemory", 1)
    target = make(url, deadline_s=0.2)
    with pytest.raises(TransientError) as failed:
        target.write([Hash(f"{unique}:1", ((b"c", b"3"),))])
    assert failed.value.code == "E-RDS-OOM"
    assert target.read([f"{unique}:1"])[f"{unique}:1"].canonical() == old.canonical()


def test_what_was_refused_for_memory_is_written_in_order_once_there_is_some(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server()
    target = make(url)
    with redis.Redis.from_url(url) as server, ThreadPoolExecutor(1) as thread:
        server.config_set("maxmemory", 1)
        # Without memory the first record is refused while the second, which only deletes, is not.
        key = f"{unique}:gone"
        records: list[Held] = [
            String(key, b"v"),
            String(key, b"w", 0),
            String(f"{unique}:1", b"v"),
            Hash(key + "h", ((b"a", b""),)),
        ]
        writing = thread.submit(target.write, records)
        eventually(lambda: "errorstat_OOM" in server.info("errorstats"))
        server.config_set("maxmemory", 0)
        assert writing.result(WITHIN_S) == []
        assert set(server.keys()) == {f"{unique}:1".encode(), f"{key}h".encode()}


def test_a_replica_is_refused_and_written_to_once_it_is_promoted(
    make: Callable[..., RedisTarget], redis_url: str, redis_server: Callable[..., str], unique: str
) -> None:
    primary = urlsplit(redis_url)
    url = redis_server("--replicaof", f"{primary.hostname} {primary.port}")
    with pytest.raises(PlanError) as refused:
        make(url).check()
    assert refused.value.code == "E-RDS-REPLICA"
    records: list[Held] = [String(f"{unique}:1", b"v"), Hash(f"{unique}:2", ((b"a", b"1"),))]
    with redis.Redis.from_url(url) as server, ThreadPoolExecutor(1) as thread:
        with pytest.raises(TransientError) as failed:
            make(url, deadline_s=0.2).write(records)
        assert failed.value.code == "E-RDS-UNAVAILABLE"
        assert "READONLY" in str(failed.value)
        server.config_resetstat()
        target = make(url)
        writing = thread.submit(target.write, records)
        eventually(lambda: "errorstat_READONLY" in server.info("errorstats"))
        server.replicaof("no", "one")
        assert writing.result(WITHIN_S) == []
        assert len(target.read([record.address for record in records])) == 2


def test_memory_that_runs_out_before_exec_is_told_from_a_faulty_transaction(redis_server: Callable[..., str]) -> None:
    with redis.Redis.from_url(redis_server(), protocol=2) as server:
        connection = server.connection_pool.get_connection()
        for command in (("MULTI",), ("HSET", "key", "field", "value")):
            connection.send_command(*command)
            connection.read_response()
        server.config_set("maxmemory", 1)
        connection.send_command("EXEC")
        with pytest.raises(redis.exceptions.ExecAbortError) as refused:
            connection.read_response()
        assert code(refused.value) == "OOM"
        server.connection_pool.release(connection)


# Refusals


def test_a_wrong_or_missing_password_stops_at_once(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server("--requirepass", "hush")
    for given_url in (url, url.replace("//", "//:whisper@")):
        for call in (lambda t: t.check(), lambda t: t.write([String(f"{unique}:1", b"v")]), lambda t: [*t.addresses()]):
            with pytest.raises(PermanentError) as refused:
                call(make(given_url))
            assert refused.value.code == "E-RDS-AUTH"
            assert "whisper" not in str(refused.value)
    round_trips(make(url.replace("//", "//:hush@")), [String(f"{unique}:1", b"v")])


def test_a_user_without_permission_stops_instead_of_rejecting_documents(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server()
    with redis.Redis.from_url(url) as server:
        server.acl_setuser(
            "reader", enabled=True, nopass=True, keys=["*"], commands=["+@read", "+@transaction", "+info"]
        )
    target = make(url.replace("//", "//reader:x@"))
    for record in (String(f"{unique}:1", b"v"), Hash(f"{unique}:1", ((b"a", b"1"),)), Member(unique, "m", 1.0)):
        with pytest.raises(PermanentError) as refused:
            target.write([record])
        assert refused.value.code == "E-RDS-AUTH"
    assert target.read([f"{unique}:1"]) == {}


def test_a_server_that_is_no_redis_stops_at_once(make: Callable[..., RedisTarget], unique: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = thread.submit(answer)
        with pytest.raises(PermanentError) as refused:
            make(f"redis://127.0.0.1:{listener.getsockname()[1]}/0").write([String(f"{unique}:1", b"v")])
        assert refused.value.code == "E-RDS-SERVER"
        answering.result(WITHIN_S)


def test_an_unknown_refusal_stops_and_shows_no_value(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    target = make(redis_server("--rename-command", "SET", ""))
    with pytest.raises(PermanentError) as refused:
        target.write([String(f"{unique}:1", b"a document's value")])
    assert refused.value.code == "E-RDS-SERVER"
    assert "unknown command" in str(refused.value)
    assert "document's" not in str(refused.value)


def test_a_route_that_begins_waits_for_its_server_as_long_as_the_plan_says_and_tells(
    unique: str, starts_server: None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    connection = RedisTarget.Connection("redis://127.0.0.1:9/0", retry_deadline_s=100)
    target = RedisTarget(connection, RedisTarget.Placement(), unique, timing=Timing(clock, clock))
    with closing(target), caplog.at_level("WARNING"), pytest.raises(TransientError, match="reached for 100 s"):
        target.prepare()
    assert clock.now == pytest.approx(100, abs=1)
    notes = [record.getMessage() for record in caplog.records]
    assert 3 <= len(notes) <= 10
    assert all("redis at 127.0.0.1:9/0 does not answer" in note and "s more at most" in note for note in notes)


def test_a_server_is_silent_for_no_longer_than_it_is_tried_again() -> None:
    assert RedisTarget.Connection("redis://a", retry_deadline_s=600).silent_s == 30
    assert RedisTarget.Connection("redis://a", retry_deadline_s=7).silent_s == 7
    waiting = RedisTarget.Connection("redis://a", retry_deadline_s=1, durability=Durability(1, timeout_ms=20_000))
    assert waiting.silent_s == 21
