"""`offramp check`: every store, the state and the report folder are looked at, whatever else is away or wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from elasticsearch_indexes import told as asked
from plans import Finished, Stores, offramp, write_plan
from pymongo.database import Database

from flows.demo.servers import free_port
from stores.mongodb.configuration import transport_notes
from stores.state.state import State

Documents = Database[dict[str, Any]]


@pytest.fixture
def routes(database: Documents, unique: str) -> dict[str, Any]:
    """A route to each target, with documents; the Redis key is the test's own."""
    database.things.insert_many([{"_id": number, "text": "x"} for number in range(3)])
    return {
        unique: {"use_case": "entity", "collection": "things"},
        "sessions": {"use_case": "session", "collection": "things", "key": f"{unique}:{{_id}}"},
        "search": {"use_case": "search", "collection": "things", "index": unique},
    }


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below the folder, with times and contents."""
    return {
        str(path): (path.stat().st_mtime_ns, b"" if path.is_dir() else path.read_bytes()) for path in folder.rglob("*")
    }


def test_what_was_looked_at_is_told_and_nothing_is_made(
    stores: Stores, database: Documents, routes: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, stores, database.name, routes)
    before = files(tmp_path)
    done = offramp("check", plan, folder=tmp_path)
    assert done.code == 0, done.err
    assert files(tmp_path) == before
    for words in (
        *("MongoDB", f"database {database.name}", "DynamoDB at 127.0.0.1", "Elasticsearch ", "Valkey"),
        *(f"table {unique} (new)", f"index {unique} (new)", f"keys {unique}:*"),
        *("dynamodb:DescribeTable", "writing was not tried", "state.db: not there yet", "reports"),
        "no fault found",
    ):
        assert words in done.out, words
    told = offramp("check", plan, "--json", folder=tmp_path).json
    assert {each["place"]["exists"] for each in told["routes"]} == {None, False}
    assert "error" not in told


def test_a_place_that_exists_and_an_earlier_run_are_told(
    stores: Stores, database: Documents, routes: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, stores, database.name, {unique: routes[unique]})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    before = files(tmp_path)
    done = offramp("check", plan, folder=tmp_path)
    assert done.code == 0
    assert files(tmp_path) == before
    assert f"table {unique} (exists)" in done.out
    assert "state.db: has earlier runs of 1 of 1 route" in done.out
    assert "was copied by an earlier run" in done.out


def test_a_plan_that_was_changed_since_its_run_began_has_the_fault_that_backfill_raises(
    stores: Stores, database: Documents, routes: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    route = {"things": {**routes["sessions"]}}
    plan = write_plan(tmp_path, stores, database.name, route)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    route["things"]["key"] = f"{unique}-other:{{_id}}"
    write_plan(tmp_path, stores, database.name, route)
    told: list[Finished] = [offramp(name, plan, "--json", folder=tmp_path) for name in ("check", "backfill")]
    assert [each.code for each in told] == [2, 2]
    assert told[0].json["error"] == told[1].json["error"]
    assert told[0].json["error"]["code"] == "E-CONFIG-CHANGED"


def test_a_run_that_is_at_work_is_noted(
    stores: Stores, database: Documents, routes: dict[str, Any], tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, stores, database.name, {"things": routes["sessions"]})
    state = State(f"sqlite:///{tmp_path / 'state.db'}", "plan")
    lease = state.leases.acquire("things")
    done = offramp("check", plan, folder=tmp_path)
    state.leases.release(lease)
    state.close()
    assert done.code == 0
    assert "things: a run is at work on it now" in done.out


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A file where a folder should be: nothing can be made below it, whoever tries."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


def test_a_state_and_a_report_folder_that_cannot_be_used_are_faults(
    stores: Stores, database: Documents, routes: dict[str, Any], tmp_path: Path, blocked: Path
) -> None:
    plan = write_plan(
        tmp_path, stores, database.name, {"things": routes["sessions"]}, state=f"sqlite:///{blocked}/state.db"
    )
    done = offramp("check", plan, "--report", blocked / "reports", "--json", folder=tmp_path)
    assert (done.code, done.json["error"]["code"]) == (2, "E-PLAN")
    for code in ("E-STATE-OPEN", "E-REPORT-DIR"):
        assert code in done.err
    assert done.json["routes"][0]["documents"] == 3  # The rest was looked at all the same.


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be taken for one" * 40, b""])
def test_a_file_that_is_no_state_is_a_fault_and_stays_as_it_is(
    stores: Stores, database: Documents, routes: dict[str, Any], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "state.db").write_bytes(content)
    plan = write_plan(tmp_path, stores, database.name, {"things": routes["sessions"]})
    done = offramp("check", plan, "--json", folder=tmp_path)
    if content:
        assert (done.code, done.json["error"]["code"]) == (2, "E-STATE-OPEN")
    else:  # What a run that was killed at its very beginning leaves; the next one goes on with it.
        assert done.code == 0
    assert (tmp_path / "state.db").read_bytes() == content


def test_a_collection_without_documents_is_noted_and_one_that_is_absent_is_a_fault(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    database.create_collection("empty")
    route = {"use_case": "session", "collection": "empty", "key": f"{unique}:{{_id}}"}
    done = offramp("check", write_plan(tmp_path, stores, database.name, {"things": route}), folder=tmp_path)
    assert done.code == 0
    assert "empty seems to hold no documents" in done.out
    route["collection"] = "absent"
    done = offramp("check", write_plan(tmp_path, stores, database.name, {"things": route}), folder=tmp_path)
    assert done.code == 2
    assert done.err.count("E-SRC-COLLECTION") == 1
    assert "E-SRC-COLLECTION" not in done.out
    assert not any(line.startswith("things") and "~" in line for line in done.out.splitlines())


def test_a_fault_of_several_routes_is_told_and_counted_once(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    routes = {
        name: {"use_case": "session", "collection": "absent", "key": f"{unique}-{name}:{{_id}}"} for name in ("a", "b")
    }
    plan = write_plan(tmp_path, stores, database.name, routes)
    done = offramp("check", plan, "--json", folder=tmp_path)
    assert (done.code, done.json["error"]["code"]) == (2, "E-SRC-COLLECTION")
    assert "routes a, b: database" in done.json["error"]["message"]
    assert [route["documents"] for route in done.json["routes"]] == [None, None]


def test_a_source_that_is_away_keeps_nothing_else_from_being_told(
    stores: Stores, database: Documents, routes: dict[str, Any], tmp_path: Path, blocked: Path
) -> None:
    away = {"uri": f"mongodb://127.0.0.1:{free_port()}", "database": database.name, "retry_deadline_s": 1}
    plan = write_plan(tmp_path, stores, database.name, routes, source=away, state=f"sqlite:///{blocked}/state.db")
    began = time.monotonic()
    done = offramp("check", plan, folder=tmp_path)
    assert time.monotonic() - began < 60  # The source is waited for once, not once for each route.
    assert done.code == 2
    assert "source  could not be asked" in done.out
    for words in ("DynamoDB at 127.0.0.1", "Elasticsearch ", "Valkey", "state.db: cannot be used"):
        assert words in done.out, words
    assert done.err.count("E-SRC-AWAY") == 1
    assert "E-STATE-OPEN" in done.err


def test_a_target_that_is_away_keeps_nothing_else_from_being_told(
    stores: Stores, database: Documents, routes: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, stores, database.name, routes)
    written = yaml.safe_load(plan.read_text())
    written["targets"]["redis"]["url"] = f"redis://127.0.0.1:{free_port()}/0"
    written["targets"]["redis"]["retry_deadline_s"] = 3600  # A run would wait for so long.
    written["routes"]["others"] = {**routes["sessions"], "key": f"{unique}-2:{{_id}}"}
    plan.write_text(yaml.safe_dump(written))
    done = offramp("check", plan, folder=tmp_path)
    assert done.code == 3
    assert done.err.count("E-RDS-UNREACHABLE") == 1
    assert "could not be reached for 5 s" in done.err
    for words in ("MongoDB", "redis  could not be asked", f"table {unique} (new)", "~3"):
        assert words in done.out, words


def test_every_store_that_is_away_is_told(
    stores: Stores, database: Documents, routes: dict[str, Any], tmp_path: Path
) -> None:
    away = {"uri": f"mongodb://127.0.0.1:{free_port()}", "database": database.name, "retry_deadline_s": 1}
    targets = {
        "redis": {"url": f"redis://127.0.0.1:{free_port()}/0", "retry_deadline_s": 0.5},
        "elasticsearch": {"url": f"http://127.0.0.1:{free_port()}", "retry_deadline_s": 0.5},
    }
    chosen = {name: routes[name] for name in ("sessions", "search")}
    plan = write_plan(tmp_path, stores, database.name, chosen, source=away, targets=targets)
    done = offramp("check", plan, folder=tmp_path)
    assert done.code == 3
    for code in ("E-STORES 3 stores", "E-SRC-AWAY", "E-RDS-UNREACHABLE", "E-ES-AWAY"):
        assert done.err.count(code) == 1, code
    rows = [line.split() for line in done.out.splitlines() if line.startswith(("sessions ", "search "))]
    assert [row[4] for row in rows] == ["-", "-"]  # Nothing is known of the documents.


def test_a_source_that_is_asked_is_told_before_it_answers(
    stores: Stores, database: Documents, routes: dict[str, Any], tmp_path: Path
) -> None:
    away = {"uri": f"mongodb://127.0.0.1:{free_port()}", "database": database.name, "retry_deadline_s": 1}
    plan = write_plan(tmp_path, stores, database.name, {"sessions": routes["sessions"]}, source=away)
    done = offramp("check", plan, folder=tmp_path)
    assert "asking the source" in done.err.splitlines()[0]


def test_urls_of_the_source_and_of_a_target_that_are_none_are_told_together(
    stores: Stores, database: Documents, routes: dict[str, Any], tmp_path: Path
) -> None:
    plan = write_plan(
        tmp_path,
        stores,
        database.name,
        {"sessions": routes["sessions"]},
        source={"uri": "mongodb://127.0.0.1:99999", "database": "shop"},
        targets={"redis": {"url": "redis://127.0.0.1:x/0"}},
    )
    done = offramp("check", plan, folder=tmp_path)
    assert done.code == 2
    for words in ("2 faults", "source.uri", "redis://[user:password@]"):
        assert words in done.err


def test_an_index_that_documents_do_not_fit_has_the_fault_that_backfill_raises(
    stores: Stores, database: Documents, routes: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    mappings = {"dynamic": "strict", "properties": {"text": {"type": "long"}}}
    made = asked(stores.elasticsearch, "PUT", f"/{unique}", {"mappings": mappings})
    assert made["acknowledged"]
    plan = write_plan(tmp_path, stores, database.name, {"search": routes["search"]})
    told = [offramp(name, plan, "--json", folder=tmp_path) for name in ("check", "backfill")]
    assert [each.code for each in told] == [2, 2]
    assert told[0].json["error"] == told[1].json["error"]
    assert told[0].json["error"]["code"] == "E-ES-INDEX"
    assert "text is long" in told[0].json["error"]["message"]


def test_a_type_that_no_index_has_is_told_before_anything_is_asked(
    stores: Stores, database: Documents, routes: dict[str, Any], tmp_path: Path
) -> None:
    search = {**routes["search"], "mapping": {"text": "keywrd", "other": "txet"}}
    done = offramp("check", write_plan(tmp_path, stores, database.name, {"search": search}), folder=tmp_path)
    assert done.code == 2
    for words in ("text is keywrd", "'keyword'", "other is txet", "'text'"):
        assert words in done.err


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("mongodb://user:secret@db.example:27017/?retryReads=true", "without TLS"),
        ("mongodb://localhost,db.example", "without TLS"),
        ("mongodb+srv://db.example/?tls=false", "without TLS"),
        ("mongodb://db.example/?tls=true&tlsInsecure=true", "not checked"),
        ("mongodb+srv://db.example/?tlsAllowInvalidHostnames=true", "not checked"),
        ("mongodb+srv://db.example/", ""),
        ("mongodb://db.example/?ssl=true", ""),
        ("mongodb://user:secret@127.0.0.1:27017,[::1]:27018/", ""),
        ("mongodb://%2Ftmp%2Fmongodb-27017.sock/", ""),
    ],
)
def test_a_way_to_the_source_that_others_may_read_is_noted(uri: str, word: str) -> None:
    notes = list(transport_notes(uri))
    assert len(notes) == (1 if word else 0)
    assert all(word in note and "secret" not in note for note in notes)


def test_a_note_of_many_routes_is_one_line(stores: Stores, database: Documents, unique: str, tmp_path: Path) -> None:
    keys = {f"r{number}": f"{unique}:{number}:{{_id}}" for number in range(8)}
    routes = {name: {"use_case": "session", "collection": "empty", "key": key} for name, key in keys.items()}
    database.create_collection("empty")
    done = offramp("check", write_plan(tmp_path, stores, database.name, routes), folder=tmp_path)
    assert done.code == 0, done.err
    assert "r0, r1, r2, r3, r4 and 3 more: empty seems to hold no documents, or is a view\n" in done.out
    assert done.out.count("seems to hold no documents") == 1


@pytest.fixture
def ranking(unique: str) -> dict[str, Any]:
    """A route that makes a score of the field `name`."""
    return {"use_case": "leaderboard", "collection": "players", "key": unique, "member": "_id", "score": "name"}


def test_a_plan_by_which_no_document_can_be_copied_has_a_fault(
    stores: Stores, database: Documents, ranking: dict[str, Any], tmp_path: Path
) -> None:
    database.players.insert_many([{"_id": number, "name": f"hidden{number}"} for number in range(400)])
    plan = write_plan(tmp_path, stores, database.name, {"ranks": ranking})
    before = files(tmp_path)
    done = offramp("check", plan, "--json", folder=tmp_path)
    assert files(tmp_path) == before
    assert done.code == 2
    assert done.json["error"]["code"] == "E-REJECTS-ALL"
    (mapped,) = [route["mapped"] for route in done.json["routes"]]
    (cause,) = mapped["causes"]
    assert (mapped["documents"], mapped["rejected"], cause.pop("documents")) == (400, 400, 400)
    assert cause == {
        "stage": "map",
        "code": "E-MAP-SCORE",
        "field": "name",
        "reason": cause["reason"],
    }
    told = f"none of the 400 documents looked at can be copied: map: E-MAP-SCORE at name (400 times: {cause['reason']})"
    assert told in done.json["error"]["message"]
    assert "hidden" not in done.out + done.err
    # What is told is what a backfill comes to.
    copied = offramp("backfill", plan, "--json", folder=tmp_path).route("ranks")
    assert (copied["read"], copied["rejected"]) == (400, 400)
    assert cause["reason"] in offramp("rejects", "list", plan, folder=tmp_path).out


def test_documents_that_would_be_rejected_are_counted_in_a_note(
    stores: Stores, database: Documents, ranking: dict[str, Any], tmp_path: Path
) -> None:
    scores = ["x", "y", None, *range(397)]
    database.players.insert_many([{"_id": number, "name": score} for number, score in enumerate(scores)])
    plan = write_plan(tmp_path, stores, database.name, {"ranks": ranking})
    done = offramp("check", plan, folder=tmp_path)
    assert done.code == 0, done.err
    assert "ranks: 3 of 400 documents looked at cannot be copied: map: E-MAP-SCORE at name (3 times: " in done.out
    assert "no fault found" in done.out


def test_causes_are_told_by_their_frequency(
    stores: Stores, database: Documents, ranking: dict[str, Any], tmp_path: Path
) -> None:
    players = [{"name": 1}] * 3 + [{"name": 1, "team": "a"}] + [{"name": "x", "team": "a"}] * 2
    database.players.insert_many([{"_id": number, **player} for number, player in enumerate(players)])
    route = {**ranking, "key": ranking["key"] + ":{team}"}
    done = offramp("check", write_plan(tmp_path, stores, database.name, {"ranks": route}), folder=tmp_path)
    assert done.code == 0, done.err
    assert "ranks: 5 of 6 documents looked at cannot be copied: map: E-MAP-KEY at team (3 times: " in done.out
    assert "); map: E-MAP-SCORE at name (2 times: " in done.out


def test_documents_that_can_all_be_copied_and_an_empty_collection_have_no_such_note(
    stores: Stores, database: Documents, routes: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    database.create_collection("empty")
    routes["empty"] = {"use_case": "session", "collection": "empty", "key": f"{unique}e:{{_id}}"}
    plan = write_plan(tmp_path, stores, database.name, routes)
    done = offramp("check", plan, "--json", folder=tmp_path)
    assert done.code == 0, done.err
    mapped = {route["route"]: route["mapped"] for route in done.json["routes"]}
    assert mapped == {name: {"documents": 0 if name == "empty" else 3, "rejected": 0, "causes": []} for name in routes}
    assert "cannot be copied" not in offramp("check", plan, folder=tmp_path).out


def test_documents_are_mapped_by_the_design_that_they_call_for(
    stores: Stores, database: Documents, routes: dict[str, Any], tmp_path: Path
) -> None:
    database.things.update_one({"_id": 1}, {"$set": {"text": {"of": "another kind"}}})
    search = {**routes["search"], "conflict": "reject"}
    done = offramp("check", write_plan(tmp_path, stores, database.name, {"search": search}), folder=tmp_path)
    assert done.code == 0, done.err
    assert "search: 1 of 3 documents looked at cannot be copied: map: E-ES-CONFLICT at text (1 time: " in done.out


def test_documents_are_mapped_while_the_target_is_away(
    stores: Stores, database: Documents, ranking: dict[str, Any], tmp_path: Path
) -> None:
    database.players.insert_one({"_id": 1, "name": "x"})
    away = {"redis": {"url": f"redis://127.0.0.1:{free_port()}/0", "retry_deadline_s": 0.5}}
    done = offramp(
        "check", write_plan(tmp_path, stores, database.name, {"ranks": ranking}, targets=away), folder=tmp_path
    )
    assert done.code == 2
    for words in ("E-RDS-UNREACHABLE", "E-REJECTS-ALL route ranks: none of the 1 document looked at"):
        assert words in done.err, words
