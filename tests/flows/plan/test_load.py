"""A plan is checked as a whole: every fault is told with its line, none shows a secret, and nothing is written."""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Decimal128, ObjectId, Regex

from flows.plan import plugins
from flows.plan.load import load as load_plan
from flows.plan.model import Plan, digest
from flows.plan.plugins import use_cases
from mappers.contract import Losses
from mappers.redis import String
from stores import memory
from stores.errors import PlanError
from stores.masking import masked

PLANS = Path(__file__).parent / "plans"
PLUGINS = Path(__file__).parents[2] / "plugins" / "plugin_example"

ENVIRONMENT = {
    # With what a repr would escape, what ends a variable, and what looks like a file and its function.
    "SECRET": "hunter2'\\ x}",
    "SECRET_FILE": "hunter2.py:hunter2",
    "SECRET_NAME": "hunter2_name",
    "SECRET_SALT": "hunter2 of sixteen bytes",
}

HEAD = """\
source: {uri: "mongodb://h", database: shop}
targets:
  redis: {url: "redis://h"}
  dynamodb: {region: eu-west-1}
  elasticsearch: {url: "http://h:9200"}
routes:
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which nothing but what the test writes may appear."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(folder: Path) -> Callable[..., Plan]:
    """Load a plan of these routes, or of this whole text: ``load("a: {use_case: session}", NAME="value")``."""

    def load_one(text: str, /, *, head: str = HEAD, **environment: str) -> Plan:
        path = folder / "plan.yaml"
        path.write_text(head + "\n".join(f"  {line}" if head else line for line in text.splitlines()) + "\n")
        return load_plan(path, environment)

    return load_one


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another distribution is installed, with a target `shelf` and a mapper `label`."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    plugins.available.cache_clear()
    plugins.use_cases.cache_clear()
    yield
    monkeypatch.undo()
    plugins.available.cache_clear()
    plugins.use_cases.cache_clear()
    for name in ("offramp_shelf", "offramp_shelf_broken"):
        sys.modules.pop(name, None)


def faults(load: Callable[..., Plan], text: str, /, **more: str) -> list[str]:
    """Return the faults without the file's name: ``7: routes.a.key: …``."""
    with pytest.raises(PlanError) as told:
        load(text, **more)
    assert told.value.code == "E-PLAN"
    first, *rest = told.value.message.split("\n  ")
    assert re.fullmatch(r"\d+ faults? in the plan; nothing has been written", first), first
    assert int(first.split()[0]) == len(rest)
    assert all(re.match(r"/.*/plan\.yaml:\d+: ", one) for one in rest)
    return [one.partition("plan.yaml:")[2] for one in rest]


# --- plans that are wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in sorted(PLANS.glob("wrong-*.yaml"))])
def test_a_wrong_plan_is_told_its_faults_and_nothing_is_written(path: Path, folder: Path) -> None:
    beside = sorted(PLANS.iterdir())
    with pytest.raises(PlanError) as told:
        load_plan(path, ENVIRONMENT)
    message = told.value.message.replace(f"{path}:", "").replace(str(PLANS), "<folder>")
    assert message + "\n" == path.with_suffix(".expected").read_text()
    assert "hunter2" not in str(told.value)
    assert told.value.code == "E-PLAN"
    assert [*folder.iterdir()] == []
    assert [one for one in sorted(PLANS.iterdir()) if one.name != "__pycache__"] == [
        one for one in beside if one.name != "__pycache__"
    ]


def test_every_expectation_has_its_plan() -> None:
    assert {path.stem for path in PLANS.glob("*.expected")} == {path.stem for path in PLANS.glob("wrong-*.yaml")}


def test_a_missing_file_is_told(folder: Path) -> None:
    with pytest.raises(PlanError) as told:
        load_plan(folder / "no.yaml")
    assert "no.yaml" in told.value.message
    assert "No such file" in told.value.message
    with pytest.raises(PlanError, match="directory"):
        load_plan(folder)


