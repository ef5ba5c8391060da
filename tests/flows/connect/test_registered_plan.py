"""A plan is loaded from its state as its run has it, or a worker refuses: by what differs, and without a secret."""

from __future__ import annotations

import dataclasses
import gc
import json
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from postgresqls import Postgresql
from states import execute, rows
from waiting import until

from flows.connect.registered_plan import RegisteredPlan, open_registered, register_plan
from flows.connect.stores import open_state
from flows.plan.load import load
from flows.plan.model import Plan
from mappers.contract import Losses
from stores.errors import PermanentError
from stores.state.plans import digest_of

PLAN = """\
name: shop
state: sqlite:///state.db
source: {uri: "mongodb://ada:${SOURCE_PASSWORD}@h", database: "${DATABASE:-shop}"}
targets: {redis: {url: "redis://:${REDIS_PASSWORD}@${REDIS_HOST}"}}
routes:
  orders:
    target: redis
    use: lib/own.py:made
    options: {salt: "${SALT}"}
    key: "orders:{_id}"
  users: {use_case: session, key: "users:{_id}"}
"""
MAPPER = """\
from mappers.identity import identity
from mappers.redis import String

def made(document, *, salt):
    return [String(f"orders:{identity(document)}", salt.encode())]
"""
ENVIRONMENT = {
    "SOURCE_PASSWORD": "planted-source",
    "REDIS_PASSWORD": "planted-redis",
    "REDIS_HOST": "redis.example",
    "SALT": "planted-salt",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "coordinator"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "own.py").write_text(MAPPER)
    (folder / "plan.yaml").write_text(PLAN)
    return folder


@pytest.fixture
def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working directory of a worker, which has none of the run's files."""
    worker = folder.parent / "worker"
    worker.mkdir()
    monkeypatch.chdir(worker)
    yield
    assert [*worker.iterdir()] == []


def registered(folder: Path, environment: Mapping[str, str] = ENVIRONMENT) -> tuple[Plan, RegisteredPlan]:
    """Return the plan as its run loads it, and what workers get of it; its files are gone."""
    plan = load(folder / "plan.yaml", environment)
    with open_state(plan) as state:
        found = register_plan(plan, state)
    assert found is not None
    (folder / "lib" / "own.py").unlink()
    (folder / "plan.yaml").unlink()
    return plan, found


def refused(found: RegisteredPlan, environment: Mapping[str, str] = ENVIRONMENT, route: str = "orders") -> str:
    with pytest.raises(PermanentError) as error, open_registered(found, route, environment):
        pass
    assert error.value.code == "E-WORKER-PLAN"
    assert "planted" not in str(error.value)
    return error.value.message


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'state.db'}"


def test_a_worker_without_any_file_has_the_plan_of_the_run(folder: Path, elsewhere: None) -> None:
    plan, found = registered(folder)
    sent: RegisteredPlan = pickle.loads(pickle.dumps(found))
    with open_registered(sent, "orders", ENVIRONMENT) as loaded:
        assert (loaded.name, loaded.state) == (plan.name, url(folder))
        assert [route.fingerprint() for route in loaded.routes.values()] == [
            route.fingerprint() for route in plan.routes.values()
        ]
        assert loaded.source == plan.source
        made = [[*each.routes["orders"].mapper(Losses())({"_id": 7})] for each in (plan, loaded)]
        assert [record.canonical() for record in made[0]] == [record.canonical() for record in made[1]]


def test_nothing_secret_is_in_the_state_or_goes_to_a_worker(folder: Path) -> None:
    _, found = registered(folder)
    kept = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    assert b"${REDIS_PASSWORD}" in kept
    assert b"planted" not in kept
    assert b"planted" not in pickle.dumps(found)


def test_the_url_of_the_state_goes_as_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for written, sent in {
        "sqlite:///state.db": url(folder),
        "sqlite:///${DIR}/x.db": f"sqlite:///{folder}/there/x.db",
        "sqlite:////tmp/$${x}/state.db": "sqlite:////tmp/$${x}/state.db",
        "postgresql://me:${PASSWORD}@db/offramp": "postgresql://me:${PASSWORD}@db/offramp",
    }.items():
        (folder / "plan.yaml").write_text(PLAN.replace("sqlite:///state.db", written))
        plan = load(folder / "plan.yaml", {**ENVIRONMENT, "DIR": "there", "PASSWORD": "planted"})
        assert plan.written.state == sent


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"REDIS_HOST": None}, r"plan\.yaml:4: targets\.redis\.url: the environment variable REDIS_HOST is not set"),
        (
            {"REDIS_HOST": "other.example"},
            r"server of its target was \['redis://redis\.example'\], is \['redis://other",
        ),
        ({"SALT": "planted-other"}, r"route orders would get other records.*: salt has changed\. Give the worker"),
        ({"DATABASE": "staging"}, r"source\.database was 'shop', is 'staging'"),
    ],
)
def test_another_environment_is_refused_by_what_it_changes(
    folder: Path, elsewhere: None, environment: Mapping[str, Any], words: str
) -> None:
    _, found = registered(folder)
    changed = {name: value for name, value in {**ENVIRONMENT, **environment}.items() if value is not None}
    assert re.search(words, refused(found, changed), re.DOTALL)


