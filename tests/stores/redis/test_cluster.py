"""RedisTarget against a real cluster of three nodes: slots that move during a copy, and what a cluster cannot have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.cluster import RedisCluster
from redis.crc import key_slot
from waiting import until

from mappers.redis.records import Entry, Hash, Member, Set, String
from stores.errors import PermanentError, PlanError, TransientError
from stores.redis.target import RedisTarget

Nodes = Sequence[Redis]


@pytest.fixture
def nodes(redis_cluster: list[str]) -> Iterator[Nodes]:
    with contextlib.ExitStack() as held:
        yield [held.enter_context(Redis.from_url(url)) for url in redis_cluster]


@pytest.fixture
def make(redis_cluster: list[str], unique: str) -> Iterator[Callable[..., RedisTarget]]:
    with contextlib.ExitStack() as held:

        def target(url: str = redis_cluster[0], *, deadline_s: float = 30, **placement: Any) -> RedisTarget:
            connection = RedisTarget.Connection(url, retry_deadline_s=deadline_s, cluster=True)
            made = RedisTarget(connection, RedisTarget.Placement(**placement), unique)
            held.callback(made.close)
            return made

        yield target


class Slot:
    """One slot on its way from the node that owns it to the next."""

    def __init__(self, nodes: Nodes, slot: int) -> None:
        self.nodes, self.slot = nodes, slot
        ids = [str(node.execute_command("CLUSTER MYID"), "ascii") for node in nodes]
        owner = next(at for at, node in enumerate(nodes) if self._owned(node))
        self.source, self.sink = nodes[owner], nodes[(owner + 1) % len(nodes)]
        self._source_id, self._sink_id = ids[owner], ids[(owner + 1) % len(nodes)]

    def _owned(self, node: Redis) -> bool:
        mine = next(told for told in node.execute_command("CLUSTER NODES").values() if "myself" in told["flags"])
        return any(int(low) <= self.slot <= int(high) for low, high in ((part + part)[:2] for part in mine["slots"]))

    def leave(self) -> None:
        self.sink.execute_command("CLUSTER SETSLOT", self.slot, "IMPORTING", self._source_id)
        self.source.execute_command("CLUSTER SETSLOT", self.slot, "MIGRATING", self._sink_id)

    def move(self, keys: int) -> None:
        found = self.source.execute_command("CLUSTER GETKEYSINSLOT", self.slot, keys)
        port = self.sink.connection_pool.connection_kwargs["port"]
        if found:
            self.source.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *found)

    def arrive(self) -> None:
        self.move(100_000)
        for node in (self.sink, self.source, *self.nodes):
            node.execute_command("CLUSTER SETSLOT", self.slot, "NODE", self._sink_id)
        until(lambda: all(node.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for node in self.nodes), "ok")


def records(unique: str, tag: str, numbers: range) -> list[Any]:
    """Records of every kind in the slot of the tag; none expires, as MIGRATE gives a life that is a little longer."""
    made: list[Any] = []
    for number in numbers:
        key = f"{unique}:{{{tag}}}:{number}"
        kinds = (
            String(key, b"%d" % number),
            Hash(key, ((b"n", b"%d" % number),)),
            Set(key, (b"%d" % number,)),
            Member(key, "one", float(number)),
        )
        made.append(kinds[number % len(kinds)])
    return made


def held(target: RedisTarget, wanted: Sequence[Any]) -> bool:
    found = target.read([one.address for one in wanted])
    return {at: one.canonical() for at, one in found.items()} == {one.address: one.canonical() for one in wanted}


def test_a_slot_half_moved_takes_gives_and_loses_records(
    make: Callable[..., RedisTarget], nodes: Nodes, unique: str
) -> None:
    """Keys that have gone, keys that have not, and new ones that may only arise where the slot goes to (ASK)."""
    tag = f"{unique}x"  # The route's name itself is a key that a listing asks for.
    target, old, new = make(), records(unique, tag, range(40)), records(unique, tag, range(40, 60))
    assert target.write(old) == []
    slot = Slot(nodes, key_slot(tag.encode()))
    slot.leave()
    # Keys may pass from node to node between two pages, so no listing is whole until the slot has arrived.
    with pytest.raises(TransientError):
        list(make(deadline_s=0.2).addresses())
    slot.move(20)
    assert held(target, old)
    changed = [*records(unique, tag, range(4, 44)), *new]
    assert target.write(changed) == []
    assert held(target, [*old, *new])
    target.delete([old[0].address, old[1].address, new[-1].address])
    assert held(target, [*old[2:], *new[:-1]])
    with ThreadPoolExecutor(1) as thread:
        listing = thread.submit(lambda: set(target.addresses()))
        slot.arrive()
        assert listing.result(60) == {one.address for one in [*old[2:], *new[:-1]]}
    assert held(target, [*old[2:], *new[:-1]])
    assert slot.source.dbsize() == 0 or not slot.source.execute_command("CLUSTER GETKEYSINSLOT", slot.slot, 10)


def test_a_copy_goes_on_while_slots_move(make: Callable[..., RedisTarget], nodes: Nodes, unique: str) -> None:
    target = make()
    tags = [f"{unique}{number}" for number in range(6)]
    batches = [[one for tag in tags for one in records(unique, tag, range(at, at + 20))] for at in range(0, 400, 20)]
    with ThreadPoolExecutor(3) as threads:
        writing = [threads.submit(target.write, batch) for batch in batches]
        for tag in tags:
            slot = Slot(nodes, key_slot(tag.encode()))
            slot.leave()
            slot.move(10)
            slot.arrive()
        assert [one.result(120) for one in writing] == [[]] * len(batches)
    everything = [one for batch in batches for one in batch]
    assert held(make(), everything)
    assert sorted(set(make().addresses())) == sorted(one.address for one in everything)


def test_a_late_entry_finds_its_stream_wherever_it_went(
    make: Callable[..., RedisTarget], nodes: Nodes, unique: str
) -> None:
    target = make(entry="at", key=unique)
    entries = [Entry(unique, f"{number}-0", ((b"n", b"%d" % number),)) for number in range(1, 30)]
    assert target.write(entries[10:]) == []
    slot = Slot(nodes, key_slot(unique.encode()))
    slot.leave()
    slot.arrive()
    assert target.write(entries[:10]) == []
    assert held(target, entries)


def test_every_node_has_some_documents_and_all_are_listed(
    make: Callable[..., RedisTarget], nodes: Nodes, unique: str
) -> None:
    target = make()
    some = [String(f"{unique}:{number}", b"v") for number in range(300)]
    assert target.write(some) == []
    shares = [len(list(node.scan_iter(f"{unique}:*"))) for node in nodes]
    assert sum(shares) == 300
    assert min(shares) > 50
    assert sorted(target.addresses()) == sorted(one.address for one in some)


def test_what_a_cluster_needs_to_be_known(
    make: Callable[..., RedisTarget], redis_cluster: list[str], redis_url: str, unique: str
) -> None:
    assert make().check() == []
    with pytest.raises(PlanError) as refused:
        make(redis_url, deadline_s=2).check()
    assert refused.value.code == "E-RDS-CLUSTER"
    assert "is not a cluster" in str(refused.value)
    with pytest.raises(PlanError) as refused:
        RedisTarget(RedisTarget.Connection(redis_cluster[0]), RedisTarget.Placement(), unique).check()
    assert "cluster: true" in str(refused.value)
    port = urlsplit(redis_cluster[0]).port
    for url in (f"redis://127.0.0.1:{port}/1", "unix:///tmp/redis.sock", f"redis://127.0.0.1:{port}?db=2"):
        with pytest.raises(ValueError, match="url: "):
            make(url)


def test_a_cluster_that_stays_away_is_a_transient_error_without_the_password(make: Callable[..., RedisTarget]) -> None:
    with pytest.raises(TransientError) as failed:
        make("redis://me:hidden@127.0.0.1:1", deadline_s=0.2).read(["x"])
    assert failed.value.code == "E-RDS-UNREACHABLE"
    assert "hidden" not in str(failed.value)


def test_a_user_who_may_not_ask_for_the_nodes_is_told_so(
    make: Callable[..., RedisTarget], nodes: Nodes, redis_cluster: list[str], unique: str
) -> None:
    nodes[0].acl_setuser(unique, enabled=True, passwords=["+hidden"], keys=["*"], commands=["+@all", "-cluster"])
    at = redis_cluster[0].removeprefix("redis://")
    for user in (f"{unique}:hidden", f"{unique}:wrong"):
        with pytest.raises(PermanentError) as failed:
            make(f"redis://{user}@{at}").check()
        assert failed.value.code == "E-RDS-AUTH"
        assert "hidden" not in str(failed.value)


def test_a_node_with_too_little_memory_is_waited_for(
    make: Callable[..., RedisTarget], nodes: Nodes, unique: str
) -> None:
    some = [String(f"{unique}:{number}", b"v") for number in range(30)]
    nodes[1].config_set("maxmemory", 1)
    with ThreadPoolExecutor(1) as thread:
        nodes[1].config_resetstat()
        writing = thread.submit(make().write, some)
        until(lambda: "errorstat_OOM" in nodes[1].info("errorstats"), "refusal")
        nodes[1].config_set("maxmemory", 0)
        assert writing.result(60) == []
    assert held(make(), some)


def test_the_driver_reads_what_was_written(
    make: Callable[..., RedisTarget], redis_cluster: list[str], unique: str
) -> None:
    assert make().write([String(f"{unique}:{number}", b"%d" % number) for number in range(50)]) == []
    with RedisCluster.from_url(redis_cluster[2]) as client:
        assert [client.get(f"{unique}:{number}") for number in range(50)] == [b"%d" % number for number in range(50)]