@pytest.mark.parametrize("content", [b"name: caf\xe9\n", "name: café\n".encode("utf-16")])
def test_a_file_that_is_not_utf_8_is_told(folder: Path, content: bytes) -> None:
    (folder / "plan.yaml").write_bytes(content)
    with pytest.raises(PlanError) as told:
        load_plan(folder / "plan.yaml")
    assert "UTF-8" in told.value.message


def test_a_control_character_is_no_yaml(folder: Path) -> None:
    (folder / "plan.yaml").write_bytes(b"name: a\x00b\n")
    with pytest.raises(PlanError, match="character"):
        load_plan(folder / "plan.yaml")


def test_a_byte_order_mark_is_passed_over(folder: Path) -> None:
    (folder / "plan.yaml").write_bytes(b"\xef\xbb\xbf" + (HEAD + "  a: {use_case: session}\n").encode())
    assert [*load_plan(folder / "plan.yaml").routes] == ["a"]


def test_faults_of_plan_routes_and_targets_come_together_in_the_order_of_lines(load: Callable[..., Plan]) -> None:
    told = faults(
        load,
        "run: {workers: 0}\nroutes:\n  a: {use_case: session, kye: x, partitions: 0, key: '{'}\n"
        "  b: {use_case: entity}\ntargets:\n  redis: {ulr: x}\nsource: {uri: x}",
        head="",
    )
    assert [one.partition(" ")[0] for one in told] == ["1:", "3:", "3:", "4:", "6:", "7:"]
    assert [one.split()[1] for one in told] == [
        *("run.workers:", "routes.a.partitions:", "routes.a.kye:", "routes.b:"),
        *("targets.redis.ulr:", "source.database:"),
    ]


def test_a_mapper_at_fault_does_not_put_other_mappers_keys_in_doubt(load: Callable[..., Plan]) -> None:
    (told,) = faults(load, "a: {target: redis, mapper: sorted, score: rating, member: name}")
    assert "routes.a.mapper" in told
    assert "did you mean 'sorted_set'" in told


# --- the environment --------------------------------------------------------------------------------------------------


def test_variables_are_filled_in_and_defaults_taken(load: Callable[..., Plan]) -> None:
    text = (
        'source: {uri: "mongodb://${USER}:${PASSWORD}@h/", database: "${DATABASE:-shop}"}\n'
        "run: {workers: '${WORKERS}', lease_s: '${LEASE:-7.5}', window: \"${WINDOW:-3}\"}\n"
        'targets: {redis: {url: "redis://h", allow_eviction: "${EVICT}"}}\n'
        'routes: {a: {use_case: session, key: "${EMPTY:-x}a$${b}:$HOME:${ODD:-:-}:{_id}"}}'
    )
    loaded = load(text, head="", USER="u", PASSWORD="${USER}", WORKERS="12", EMPTY="", EVICT="true", DATABASE="store")
    assert loaded.source.uri == "mongodb://u:${USER}@h/"  # What a variable holds is not filled in again.
    assert loaded.source.database == "store"
    assert (loaded.run.workers, loaded.run.window, loaded.run.lease_s) == (12, 3, 7.5)
    assert loaded.routes["a"].connection.allow_eviction is True
    assert loaded.routes["a"].placement.key == "a${b}:$HOME::-:{_id}"


def test_keys_are_not_filled_in(load: Callable[..., Plan]) -> None:
    assert [*load('"${NAME}": {use_case: session}', NAME="x").routes] == ["${NAME}"]


def test_the_process_environment_is_used_unless_another_is_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFRAMP_TEST_NAME", "sessions")
    (folder / "plan.yaml").write_text(HEAD + "  a: {use_case: session, collection: '${OFFRAMP_TEST_NAME}'}\n")
    assert load_plan(folder / "plan.yaml").routes["a"].collection == "sessions"


def test_an_unset_variable_is_one_fault_wherever_it_stands(load: Callable[..., Plan]) -> None:
    told = faults(load, "a: {use_case: session, partitions: '${N}'}\nb: {use_case: '${N}'}")
    assert [one.partition(" the env")[0] for one in told] == ["7: routes.a.partitions:", "8: routes.b.use_case:"]


