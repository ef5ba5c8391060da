"""The plan's schema, and the two plans that ship: current, complete, and strict about what is wrong."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from flows.plan import json_schema, plugins
from flows.plan.load import load
from flows.plan.plan_keys import Fields, PlanKeys, RouteKeys, RunKeys
from flows.plan.validation import key_names
from mappers.dynamodb.records import Key
from mappers.policies import HashPolicies, IndexPolicies, ItemPolicies, JsonPolicies
from mappers.transforms.steps import TRANSFORMS
from stores.errors import PlanError
from stores.mongodb.configuration import Connection

CONFIG = Path(__file__).parents[3] / "config"
EXAMPLE = CONFIG / "plan.example.yaml"
DEMO = CONFIG / "demo" / "plan.yaml"
ENVIRONMENT = {
    "MONGODB_URI": "mongodb://127.0.0.1:27017",
    "DYNAMODB_ENDPOINT": "http://127.0.0.1:8000",
    "REDIS_URL": "redis://127.0.0.1:6379",
    "ELASTICSEARCH_URL": "http://127.0.0.1:9200",
    "ELASTICSEARCH_API_KEY": "key",
    "HASH_SALT": "sixteen bytes or more",
}
_EXCLUSIVE = re.compile(r"^(\s*)#(\w+: )", re.MULTILINE)


def whole_example() -> dict[str, Any]:
    """The example with the keys that exclude a neighbour in use as well."""
    value: dict[str, Any] = yaml.safe_load(_EXCLUSIVE.sub(r"\1\2", EXAMPLE.read_text(encoding="utf-8")))
    return value


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    made = json_schema.plan_schema()
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def faults(validator: Draft202012Validator, value: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def test_the_schema_in_the_repository_is_the_one_the_models_make() -> None:
    assert (CONFIG / json_schema.FILE.name).read_text(encoding="utf-8") == json_schema.text()


def test_check_answers_whether_the_file_is_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "FILE", tmp_path / "plan.schema.json")
    assert json_schema.main(["--check"]) == 1
    assert json_schema.main(["--write"]) == 0
    assert json_schema.main(["--check"]) == 0
    json_schema.FILE.write_text(
        json_schema.FILE.read_text(encoding="utf-8").replace("Where", "There"), encoding="utf-8"
    )
    assert json_schema.main(["--check"]) == 1


@pytest.mark.process
def test_the_module_runs_as_make_check_runs_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "flows.plan.json_schema", "--check"],
        cwd=CONFIG.parent,
        env={**os.environ, "PYTHONPATH": str(CONFIG.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("path", [EXAMPLE, DEMO], ids=["example", "demo"])
def test_a_shipped_plan_loads_and_fits_the_schema(path: Path, validator: Draft202012Validator) -> None:
    assert faults(validator, yaml.safe_load(path.read_text(encoding="utf-8"))) == []
    plan = load(path, ENVIRONMENT)
    assert {route.target_name for route in plan.routes.values()} >= {"dynamodb", "redis", "elasticsearch"}


def test_the_example_has_every_key_there_is(validator: Draft202012Validator) -> None:
    example = whole_example()
    assert faults(validator, example) == []
    routes = example["routes"].values()
    wanted = {("plan", PlanKeys): [example], ("source", Connection): [example["source"]]}
    wanted |= {("run", RunKeys): [example["run"]], ("route", RouteKeys): list(routes)}
    wanted |= {("fields", Fields): [route["fields"] for route in routes if "fields" in route]}
    steps = [step for route in routes for step in route.get("transforms", ())]
    assert {name for step in steps for name in step} == TRANSFORMS.keys()
    for name, transform in TRANSFORMS.items():
        if not transform.bare:
            wanted |= {(f"transforms.{name}", transform): [step[name] for step in steps if name in step]}
    wanted |= {("key", Key): [route["key"] for route in routes if isinstance(route.get("key"), dict)]}
    for policies in (ItemPolicies, JsonPolicies, IndexPolicies, HashPolicies):
        holders = {name for name in plugins.available(plugins.MAPPERS) if policy_class(name) is policies}
        shown = [route["values"] for route in routes if shape(route)[1] in holders and "values" in route]
        wanted |= {(f"values of {sorted(holders)}", policies): shown}
    for name in plugins.available(plugins.TARGETS):
        target = plugins.target_type(name)
        there = [route for route in routes if shape(route)[0] == name]
        wanted |= {(f"targets.{name}", target.Connection): [example["targets"][name]]}
        wanted |= {(f"route to {name}", target.Placement): there}
    for name in plugins.available(plugins.MAPPERS):
        wanted |= {(name, plugins.mapper_type(name).Options): [route for route in routes if shape(route)[1] == name]}
    lacking = {
        f"{what}.{key}"
        for (what, kind), shown in wanted.items()
        for key in key_names(kind)
        if not any(key in part for part in shown)
    }
    assert lacking == set()


def policy_class(mapper: str) -> type | None:
    return type(getattr(plugins.mapper_type(mapper).Options, "values", None))


def shape(route: dict[str, Any]) -> tuple[str, str | None]:
    """The target and mapper of a route, as the plan picks them."""
    target, mapper = plugins.use_cases().get(route.get("use_case", ""), ("", ""))
    return route.get("target", target), None if "use" in route else route.get("mapper", mapper)


BASE: dict[str, Any] = {
    "source": {"uri": "${MONGODB_URI}", "database": "shop"},
    "targets": {"dynamodb": None, "redis": {"url": "${REDIS_URL}"}, "elasticsearch": {"url": "${ELASTICSEARCH_URL}"}},
    "routes": {"things": {"use_case": "entity"}},
}


def with_route(**keys: Any) -> dict[str, Any]:
    return {**copy.deepcopy(BASE), "routes": {"things": keys}}


RIGHT = {
    "nothing but a use case": with_route(use_case="entity"),
    "use case and its own target": with_route(use_case="entity", target="dynamodb"),
    "use case and another mapper": with_route(use_case="cache", mapper="hash"),
    "target and mapper outright": with_route(target="redis", mapper="sorted_set", score="n"),
    "a shared set": with_route(use_case="set", member="_id"),
    "a list of its own": with_route(use_case="queue", values="v", ttl_s=1, expires=None),
    "an own mapper to shared keys": with_route(target="redis", use="demo/marketplace_mappers.py:proposals", entry="n"),
    "an own mapper by use case": with_route(use_case="search", use="demo/marketplace_mappers.py:proposals"),
    "another target than the use case's": with_route(use_case="search", target="redis", mapper="string"),
    "a number from the environment": {**BASE, "run": {"workers": "${WORKERS}"}},
    "transforms": with_route(use_case="entity", transforms=[{"drop": ["a"]}, {"cast": {"fields": {"b": "int"}}}]),
    "lossless": with_route(use_case="entity", fidelity="lossless"),
    "policies": with_route(use_case="session", values={"nonfinite": "as_null", "int53": "string"}),
    "accepted losses": with_route(use_case="search", accept_loss=["neg_zero", "a.b", "a:neg_zero"]),
    "provisioned": with_route(use_case="entity", billing="provisioned", read_units=1, write_units=1),
}
WRONG = {
    "a key of the plan misspelt": {**BASE, "tarets": {}},
    "no routes": {**BASE, "routes": {}},
    "no source": {"routes": BASE["routes"]},
    "a key of the source misspelt": {**BASE, "source": {"url": "mongodb://x", "database": "shop"}},
    "a target that does not exist": {**BASE, "targets": {"cassandra": {}}},
    "a target without its url": {**BASE, "targets": {"redis": {}}},
    "a key of a target misspelt": {**BASE, "targets": {"redis": {"url": "redis://x", "db": 1}}},
    "too few workers": {**BASE, "run": {"workers": 0}},
    "a number in words": {**BASE, "run": {"workers": "four"}},
    "a key of the route misspelt": with_route(use_case="entity", tabel="things"),
    "a key of another target": with_route(use_case="entity", index="things"),
    "a key of another mapper": with_route(use_case="session", member="_id"),
    "a key of the target for another mapper": with_route(use_case="cache", score="n"),
    "an expiry where nothing can expire": with_route(use_case="leaderboard", score="n", expires="at"),
    "a feed without an order": with_route(use_case="feed"),
    "a format that does not exist": with_route(use_case="cache", format="xml"),
    "a use case that does not exist": with_route(use_case="archive"),
    "neither use case nor target": with_route(where={}),
    "a target without a mapper": with_route(target="redis"),
    "another target than the use case's, without a mapper": with_route(use_case="entity", target="redis"),
    "a mapper of another target": with_route(target="redis", mapper="item"),
    "use and mapper": with_route(target="redis", mapper="hash", use="mine.py:things"),
    "a use that names no function": with_route(target="redis", use="mine.py"),
    "options without a mapper of one's own": with_route(use_case="entity", options={"skip": []}),
    "a leaderboard without a score": with_route(use_case="leaderboard"),
    "dynamic as a boolean": with_route(use_case="search", dynamic=False),
    "lossless without some fields": with_route(use_case="entity", fidelity="lossless", fields={"drop": ["a"]}),
    "lossless in a sorted set": with_route(use_case="leaderboard", score="n", fidelity="lossless"),
    "a policy of another form": with_route(use_case="search", values={"neg_zero": "zero"}),
    "a policy that does not exist": with_route(use_case="entity", values={"nonfinite": "ignore"}),
    "accepted losses as a text": with_route(use_case="entity", accept_loss="neg_zero"),
    "a billing that does not exist": with_route(use_case="entity", billing="monthly"),
    "fields as a list": with_route(use_case="entity", fields=["name"]),
    "two transforms in one": with_route(use_case="entity", transforms=[{"drop": ["a"], "select": ["b"]}]),
    "a transform that is none": with_route(use_case="entity", transforms=[{}]),
    "a transform misspelt": with_route(use_case="entity", transforms=[{"rneame": {"a": "b"}}]),
    "a cast to no type": with_route(use_case="entity", transforms=[{"cast": {"fields": {"a": "number"}}}]),
    "transforms outside a list": with_route(use_case="entity", transforms={"drop": ["a"]}),
    "keys of fields misspelt": with_route(use_case="entity", fields={"only": ["name"]}),
}


@pytest.fixture
def loads(tmp_path: Path) -> Callable[[dict[str, Any]], bool]:
    """Whether the loader takes a plan too: schema and loader must not disagree."""
    shutil.copytree(CONFIG / "demo", tmp_path / "demo", ignore=shutil.ignore_patterns("__pycache__"))

    def answer(value: dict[str, Any]) -> bool:
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(value), encoding="utf-8")
        try:
            load(path, {**ENVIRONMENT, "WORKERS": "3"})
        except PlanError:
            return False
        return True

    return answer


@pytest.mark.parametrize("value", RIGHT.values(), ids=RIGHT)
def test_what_loads_is_not_marked(
    value: dict[str, Any], validator: Draft202012Validator, loads: Callable[[dict[str, Any]], bool]
) -> None:
    assert faults(validator, value) == []
    assert loads(value)


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_what_does_not_load_is_marked(
    value: dict[str, Any], validator: Draft202012Validator, loads: Callable[[dict[str, Any]], bool]
) -> None:
    assert faults(validator, value) != []
    assert not loads(value)
