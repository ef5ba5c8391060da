"""Secrets of every kind, in a plan whose servers, mapper and documents give them away: no command shows one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from http_servers import Reply, Request, serving
from plans import Finished, Stores, offramp, write_plan
from pymongo.database import Database

PASSWORD = "plant3d/p@ss:w#rd?1"
"""With each character that ends a password in a URL which is not percent-encoded."""
OPTION, API_KEY, TOKEN, SALT = "plant3d-option", "plant3d-api-key", "plant3d-token", "plant3d-salt-of-16-bytes"
QUERY = "plant3d-tenant"
SECRETS = {
    "PLANTED_PASSWORD": quote(PASSWORD, safe=""),
    "PLANTED_OPTION": OPTION,
    "PLANTED_KEY": API_KEY,
    "PLANTED_SALT": SALT,
    "PLANTED_QUERY": QUERY,
}
_MAPPER = """
import logging
import sys

from mappers.contract import MappingError
from mappers.redis import String


def leaking(document, secret):
    print("the mapper was given", secret)
    print("the mapper was given", secret, file=sys.stderr)
    logging.getLogger("flows.mine").warning("the mapper was given %s", secret)
    if document["n"] == 1:
        raise MappingError("E-MAP-VALUE", f"n.{secret}", f"cannot take {secret}")
    if document["n"] == 2:
        raise ValueError(f"cannot take {secret}")
    return [String(f"{document['prefix']}:{document['_id']}", secret.encode() if document["n"] == 3 else b"x")]