@pytest.mark.parametrize("secret", ["hunter2", "hünter2\n\t'\"", "hunter2" * 30, "{hunter2", "hunter2: [", "*hunter2"])
@pytest.mark.parametrize(
    "text",
    [
        "a: {target: '${S}'}",
        "a: {target: redis, mapper: '${S}'}",
        "a: {target: redis, use: '${S}'}",
        "a: {target: redis, use: '${S}.py:${S}'}",
        "a: {use_case: ['${S}']}",
        "a: {use_case: session, fields: {keep: {a: {b: '${S}'}}}}",
        "a: {use_case: session, where: {_id: {$oid: 'x${S}'}}}",
        "a: {use_case: session, where: {$and: [{at: {$date: '${S}'}}]}}",
        "a: {use_case: session, where: {n: {$numberDecimal: '${S}'}}}",
        "a: {use_case: session, where: {n: {$numberLong: '${S}'}}}",
        "a: {use_case: session, where: {n: {$uuid: '${S}'}}}",
        "a: {use_case: session, key: '{${S}'}",
        "a: {use_case: session, key: '}${S}'}",
        "a: {use_case: session, ttl_s: '${S}'}",
        "a: {use_case: entity, table: '${S} '}",
        "a: {use_case: entity, key: {partition: '${S}'}}",
        "a: {use_case: entity, key: ['${S}']}",
        "a: {use_case: entity, billing: '${S}'}",
        "a: {use_case: search, index: 'A${S}'}",
        "a: {use_case: search, mapping: {'a..b': '${S}'}}",
        "a: {use_case: search, mapping: '${S}'}",
        "a: {use_case: search, shards: 0, index: '${S}'}",
    ],
)
def test_a_fault_never_shows_what_the_environment_holds(load: Callable[..., Plan], text: str, secret: str) -> None:
    for one in faults(load, text, S=secret):
        assert "hunter2" not in one
        assert "hünter2" not in one


def test_a_secret_does_not_mask_the_names_that_the_plan_has_too(load: Callable[..., Plan], folder: Path) -> None:
    name = folder.name
    load("spring-sale: {use_case: session, key: 'sale:{_id}'}", AWS_SECRET_ACCESS_KEY=name)
    assert masked(f"next: offramp backfill {folder}/plan.yaml") == f"next: offramp backfill {folder}/plan.yaml"
    assert masked(f"wrong password {name}") == "wrong password ***"


# --- YAML -------------------------------------------------------------------------------------------------------------


def test_a_key_may_say_otherwise_than_what_is_merged(load: Callable[..., Plan]) -> None:
    loaded = load("a: &base {use_case: session, ttl_s: 5, collection: things}\nb: {<<: *base, ttl_s: 7}")
    assert loaded.routes["a"].placement.ttl_s == 5
    assert (loaded.routes["b"].placement.ttl_s, loaded.routes["b"].collection) == (7, "things")


def test_names_that_yaml_takes_for_other_things_stay_names(load: Callable[..., Plan]) -> None:
    loaded = load("on: {use_case: session}\n2024: {use_case: session}\nno: {use_case: session}\n~: {use_case: session}")
    assert [*loaded.routes] == ["on", "2024", "no", "~"]


def test_queries_are_extended_json_and_yaml(load: Callable[..., Plan]) -> None:
    text = """\
a:
  use_case: session
  where:
    _id: {$gt: {$oid: 5f0000000000000000000000}}
    at: {$gte: {$date: "2024-01-01T00:00:00Z"}, $lt: 2025-01-01T02:00:00+02:00}
    day: 2024-02-29
    amount: {$gt: {$numberDecimal: "1.10"}}
    name: {$regex: ^a, $options: i, $ne: ab}
    title: {$not: {$regex: b}}
    tags: {$in: [x, {$numberLong: "5"}]}
"""
    where = load(text).routes["a"].where
    assert where == {
        "_id": {"$gt": ObjectId("5f0000000000000000000000")},
        "at": {
            "$gte": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
            "$lt": dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
        },
        "day": dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
        "amount": {"$gt": Decimal128("1.10")},
        "name": {"$regex": "^a", "$options": "i", "$ne": "ab"},
        "title": {"$not": {"$regex": "b"}},
        "tags": {"$in": ["x", 5]},
    }
    assert isinstance(where["tags"]["$in"][1], bson.Int64)
    assert not isinstance(where["name"], Regex)


