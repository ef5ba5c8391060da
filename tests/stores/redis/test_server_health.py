"""RedisTarget on servers that lose, drop or cannot hold what was acknowledged: fail-overs, evictions, memory."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from waiting import until

from mappers.redis.records import Entry, Hash, List, Member, Set, SetMember, String
from stores.errors import PlanError, TransientError
from stores.redis.configuration import Durability
from stores.redis.target import RedisTarget

Make = Callable[..., RedisTarget]


@pytest.fixture
def make(unique: str) -> Iterator[Make]:
    with contextlib.ExitStack() as held:

        def target(url: str, *, deadline_s: float = 20, **keys: Any) -> RedisTarget:
            connection = RedisTarget.Connection(url, retry_deadline_s=deadline_s, **keys)
            made = RedisTarget(connection, RedisTarget.Placement(key=f"{unique}:{{_id}}"), unique)
            held.callback(made.close)
            return made

        yield target


class Pair:
    """A primary, its replica, and an address that leads to the one or, after a fail-over, to the other."""

    def __init__(self, start: Callable[..., str], held: contextlib.ExitStack) -> None:
        self.url = start("--repl-diskless-sync-delay", "0")
        at = urlsplit(self.url)
        self.replica_url = start("--replicaof", f"{at.hostname} {at.port}")
        self.primary = held.enter_context(redis.Redis.from_url(self.url))
        self.replica = held.enter_context(redis.Redis.from_url(self.replica_url))
        until(
            lambda: self.primary.info("replication").get("slave0", {}).get("state") == "online", "replica", limit_s=30
        )
        self._leads_to = self.url
        self._sockets: list[socket.socket] = []
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        held.callback(self._close_sockets)
        held.callback(listener.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        self.address = f"redis://127.0.0.1:{listener.getsockname()[1]}"

    def _close_sockets(self) -> None:
        for one in self._sockets:
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                at = urlsplit(self._leads_to)
                far = socket.create_connection((at.hostname or "", at.port or 0))
                self._sockets += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._relay, args=ends, daemon=True).start()

    @staticmethod
    def _relay(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def fail_over(self) -> None:
        """The replica is the primary now, and the address leads to it."""
        self.replica.replicaof("NO", "ONE")
        self._leads_to = self.replica_url
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def pair(redis_server: Callable[..., str]) -> Iterator[Pair]:
    with contextlib.ExitStack() as held:
        yield Pair(redis_server, held)


def strings(unique: str, count: int, size: int = 1) -> list[String]:
    return [String(f"{unique}:{number}", b"%07d" % number * size) for number in range(count)]


# --- replicas and fail-overs (R73) ------------------------------------------------------------------------------------


def test_a_write_counts_once_a_replica_holds_it(make: Make, pair: Pair, unique: str) -> None:
    written = strings(unique, 2_000)
    assert make(pair.address).write(written) == []
    # Nothing is waited for here: what was acknowledged is there.
    assert pair.replica.mget([one.key for one in written]) == [one.value for one in written]
    pair.fail_over()
    assert len(make(pair.address).read([one.address for one in written])) == len(written)


def test_a_write_that_too_few_replicas_hold_is_not_acknowledged(make: Make, pair: Pair, unique: str) -> None:
    target = make(pair.address, deadline_s=0.5, durability=Durability(wait=2, timeout_ms=50))
    for attempt in (lambda: target.write(strings(unique, 1)), lambda: target.delete([f"{unique}:0"])):
        with pytest.raises(TransientError) as failed:
            attempt()
        assert failed.value.code == "E-RDS-REPLICAS"
        assert "of 2 replicas" in str(failed.value)
    pair.primary.config_set("min-replicas-to-write", 0)
    assert make(pair.address, durability=Durability(wait=0)).write(strings(unique, 1)) == []


def test_a_fail_over_that_lost_writes_is_never_overlooked(make: Make, pair: Pair, unique: str) -> None:
    """What only the old primary had is gone, and nobody else knows: without a comparison after it nothing is proven."""
    design = make(pair.address).design({})
    target = make(pair.address, durability=Durability(wait=0))
    target.follow(design)
    assert target.write(strings(unique, 10)) == []
    assert target.audit() == []
    until(lambda: pair.replica.exists(f"{unique}:9"), "replication")
    pair.replica.replicaof("NO", "ONE")
    assert target.write(strings(unique, 10, 2)) == []
    pair.fail_over()
    # Another process that only counts finds all ten keys, with their old contents.
    counting = make(pair.address)
    counting.follow(design)
    assert len(list(counting.addresses())) == 10
    (fault,) = counting.audit()
    assert "--level full" in fault
    comparing = make(pair.address)
    comparing.follow(design)
    held = comparing.read([one.address for one in strings(unique, 10)])
    assert held[f"{unique}:1"].canonical() != strings(unique, 10, 2)[1].canonical()
    assert comparing.audit() == []  # All that was compared, was compared on the new primary.


def test_a_fail_over_during_a_verification_makes_it_void(make: Make, pair: Pair, unique: str) -> None:
    target = make(pair.address)
    target.follow(target.design({}))
    assert target.write(strings(unique, 10)) == []
    assert len(target.read([f"{unique}:1"])) == 1
    pair.fail_over()
    assert len(target.read([f"{unique}:2"])) == 1
    (fault,) = target.audit()
    assert "verify again" in fault


def test_a_server_started_anew_is_noticed(make: Make, redis_server: Callable[..., str], unique: str) -> None:
    url, again = redis_server(), redis_server()
    target = make(again)
    target.follow(make(url).design({}))
    assert len(target.audit()) == 1


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"durability": Durability(wait=-1)}, "durability: "),
        ({"durability": Durability(timeout_ms=0)}, "durability: "),
        ({"durability": Durability(timeout_ms=60_000)}, "durability: "),
        ({"max_memory_percent": 0}, "max_memory_percent: "),
    ],
)
def test_options_that_cannot_be_served_are_refused(make: Make, keys: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make("redis://127.0.0.1:1", **keys)


# --- evictions (R70) --------------------------------------------------------------------------------------------------


def test_keys_that_were_dropped_are_told_of(make: Make, redis_server: Callable[..., str], unique: str) -> None:
    url = redis_server("--maxmemory", "4mb", "--maxmemory-policy", "allkeys-random", "--appendonly", "no")
    target = make(url, allow_eviction=True)
    target.follow(design := target.design({}))
    assert target.write(strings(unique, 100)) == []
    assert target.audit() == []
    assert target.write(strings(unique, 3_000, 300)) == []
    (fault,) = target.audit()
    assert "evicted_keys" in fault
    later = make(url, allow_eviction=True)
    later.follow(design)
    later.read([])
    assert len(later.audit()) == 1  # A comparison later on does not make the copy whole again.
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", 0)
    fresh = make(url)
    fresh.read([])
    assert fresh.audit() == []
    with redis.Redis.from_url(url) as client:
        client.config_resetstat()
        client.config_set("maxmemory", 3_000_000)
        client.set("one more", "x" * 1000)
    assert len(fresh.audit()) == 1  # The counter is below where it stood, and above 0.


# --- memory (R71) -----------------------------------------------------------------------------------------------------


def used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def shapes(unique: str, number: int) -> Sequence[Any]:
    key = f"{unique}:user:{number:06d}"
    text = b"%d" % number
    return (
        String(key, text * (20 + number % 200)),
        String(key, text, 4_102_444_800_000),
        Hash(key, tuple((b"field%d" % at, text * 3) for at in range(10))),
        Hash(key, tuple((b"field%d" % at, text * (number % 40)) for at in range(12))),
        Set(key, tuple(b"%d" % (number + at) for at in range(20))),
        List(key, tuple(text * 4 for _ in range(15))),
        Member(f"{unique}:board", f"member {number:06d}", number / 7),
        SetMember(f"{unique}:tag {number % 5}", f"member {number:06d}"),
        Entry(f"{unique}:feed", f"{number + 1}-0", ((b"text", text * 20),)),
    )


@pytest.mark.parametrize("shape", range(9))
def test_a_sample_tells_what_all_records_take(
    shape: int, make: Make, redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server("--appendonly", "no")
    records = [shapes(unique, number)[shape] for number in range(8_000)]
    with redis.Redis.from_url(url) as client:
        target = make(url)
        sample = random.Random(1).sample(records, 500)
        _, estimate = target.measure(sample, 16, {})
        assert client.dbsize() == 0  # Nothing is left of what was measured.
        before = used(client)
        assert target.write(records) == []
        grown = used(client) - before
        # Several sets grow by halves and doubles of their own, each: what is measured is one set of all.
        assert 0.85 < estimate / grown < (1.5 if shape == 7 else 1.15), (estimate, grown)
        # What stands there already need not find room again.
        if shape < 6:
            assert target.measure(sample, 16, {})[1] < grown * 0.15


@pytest.mark.parametrize("refused", ["unlink", "unlink and del"])
def test_scratch_keys_that_the_server_does_not_let_go_are_told_of_and_expire(
    refused: str, make: Make, redis_server: Callable[..., str], unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = redis_server("--appendonly", "no")
    with redis.Redis.from_url(url) as client:
        denied = [f"-{command}" for command in refused.split(" and ")]
        client.execute_command("ACL", "SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", *denied)
        measured = [shapes(unique, 1)[shape] for shape in (0, 6, 8)]
        assert make(url.replace("//", "//shop:secret@")).measure(measured, 1, {})[1] > 0
        said = [record.getMessage() for record in caplog.records if "W-RDS-SCRATCH" in record.getMessage()]
        left = [key.decode() for key in client.keys("*")]
        assert all(0 < client.pttl(key) <= 600_000 for key in left)
        if refused == "unlink":
            assert (said, left) == ([], [])
        else:
            assert len(left) == 3
            assert "W-RDS-SCRATCH 3 scratch keys" in said[0]
            assert "NOPERM" in said[0]
            assert {key[: len("offramp:12345678:")] for key in left} == {said[0].split(" stay ")[0].split()[-1]}


def test_large_keys_are_told_of_once(make: Make, redis_url: str, unique: str, caplog: pytest.LogCaptureFixture) -> None:
    target = make(redis_url)
    assert target.write([String(f"{unique}:1", b"x" * 1_100_000), String(f"{unique}:2", b"x" * 900_000)]) == []
    target.close()
    target.close()
    (told,) = (record.getMessage() for record in caplog.records if "W-RDS-BIGKEY" in record.getMessage())
    assert "1 keys" in told
    assert "1.1 MB" in told


def test_records_that_do_not_fit_are_refused_before_they_are_written(
    make: Make, redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server("--maxmemory", "20mb", "--appendonly", "no")
    sample = strings(unique, 100, 100)  # 10,000 of them would take some 8 MB.
    assert make(url).limited()
    place, size_bytes = make(url).measure(sample, 100, {})
    assert 7e6 < size_bytes < 9e6
    with pytest.raises(PlanError) as refused:
        make(url).measure(sample, 100, {place: 6_000_000})
    assert refused.value.code == "E-RDS-MEMORY"
    assert "max_memory_percent" in str(refused.value)
    assert make(url, max_memory_percent=100).measure(sample, 100, {place: 6_000_000})[0] == place
    with pytest.raises(PlanError):
        make(url, max_memory_percent=100).measure(sample, 1_000, {})
    expired = [String(one.key, one.value, 1) for one in sample]
    assert make(url).measure(expired, 10_000, {})[1] == 0  # R65
    with redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0
        client.config_set("maxmemory", 0)
    assert not make(url).limited()