def test_what_changes_no_record_of_the_route_is_not_refused(folder: Path, elsewhere: None) -> None:
    _, found = registered(folder)
    other = {**ENVIRONMENT, "SALT": "planted-other", "SOURCE_PASSWORD": "planted-rotated"}
    with open_registered(found, "users", other) as loaded:
        assert "planted-rotated" in loaded.source.uri
    assert "salt has changed" in refused(found, other, "orders")


def test_a_state_that_is_not_there_is_not_made(folder: Path, elsewhere: None) -> None:
    _, found = registered(folder)
    (folder / "state.db").rename(folder / "moved.db")
    assert "there is no state at sqlite:///" in refused(found)
    assert not (folder / "state.db").exists()


@pytest.mark.server
def test_a_worker_keeps_no_connection_once_it_has_done_with_a_plan(
    folder: Path, elsewhere: None, postgresql: Postgresql, unique: str
) -> None:
    state = postgresql.url(unique, application_name=unique)
    (folder / "plan.yaml").write_text(PLAN.replace("sqlite:///state.db", "${STATE}"))
    environment = {**ENVIRONMENT, "STATE": state}
    _, found = registered(folder, environment)
    gc.disable()  # It would close, at a time of its own, what nobody has any more.
    try:
        with open_registered(found, "orders", environment):
            pass
        query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{unique}'"
        until(lambda: postgresql.execute(query) == [(0,)], "no connection")
    finally:
        gc.enable()
        postgresql.execute(f"DROP SCHEMA {unique} CASCADE")


@pytest.mark.parametrize("content", ["manifest", "text", "files", "routes"])
@pytest.mark.parametrize(
    "statement", ["UPDATE plan_contents SET content = content || ' '", "DELETE FROM plan_contents"]
)
def test_a_plan_that_was_altered_in_the_state_is_refused(
    folder: Path, elsewhere: None, content: str, statement: str
) -> None:
    plan, found = registered(folder)
    ((written,),) = rows(url(folder), f"SELECT content FROM plan_contents WHERE digest = '{found.digest}'")
    assert isinstance(written, bytes)
    manifest = json.loads(written)
    digest = {
        "manifest": found.digest,
        "text": manifest["text"],
        "files": manifest["files"]["lib/own.py"],
        "routes": manifest["routes"]["orders"],
    }[content]
    execute(url(folder), f"{statement} WHERE digest = '{digest}'")
    assert "it was deleted or altered; run the same command again" in refused(found)
    with open_state(plan) as state:
        assert register_plan(plan, state) == found
    with open_registered(found, "orders", ENVIRONMENT):
        pass


def test_another_release_is_refused_before_it_opens_the_state(folder: Path, elsewhere: None) -> None:
    _, found = registered(folder)
    (folder / "state.db").unlink()
    message = refused(dataclasses.replace(found, release="0.0.7"))
    assert "the run has mongo-offramp 0.0.7, this worker " in message
    assert "install mongo-offramp==0.0.7 on the worker" in message


def test_another_version_of_a_plug_in_is_refused(folder: Path, elsewhere: None) -> None:
    plan, found = registered(folder)
    with open_state(plan) as state:
        ((written,),) = rows(url(folder), f"SELECT content FROM plan_contents WHERE digest = '{found.digest}'")
        assert isinstance(written, bytes)
        manifest = json.loads(written)
        assert [*manifest["versions"]] == ["mongo-offramp"]
        manifest["versions"]["offramp-shelf"] = "1.2"
        digest = state.plans.register(json.dumps(manifest).encode(), [])
    assert "the run has offramp-shelf 1.2, this worker none" in refused(dataclasses.replace(found, digest=digest))


@pytest.mark.parametrize(
    ("written", "readable", "keys"),
    [
        ("ada:${SOURCE_PASSWORD}@h", "ada:planted@h", ["source.uri (line 3)"]),
        ("ada:${SOURCE_PASSWORD}@h", "ada:planted${SOURCE_PASSWORD}@h", []),
        ("ada:${SOURCE_PASSWORD}@h", "ada@h", []),
        ("${REDIS_PASSWORD}@$", "planted@$", ["targets.redis.url (line 4)"]),
        ("redis://:${REDIS_PASSWORD}@", "redis://planted-token@", ["targets.redis.url (line 4)"]),
        ('"${SALT}"', "planted-salt", ["routes.orders.options.salt (line 9)"]),
        ('"${SALT}"', '"${SALT:-planted-salt}"', []),
        ("routes:", "routes: # was redis://ada:planted@h", ["a comment (line 5)"]),
        ("routes:", "routes: # such as redis://user:<password>@h, or redis://:${REDIS_PASSWORD}@h", []),
    ],
)
def test_a_plan_in_which_a_secret_can_be_read_stays_out_of_the_state(
    folder: Path, written: str, readable: str, keys: list[str]
) -> None:
    (folder / "plan.yaml").write_text(PLAN.replace(written, readable))
    plan = load(folder / "plan.yaml", ENVIRONMENT)
    assert plan.written.readable == keys
    with open_state(plan) as state:
        assert (register_plan(plan, state) is None) == bool(keys)
        assert len(state.plans.contents([digest_of(plan.written.text.encode())])) == (0 if keys else 1)