# --- what a plan says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use_case", "target", "mapper"), [(use, target, mapper) for use, (target, mapper) in use_cases().items()]
)
def test_a_use_case_picks_target_and_mapper(load: Callable[..., Plan], use_case: str, target: str, mapper: str) -> None:
    needed = {
        "sorted_set": "score: rating",
        "counter": "value: n",
        "set": "values: tags",
        "list": "values: tags",
        "stream": 'entry: "{_id}"',
        "geo": "location: at",
    }
    more = f", {needed[mapper]}" if mapper in needed else ""
    route = load(f"things: {{use_case: {use_case}{more}}}").routes["things"]
    assert (route.target_name, route.mapper_name, route.collection) == (target, mapper, "things")
    assert route.target().territory
    assert callable(route.mapper(Losses()))


def test_target_and_mapper_may_be_said_outright(load: Callable[..., Plan]) -> None:
    loaded = load("a: {target: redis, mapper: hash, expires: at}\nb: {use_case: session, mapper: hash}")
    assert [route.mapper_name for route in loaded.routes.values()] == ["hash", "hash"]
    assert loaded.routes["a"].options.expires == loaded.routes["a"].placement.expires == "at"


def test_a_plan_is_named_after_its_file_unless_it_says_so(load: Callable[..., Plan]) -> None:
    assert load("a: {use_case: session}").name == "plan"
    assert load("  a: {use_case: session}", head=f"name: shop\n{HEAD}".rstrip(" ")).name == "shop"


def test_a_mapper_of_ones_own_gets_its_options(load: Callable[..., Plan], folder: Path) -> None:
    (folder / "own.py").write_text((PLANS / "own_mappers.py").read_text())
    route = load('a: {target: redis, key: "tagged:{_id}", use: "own.py:tagged", options: {tag: abcdef}}').routes["a"]
    (record,) = route.mapper(Losses())({"_id": 7})
    assert isinstance(record, String)
    assert (record.address, record.value) == ("tagged:7", b"abc")
    assert route.mapper_name == "own.py:tagged"


def test_two_routes_may_stand_side_by_side_and_not_in_each_other(load: Callable[..., Plan]) -> None:
    def routes(one: str, other: str) -> str:
        return f"a: {{use_case: session, key: '{one}'}}\nb: {{use_case: session, key: '{other}'}}"

    for one, other in (("a:{_id}", "ab:{_id}"), ("a:b:{_id}", "a:c:{_id}"), ("a:{_id}", "A:{_id}")):
        assert len(load(routes(one, other)).routes) == 2
    for one, other in (
        ("a:{_id}", "a:b:{_id}"),
        ("a:b:{_id}", "a:{_id}"),
        ("a:{_id}", "a:{x}"),
        ("a{_id}", "ab:{_id}"),
    ):
        (told,) = faults(load, routes(one, other))
        assert told.startswith("8: routes.b: ")
        assert "'a' (line 7)" in told


def test_the_same_name_in_two_targets_is_two_places(load: Callable[..., Plan]) -> None:
    loaded = load("a: {use_case: entity, table: things}\nb: {use_case: search, index: things}")
    assert len(loaded.routes) == 2


