"""Repair: exactly what was found is mended by the one write path and looked at again; killed, it changes no verdict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from damage import DAMAGED, DOCUMENTS, found, route_of, whole
from plans import Stores, offramp, write_plan
from pymongo.database import Database
from redis import Redis

from flows.plan.load import load
from stores.redis.target import RedisTarget
from stores.state.leases import Leases
from stores.state.state import State


@pytest.mark.parametrize("target", list(DAMAGED))
def test_whatever_a_verification_finds_is_repaired_to_a_clean_verify(
    target: str, stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([whole(number) for number in range(DOCUMENTS)])
    path = write_plan(tmp_path, stores, database.name, {"things": route_of(target, unique)})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    assert offramp("repair", path, folder=tmp_path).out.endswith("no mismatch is on record\n")
    DAMAGED[target](stores, unique).damage()
    assert offramp("verify", path, folder=tmp_path).code == 1
    wrong = found(path)

    dry = offramp("repair", path, "--dry-run", "--delete-extras", "--json", folder=tmp_path)
    assert (dry.code, dry.json["routes"][0]["wrong"]) == (1, {"missing": 1, "differs": 6, "extra": 1})
    assert found(path) == wrong
    assert offramp("verify", path, "--json", folder=tmp_path).route("things")["differs"] == 6

    some = offramp("repair", path, "--only", "missing", "--json", folder=tmp_path).json["routes"][0]
    assert (some["copied"], some["mended"], some["left"]) == (1, 1, {})
    rest = offramp("repair", path, "--json", folder=tmp_path)
    row = rest.json["routes"][0]
    assert (rest.code, row["copied"], row["mended"], row["rounds"], row["left"]) == (1, 6, 6, 1, {})
    left = offramp("repair", path, folder=tmp_path)  # An extra that nobody asked for is left all the same.
    assert (left.code, "found and not repaired: 1 extra" in left.out) == (1, True)
    assert found(path) == [("extra", "", "")]
    extra = offramp("repair", path, "--delete-extras", "--json", folder=tmp_path)
    assert (extra.code, extra.json["routes"][0]["deleted"], extra.json["routes"][0]["mended"]) == (0, 1, 1)
    assert found(path) == []
    # What was verified before counts no more; where records expire, counting has nothing to go by.
    assert offramp("status", path, "--json", folder=tmp_path).json["routes"][0]["verdict"] is None
    counted = offramp("verify", path, "--level", "counts", folder=tmp_path)
    expires = "expires" in route_of(target, unique)
    assert (counted.code, "repaired since" in counted.out) == ((3, True) if expires else (0, False))

    clean = offramp("verify", path, "--json", folder=tmp_path)
    row = clean.route("things")
    assert (clean.code, row["verdict"]) == (0, "clean"), row["reasons"]
    assert [(one["command"], one["kind"], one["done"], one["count"]) for one in row["repairs"]] == [
        ("repair", "differs", "copied", 6),
        ("repair", "missing", "copied", 1),
        ("repair", "extra", "deleted", 1),
    ]


def test_what_is_wrong_in_plenty_is_no_accident_and_not_repaired_unasked(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(2_000)])
    path = write_plan(tmp_path, stores, database.name, {"things": route_of("redis", unique)})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    with Redis.from_url(stores.redis) as redis:
        redis.delete(*(f"{unique}:n:{number}" for number in range(101)))
        assert offramp("verify", path, folder=tmp_path).code == 1
        refused = offramp("repair", path, folder=tmp_path)
        assert (refused.code, "E-REPAIR-SYSTEMIC" in refused.err) == (2, True)
        assert redis.exists(f"{unique}:n:5") == 0
        assert offramp("status", path, "--json", folder=tmp_path).json["routes"][0]["verdict"] == "mismatches"
        redis.set(f"{unique}:n:100", "{}")  # One less is a hundred, which may be an accident.
    assert offramp("verify", path, folder=tmp_path).code == 1
    assert offramp("repair", path, "--only", "missing", folder=tmp_path).code == 1  # What differs is left.
    assert offramp("repair", path, "--all", folder=tmp_path).code == 0
    assert offramp("verify", path, folder=tmp_path).code == 0


def test_of_extras_only_those_are_deleted_that_no_document_maps_to_and_a_mapper_may_have_made(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(5)])
    path = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "cache", "key": f"{unique}:{{_id}}"}})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    with Redis.from_url(stores.redis) as redis:
        redis.set(f"{unique}:n:77", '{"_id":77}')
        redis.set(f"{unique}:n:88", '{"_id":88,"old":1}')
        redis.zadd(f"{unique}:locks", {"a": 1})
        assert offramp("verify", path, folder=tmp_path).code == 1
        database.things.insert_one({"_id": 88})
        assert offramp("repair", path, "--only", "extra", folder=tmp_path).code == 2
        done = offramp("repair", path, "--only", "extra", "--delete-extras", "--json", folder=tmp_path)
        row = done.json["routes"][0]
        assert (done.code, row["deleted"], row["left"], sum(row["kept"].values())) == (1, 1, {"extra": 2}, 2)
        keys = ["n:77", "n:88", "locks"]
        assert [redis.exists(f"{unique}:{key}") for key in keys] == [0, 1, 1]
    verified = offramp("verify", path, "--json", folder=tmp_path).route("things")
    assert (verified["extra"], verified["differs"], verified["missing"]) == (1, 1, 0)


def test_keys_of_other_programs_in_the_same_form_stay_and_are_named(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": f"user{number}", "n": number, "tags": ["a"]} for number in range(5)])
    routes: dict[str, dict[str, Any]] = {
        "strings": {"use_case": "cache", "key": f"{unique}-user:{{_id}}"},
        "hashes": {"target": "redis", "mapper": "hash", "key": f"{unique}-hash:{{_id}}", "id_encoding": "plain"},
        "lists": {"use_case": "queue", "values": "tags", "key": f"{unique}-list:{{_id}}"},
        "scores": {"use_case": "leaderboard", "score": "n", "key": f"{unique}-top"},
    }
    path = write_plan(
        tmp_path, stores, database.name, {name: {"collection": "things", **keys} for name, keys in routes.items()}
    )
    assert offramp("backfill", path, folder=tmp_path).code == 0
    foreign = [
        *(f"{unique}-user:cache:xyz", f"{unique}-user:s:lock", f"{unique}-hash:cache:xyz", f"{unique}-list:jobs"),
        f'["{unique}-top","alice\\u001b[2J"]',
    ]
    with Redis.from_url(stores.redis) as redis:

        def there() -> dict[str, bool]:
            keys = {name: bool(redis.exists(name)) for name in foreign[:4]}
            return keys | {foreign[4]: redis.zscore(f"{unique}-top", "alice\x1b[2J") is not None}

        redis.set(foreign[0], '{"_id":"xyz"}')
        redis.set(foreign[1], "worker 3")
        redis.hset(foreign[2], "hits", 5)
        redis.rpush(foreign[3], "job")
        redis.zadd(f"{unique}-top", {"alice\x1b[2J": 1, "s:gone": 2})
        redis.set(f"{unique}-user:s:gone", '{"_id":"gone"}')
        redis.hset(f"{unique}-hash:gone", "_id", "gone")
        redis.rpush(f"{unique}-list:s:gone", "a")
        assert offramp("verify", path, folder=tmp_path).code == 1

        dry = offramp("repair", path, "--only", "extra", "--dry-run", folder=tmp_path)
        assert "strings: 2 extra would not be deleted: not of this route, as no document would make such a record " in (
            dry.out
        )
        assert foreign[0] in dry.out
        assert foreign[1] in dry.out
        done = offramp("repair", path, "--delete-extras", "--json", folder=tmp_path)
        assert there() == dict.fromkeys(foreign, True)
        left = offramp("repair", path, "--delete-extras", folder=tmp_path)
    rows = {row["route"]: row for row in done.json["routes"]}
    assert {name: (row["deleted"], row["left"]["extra"]) for name, row in rows.items()} == {
        "strings": (1, 2),
        "hashes": (1, 1),
        "lists": (1, 1),
        "scores": (1, 1),
    }
    assert sorted(address for row in rows.values() for address in row["not_of_route"]) == sorted(foreign)
    assert (done.code, left.code) == (1, 1)
    assert "\x1b" not in left.out
    assert f"{unique}-hash:cache:xyz" in left.out


def test_a_document_that_changed_since_is_mended_by_what_it_is_now(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    """Gone, dropped by the filter, rejected: what was found of each is settled without another full look."""
    database.things.insert_many([{"_id": number, "name": "a", "open": True} for number in range(5)])
    route = {"use_case": "cache", "key": f"{unique}:{{_id}}", "where": {"open": True}}
    path = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    with Redis.from_url(stores.redis) as redis:
        for number in range(3):
            redis.set(f"{unique}:n:{number}", "wrong")
        assert offramp("verify", path, folder=tmp_path).code == 1
        database.things.delete_one({"_id": 0})
        database.things.update_one({"_id": 1}, {"$set": {"open": False}})
        database.things.update_one({"_id": 2}, {"$set": {"name": "b"}})
        assert offramp("repair", path, folder=tmp_path).code == 0
        assert [redis.exists(f"{unique}:n:{number}") for number in range(5)] == [0, 0, 1, 1, 1]
    verified = offramp("verify", path, "--json", folder=tmp_path)
    assert verified.code == 0, verified.route("things")["reasons"]


def test_a_route_that_another_run_holds_is_not_repaired(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number} for number in range(3)])
    path = write_plan(tmp_path, stores, database.name, {"things": route_of("redis", unique)})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    state = opened(path)
    state.leases.acquire("things")
    held = offramp("repair", path, folder=tmp_path)
    state.close()
    assert (held.code, "E-LEASE-HELD" in held.err) == (3, True)


class Killed(BaseException):
    """The process ended here."""


def opened(path: Path) -> State:
    loaded = load(path)
    return State(loaded.state, loaded.name)


@contextmanager
def killed_at(call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """End the process before its nth write to the target or to the state, or after it; gives how many there were."""
    calls = [0]

    def counted(method: Any) -> Any:
        def counting(*arguments: Any, **keys: Any) -> Any:
            calls[0] += 1
            if calls[0] == call and call % 2:
                raise Killed
            answer = method(*arguments, **keys)
            if calls[0] == call:
                raise Killed
            return answer

        return counting

    with monkeypatch.context() as patch:
        for name in ("write", "delete"):
            patch.setattr(RedisTarget, name, counted(getattr(RedisTarget, name)))
        patch.setattr(Leases, "fenced", counted(Leases.fenced))
        yield calls


def test_a_repair_killed_at_any_call_changes_no_verdict(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(6)])
    path = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "cache", "key": f"{unique}:{{_id}}"}})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    call = 0
    with Redis.from_url(stores.redis) as redis:
        right = {key: redis.get(key) for key in redis.scan_iter(f"{unique}:*")}
        while True:
            call += 1
            redis.delete(f"{unique}:n:0")
            redis.set(f"{unique}:n:1", "wrong")
            redis.set(f"{unique}:n:99", '{"_id":99}')
            assert offramp("verify", path, folder=tmp_path).code == 1
            with killed_at(call, monkeypatch) as calls, suppress(Killed):
                offramp("repair", path, "--delete-extras", folder=tmp_path)
            is_right = {key: redis.get(key) for key in redis.scan_iter(f"{unique}:*")} == right
            status = offramp("status", path, "--json", folder=tmp_path).json["routes"][0]
            assert status["verdict"] in (None, "mismatches")
            verified = offramp("verify", path, "--json", folder=tmp_path).route("things")
            assert verified["verdict"] == ("clean" if is_right else "mismatches"), verified["reasons"]
            assert offramp("repair", path, "--delete-extras", folder=tmp_path).code == 0
            assert {key: redis.get(key) for key in redis.scan_iter(f"{unique}:*")} == right
            if calls[0] < call:
                break
    assert call > 6
    state = opened(path)
    assert state.repairs.recopied("things")
    assert {one.done for one in state.repairs.actions("things")} == {"copied", "deleted"}
    state.close()