"""


def forms(secret: str) -> set[str]:
    """Return what would give the secret away."""
    login = {base64.b64encode(f"ada:{secret}".encode()).decode(), base64.b64encode(secret.encode()).decode()}
    return {secret, quote(secret, safe=""), quote(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1]} | login


@dataclass
class Watch:
    """Whatever the commands printed and wrote."""

    folder: Path
    shown: str = ""
    codes: list[int] = field(default_factory=list)

    def run(self, *arguments: str | Path, **environment: str) -> Finished:
        """Run a command in this process, with the secrets in its environment."""
        finished = offramp(*arguments, folder=self.folder, environment={**SECRETS, **environment})
        assert "E-INTERNAL" not in finished.err, finished.err
        self.shown += finished.out + finished.err
        self.codes.append(finished.code)
        return finished

    def leaks(self, *secrets: str) -> dict[str, list[str]]:
        """Return where each secret is to be read: on the terminal, or in a file that offramp wrote."""
        written = {
            str(path.relative_to(self.folder)): path.read_bytes().decode("utf-8", "replace")
            for path in self.folder.rglob("*")
            if path.is_file() and path.suffix not in (".yaml", ".py", ".pyc")
        }
        return {
            secret: places
            for secret in secrets
            if (
                places := [
                    place
                    for place, text in {"terminal": self.shown, **written}.items()
                    if any(form in text for form in forms(secret))
                ]
            )
        }


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def test_what_a_mapper_and_a_query_know_stays_secret_from_check_to_report(
    watch: Watch, mongodb_url: str, redis_url: str, database: Database[dict[str, Any]], unique: str
) -> None:
    database.things.insert_many([{"_id": n, "n": n, "prefix": unique, "tenant": QUERY} for n in range(6)])
    (watch.folder / "leaking.py").write_text(_MAPPER)
    routes = {
        "things": {
            "target": "redis",
            "key": f"{unique}:{{_id}}",
            "use": "leaking.py:leaking",
            "options": {"secret": "${PLANTED_OPTION}"},
            "where": {"tenant": "${PLANTED_QUERY}"},
            "transforms": [{"hash": {"fields": ["tenant"], "salt": "${PLANTED_SALT}"}}],
            "sync": "rescan",
        }
    }
    plan = write_plan(watch.folder, Stores(mongodb_url, redis_url, "", ""), database.name, routes)
    for arguments in (
        ("check", plan),
        ("-v", "backfill", plan),
        ("status", plan),
        ("status", plan, "--json"),
        ("-v", "sync", plan),
        ("-v", "verify", plan, "--show-values", "--json"),
        ("rejects", "list", plan),
        ("rejects", "list", plan, "--json"),
        ("rejects", "show", plan),
        ("-v", "rejects", "retry", plan),
        ("rejects", "drop", plan, "--all", "--reason", f"because of {OPTION}"),
        ("repair", plan),
        ("report", plan),
        ("deploy", plan, "--yaml"),
    ):
        watch.run(*arguments)
    assert "cannot take ***" in watch.shown
    assert "the mapper was given ***" in watch.shown
    assert watch.leaks(OPTION, SALT, QUERY) == {}


def _nowhere(kind: str) -> Mapping[str, Any]:
    login = "ada:${PLANTED_PASSWORD}@127.0.0.1:1"
    source: Mapping[str, Any] = {"uri": "mongodb://127.0.0.1:1", "database": "shop", "retry_deadline_s": 1}
    if kind == "mongodb":
        source = {**source, "uri": f"mongodb://{login}/?serverSelectionTimeoutMS=200"}
    targets: Mapping[str, Any] = {
        "mongodb": {"redis": {"url": "redis://127.0.0.1:1"}},
        "redis": {"redis": {"url": f"redis://{login}/0"}},
        "elasticsearch": {"elasticsearch": {"url": f"http://{login}"}},
        "api key": {"elasticsearch": {"url": "http://127.0.0.1:1", "api_key": "${PLANTED_KEY}"}},
    }
    [(target, connection)] = targets[kind].items()
    case = "search" if target == "elasticsearch" else "session"
    return {
        "source": source,
        "targets": {target: {**connection, "retry_deadline_s": 1}},
        "routes": {"things": {"use_case": case}},
    }


@pytest.mark.parametrize("kind", ["mongodb", "redis", "elasticsearch", "api key"])
@pytest.mark.parametrize("command", ["check", "backfill", "verify", "sync", "repair"])
@pytest.mark.server
def test_a_server_that_is_not_there_is_named_without_its_password(watch: Watch, kind: str, command: str) -> None:
    plan = watch.folder / "plan.yaml"
    plan.write_text(yaml.safe_dump(_nowhere(kind)))
    assert watch.run("-v", command, plan).code in (2, 3)
    assert watch.leaks(PASSWORD, API_KEY) == {}


@pytest.fixture
def parrot(starts_server: None) -> Iterator[str]:
    """An Elasticsearch that repeats what it was sent, in the types and the reasons of its errors."""

    def answer(request: Request) -> Reply:
        sent = f"{request.headers.get('authorization')} {PASSWORD} {API_KEY}"
        blocked = f"index [i] blocked by: [FORBIDDEN/8/{sent}];"
        error = {"type": sent, "reason": blocked, "caused_by": {"type": "cluster_block_exception", "reason": blocked}}
        return Reply(403, json.dumps({"error": error, "status": 403}).encode(), {"content-type": "application/json"})

    with serving(answer) as url:
        yield url


@pytest.mark.parametrize("command", ["check", "backfill"])
def test_a_server_that_repeats_what_it_was_sent(
    watch: Watch, parrot: str, mongodb_url: str, database: Database[dict[str, Any]], command: str
) -> None:
    database.things.insert_one({"_id": 1})
    host = parrot.removeprefix("http://")
    for connection in (
        {"url": f"http://ada:${{PLANTED_PASSWORD}}@{host}"},
        {"url": parrot, "api_key": "${PLANTED_KEY}"},
        {"url": parrot, "username": "ada", "password": PASSWORD},
    ):
        plan = {
            "source": {"uri": mongodb_url, "database": database.name},
            "targets": {"elasticsearch": {**connection, "retry_deadline_s": 1}},
            "routes": {"things": {"use_case": "search"}},
        }
        (watch.folder / "plan.yaml").write_text(yaml.safe_dump(plan))
        finished = watch.run("-v", command, watch.folder / "plan.yaml")
        assert finished.code in (2, 3)
        assert "an unknown type" in finished.err or "E-ES-BLOCKED" in finished.err
    assert watch.leaks(PASSWORD, API_KEY) == {}
    assert "plant3d" not in watch.shown
    assert "ApiKey" not in watch.shown


FAULTS: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "a number": lambda: {"elasticsearch": {"url": "http://h", "username": "ada", "password": 73317331}},
    "a list": lambda: {"elasticsearch": {"url": "http://h", "api_key": ["plant3d-token"]}},
    "in a list": lambda: {"elasticsearch": [{"password": "plant3d-token"}, {"password": 73317331}]},
    "two logins": lambda: {"elasticsearch": {"url": "http://ada:plant3d-token@h", "api_key": "plant3d-token"}},
    "wrong type of the URL": lambda: {"redis": {"url": ["redis://ada:plant3d-token@h"]}},
    "a key more": lambda: {"redis": {"url": "redis://h", "password": "plant3d-token"}},
    "# in a URL": lambda: {"redis": {"url": "redis://ada:plant3d#73317331@h"}},
    "? in a URL": lambda: {"redis": {"url": "redis://ada:plant3d?73317331@h"}},
    "/ in a URL": lambda: {"elasticsearch": {"url": "http://ada:plant3d/73317331@h"}},
    "@ in a URL": lambda: {"elasticsearch": {"url": "http://ada:plant3d@73317331@h"}},
    ": in a URL": lambda: {"redis": {"url": "redis://ada:plant3d:73317331@h"}},
    "a port": lambda: {"redis": {"url": "redis://ada:73317331"}},
    "no scheme": lambda: {"redis": {"url": "ada:plant3d@h"}},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("arguments", [("check",), ("backfill", "--json")])
def test_a_fault_of_the_plan_shows_no_secret(watch: Watch, fault: str, arguments: tuple[str, ...]) -> None:
    plan = {
        "source": {"uri": "mongodb://ada:plant3d-token@h", "database": "shop", "read_preference": "none"},
        "targets": FAULTS[fault](),
        "routes": {"things": {"use_case": "search" if "elasticsearch" in FAULTS[fault]() else "session"}},
    }
    (watch.folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    finished = watch.run(arguments[0], watch.folder / "plan.yaml", *arguments[1:])
    assert finished.code == 2
    for secret in ("plant3d", "73317331"):
        assert secret not in watch.shown


def test_the_text_of_an_error_of_a_mapper_that_is_loaded_is_not_shown(watch: Watch) -> None:
    code = f"password = {TOKEN!r}\nraise ValueError(f'cannot log in by {{password}}')"
    (watch.folder / "failing.py").write_text(code)
    plan = {
        "source": {"uri": "mongodb://h", "database": "shop"},
        "targets": {"redis": {"url": "redis://h"}},
        "routes": {"things": {"target": "redis", "key": "t:{_id}", "use": "failing.py:mapped"}},
    }
    (watch.folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    assert watch.run("-v", "check", watch.folder / "plan.yaml").code == 2
    assert "ValueError at failing.py line 2" in watch.shown
    assert watch.leaks(TOKEN) == {}