def test_routes_are_chosen_by_name(load: Callable[..., Plan]) -> None:
    loaded = load("orders: {use_case: session}\ncarts: {use_case: session}\nlikes: {use_case: session}")
    assert [route.name for route in loaded.chosen(())] == ["orders", "carts", "likes"]
    assert [route.name for route in loaded.chosen(["likes", "orders", "likes"])] == ["likes", "orders"]
    with pytest.raises(PlanError) as told:
        loaded.chosen(["orders", "cart"])
    assert told.value.code == "E-PLAN-ROUTE"
    assert "no such route (did you mean 'carts'?)" in told.value.message


# --- what decides the records -----------------------------------------------------------------------------------------

FINGERPRINTED = "a: {use_case: session, where: {n: 1}, fields: {drop: [x, y]}, key: 'a:{_id}'}"


@pytest.mark.parametrize(
    "text",
    [
        "a: {use_case: session, where: {n: 2}, fields: {drop: [x, y]}, key: 'a:{_id}'}",
        "a: {use_case: session, where: {n: 1.0}, fields: {drop: [x, y]}, key: 'a:{_id}'}",
        "a: {use_case: session, fields: {drop: [x, y]}, key: 'a:{_id}'}",
        "a: {use_case: session, where: {n: 1}, fields: {drop: [x]}, key: 'a:{_id}'}",
        "a: {use_case: session, where: {n: 1}, fields: {keep: [x, y]}, key: 'a:{_id}'}",
        "a: {use_case: session, where: {n: 1}, fields: {drop: [x, y]}, key: 'b:{_id}'}",
        "a: {use_case: session, where: {n: 1}, fields: {drop: [x, y]}, key: 'a:{_id}', expires: at}",
        "a: {use_case: session, where: {n: 1}, fields: {drop: [x, y]}, key: 'a:{_id}', ttl_s: 9}",
        "a: {use_case: session, where: {n: 1}, fields: {drop: [x, y]}, key: 'a:{_id}', collection: b}",
        "a: {use_case: session, where: {n: 1}, fields: {drop: [x, y]}, key: 'a:{_id}', mapper: hash}",
        "a: {use_case: entity, where: {n: 1}, fields: {drop: [x, y]}, table: things}",
    ],
)
def test_the_fingerprint_changes_with_what_decides_the_records(load: Callable[..., Plan], text: str) -> None:
    assert load(text).routes["a"].fingerprint() != load(FINGERPRINTED).routes["a"].fingerprint()


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (FINGERPRINTED, HEAD.replace("mongodb://h", "mongodb://user:other@h2")),
        (FINGERPRINTED, HEAD.replace("redis://h", "redis://:other@h")),
        (FINGERPRINTED, "name: other\nstate: sqlite:///other.db\nrun: {workers: 9, window: 9, lease_s: 9}\n" + HEAD),
        (FINGERPRINTED.replace("[x, y]", "[y, x]"), HEAD),
        (FINGERPRINTED.replace("}}", "}, partitions: 9, allow_empty: true}"), HEAD),
        (FINGERPRINTED.replace("{n: 1}", '{n: {$numberInt: "1"}}'), HEAD),
        (FINGERPRINTED.replace("use_case: session", "target: redis, mapper: string"), HEAD),
        (FINGERPRINTED + "\nb: {use_case: cache}", HEAD),
    ],
)
def test_the_fingerprint_does_not_change_with_how_it_is_done(load: Callable[..., Plan], text: str, head: str) -> None:
    before = load(FINGERPRINTED).routes["a"].fingerprint()
    assert load(text, head=head).routes["a"].fingerprint() == before
    assert digest([before]) == digest([load(text, head=head).routes["a"].fingerprint()])


def test_the_fingerprint_changes_with_table_index_and_the_options_of_a_target(load: Callable[..., Plan]) -> None:
    def one(text: str, head: str = HEAD) -> Mapping[str, Any]:
        return load(text, head=head).routes["abc"].fingerprint()

    prefixed = HEAD.replace("region: eu-west-1", "table_prefix: prod-")
    assert one("abc: {use_case: entity}") == one("abc: {use_case: entity, billing: on_demand}")
    assert one("abc: {use_case: entity}") != one("abc: {use_case: entity, table: abd}")
    assert one("abc: {use_case: entity}") != one("abc: {use_case: entity}", prefixed)
    assert one("abc: {use_case: entity}") != one("abc: {use_case: entity, expires: at}")
    assert one("abc: {use_case: search}") != one("abc: {use_case: search, index: abd}")


def test_the_fingerprint_changes_with_the_mappers_file_and_its_options(load: Callable[..., Plan], folder: Path) -> None:
    code = (PLANS / "own_mappers.py").read_text()
    text = 'a: {target: redis, key: "a:{_id}", use: "own.py:tagged", options: {tag: x}}'

    def one(text: str) -> Mapping[str, Any]:
        return load(text).routes["a"].fingerprint()

    (folder / "own.py").write_text(code)
    before = one(text)
    assert one(text) == before
    assert one(text.replace("tag: x", "tag: y")) != before
    assert one(text.replace("tag: x", "tag: x, limit: 2")) != before
    (folder / "own.py").write_text(code + "\n# An edit.\n")
    assert one(text) != before


def test_the_fingerprint_holds_no_secret_yet_changes_with_it(load: Callable[..., Plan], folder: Path) -> None:
    (folder / "own.py").write_text((PLANS / "own_mappers.py").read_text())
    text = (
        'a: {target: redis, key: "a:{_id}", use: "own.py:tagged", options: {tag: "${S}", limit: 2},'
        ' where: {tenant: "${S}"}}'
    )
    head = HEAD.replace("redis://h", "redis://:${S}@h")
    one, other = (load(text, head=head, S=secret).routes["a"].fingerprint() for secret in ("hunter2", "hunter3"))
    assert "hunter" not in repr(one)
    assert {key for key in one if one[key] != other[key]} == {"where", "options"}
    assert one["options"]["limit"] == 2


# --- what others install ----------------------------------------------------------------------------------------------

SHELF_HEAD = 'source: {uri: "mongodb://h", database: shop}\ntargets: {shelf: {house: north}}\nroutes:\n'


def test_an_installed_target_and_mapper_can_be_named(load: Callable[..., Plan], installed: None) -> None:
    route = load("a: {target: shelf, mapper: label, text: hello, shelf: low}", head=SHELF_HEAD).routes["a"]
    target = route.target()
    target.prepare()
    (record,) = route.mapper(Losses())({"_id": 7})
    target.write([record])
    assert memory.held("north/low") == {"n:7": record}
    assert record.canonical() == b"hello"
    memory.forget("north/low")


def test_the_options_of_an_installed_target_and_mapper_are_checked(load: Callable[..., Plan], installed: None) -> None:
    head = SHELF_HEAD.replace("house: north", "hose: north")
    told = faults(
        load,
        "a: {target: shelf, mapper: label, txt: hello}\n"
        "b: {target: shelf, mapper: label, text: 5, rows: many}\n"
        "c: {target: shelf, mapper: item}\n"
        "d: {target: shelf}",
        head=head,
    )
    assert [one.partition(";")[0] for one in told] == [
        "2: targets.shelf.hose: no such key (did you mean 'house'?)",
        "4: routes.a.txt: no such key (did you mean 'text'?)",
        "4: routes.a.text: is missing",
        "5: routes.b.rows: found 'many'",
        "5: routes.b.text: found 5",
        "6: routes.c.mapper: 'item' makes records for dynamodb, not for shelf",
        "7: routes.d: has no mapper for shelf",
    ]


def test_a_refusal_of_an_installed_target_stands_at_its_key(load: Callable[..., Plan], installed: None) -> None:
    (told,) = faults(load, "a: {target: shelf, mapper: label, text: x, rows: 0}", head=SHELF_HEAD)
    assert told == "4: routes.a.rows: found 0; a shelf has at least one"


def test_two_routes_on_one_shelf_are_refused(load: Callable[..., Plan], installed: None) -> None:
    text = "a: {target: shelf, mapper: label, text: x}\nb: {target: shelf, mapper: label, text: x, shelf: a}"
    (told,) = faults(load, text, head=SHELF_HEAD)
    assert told.startswith("5: routes.b: writes in shelf where route 'a' (line 4) writes")


def test_what_is_installed_but_broken_is_told(load: Callable[..., Plan], installed: None) -> None:
    head = SHELF_HEAD.replace("shelf: {house: north}", "broken_import: {}, broken_name: {}, broken_shape: {}")
    told = faults(load, "a: {target: shelf}", head=head)
    assert [one.split(": ")[1] for one in told[:3]] == [
        f"targets.broken_{what}" for what in ("import", "name", "shape")
    ]
    assert "a_module_that_nobody_has" in told[0]
    assert "NoSuchTarget" in told[1]
    assert "lacks Connection and Placement" in told[2]


def test_an_ability_is_inherited_whole_or_refused(load: Callable[..., Plan], installed: None) -> None:
    head = SHELF_HEAD.replace("shelf: {house: north}", "undeclared: {house: north}, unfinished: {house: north}")
    told = faults(load, "a: {target: shelf}", head=head)
    assert told[0].startswith("2: targets.undeclared: the target installed under this name")
    assert "CountsVisitors has `count` as a target that is Countable, but does not inherit it" in told[0]
    assert "write class CountsVisitors(Countable), from stores.contract, or choose another name" in told[0]
    assert "(offramp_shelf:Unfinished) lacks remove of an ability that it inherits" in told[1]


def test_a_mapper_that_looks_like_the_contract_inherits_it_or_is_refused(
    load: Callable[..., Plan], installed: None
) -> None:
    told, *_ = faults(load, "a: {target: shelf, mapper: looks_addressing, text: x}", head=SHELF_HEAD)
    assert "LooksAddressing has `addresses`, to which Addressing gives a meaning, but does not inherit it" in told
    assert "write class LooksAddressing(Addressing), from mappers.contract, or choose another name" in told
    told, *_ = faults(load, "a: {target: shelf, mapper: looks_declared, expires: x}", head=SHELF_HEAD)
    assert "LooksDeclared has `dates_in_ms`, to which MapperDeclarations gives a meaning" in told
    assert "Options has `expires`, to which OptionDeclarations gives a meaning" in told


def test_a_mapper_names_its_use_cases_and_takes_none_of_ours(load: Callable[..., Plan], installed: None) -> None:
    route = load("a: {use_case: shelf, text: x}", head=SHELF_HEAD).routes["a"]
    assert (route.target_name, route.mapper_name) == ("shelf", "shelved")
    assert use_cases()["entity"] == ("dynamodb", "item")


def test_without_the_distribution_its_names_are_unknown(load: Callable[..., Plan]) -> None:
    told = faults(load, "a: {target: shelf, mapper: label, text: x}", head=SHELF_HEAD)
    assert [one.partition("; allowed")[0] for one in told] == [
        "2: targets.shelf: no such target",
        "4: routes.a.target: found 'shelf'; no such target",
    ]


@pytest.mark.parametrize(
    ("variable", "head"),
    [
        ("REDIS", HEAD.replace('"redis://h"', '"${REDIS}"')),
        ("ELASTIC", HEAD.replace('"http://h:9200"', '"${ELASTIC}"')),
        ("KEY", HEAD),
        ("INDEX", HEAD),
    ],
)
def test_an_unset_variable_adds_no_false_faults_to_its_own(load: Callable[..., Plan], variable: str, head: str) -> None:
    routes = '  a: {use_case: session, key: "${KEY}"}\n  b: {use_case: session}\n'
    routes += '  c: {use_case: search, index: "${INDEX}"}\n'
    values = {"REDIS": "redis://h", "ELASTIC": "http://h:9200", "KEY": "k:{_id}", "INDEX": "i"}
    del values[variable]
    with pytest.raises(PlanError) as refused:
        load(head + routes, head="", **values)
    assert len(refused.value.lines) == 2, refused.value
    assert f"{variable} is not set" in str(refused.value)
