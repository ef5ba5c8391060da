"""Whatever is sent as a plan ends soon, as a plan or as a named fault of one."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.plan.bounded_yaml import MOST_BYTES, MOST_DEPTH, Walk, composed, is_merge, key_text
from flows.plan.load import load
from stores.errors import PlanError

EXAMPLE = Path(__file__).parents[3] / "config" / "plan.example.yaml"
HEAD = 'source: {uri: "mongodb://h", database: shop}\ntargets: {redis: {url: "redis://h"}}\n'
ROUTE = "routes: {a: {use_case: session}}\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)
MERGES = "m0: &m0 {k: v}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], k{n}: v}}\n" for n in range(1, 60))
LONG_MERGES = "m0: &m0 {k: v}\n" + "".join(f"m{n}: &m{n} {{<<: *m{n - 1}, k{n}: v}}\n" for n in range(1, 9_000))
LETTERS = f"long: &long {'x' * 500_000}\nmany: [{', '.join(['*long'] * 50_000)}]\n"

WRONG = {
    "an alias bomb": (BOMB, "repeat too much"),
    "letters by aliases": (LETTERS, "repeat too much"),
    "merges that grow": (LONG_MERGES, "repeat too much"),
    "merges that double": (MERGES, "repeat too much"),
    "a list in itself": ("a: &a [*a]\n", "contains itself"),
    "a mapping in itself": ("a: &a {b: *a}\n", "contains itself"),
    "a mapping that merges itself": ("a: &a {<<: *a}\n", "merges itself"),
    "depth": ("a: " + "[" * 10_000, f"deeper than {MOST_DEPTH}"),
    "depth by blocks": ("\n".join(" " * n + f"k{n}:" for n in range(900)), f"deeper than {MOST_DEPTH}"),
    "depth by aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 90)),
        f"deeper than {MOST_DEPTH}",
    ),
    "a number of 5,000 digits": (f"run: {{workers: {'9' * 5_000}}}\n", "not a valid date or number"),
    "a hexadecimal number of 5,000 digits": (f"run: {{workers: 0x{'9' * 5_000}}}\n", "not a valid date or number"),
    "a number in base 60": (f"run: {{workers: {':'.join(['59'] * 100_000)}}}\n", "not a valid date or number"),
    "a number of more than 64 bits": ("run: {workers: 9223372036854775808}\n", "not a valid date or number"),
    "no number": ("source: {uri: mongodb://h, database: d, max_read_rate: .nan}\n", "max_read_rate"),
    "a key that is a list": ("? [a, b]\n: c\n", "where a key should be"),
    "a key that is a mapping": ("{{a: b}: c}\n", "where a key should be"),
    "a key that is null": ("~: x\n", "no such key"),
    "a key that is a number": ("1: x\n2.5: y\ntrue: z\n", "no such key"),
    "a key of a megabyte": (f"? {'k' * 600_000}\n: x\n", "no such key"),
    "a key twice": ("source: {}\nsource: {}\n", "is written again"),
    "a tag of Python": ("name: !!python/object/apply:os.system [exit]\n", "without tags"),
    "a tag of Python on a text": ("name: !!python/name:os.system x\n", "without tags"),
    "a tag of one's own": ("name: !secret x\n", "without tags"),
    "binary": ("name: !!binary aGVsbG8=\n", "without tags"),
    "a set": ("name: !!set {a, b}\n", "without tags"),
    "no truth": ("name: !!bool perhaps\n", "not a valid date or number"),
    "no time": ("name: !!timestamp never\n", "not a valid date or number"),
    "no date": ("name: 2024-02-30\n", "not a valid date or number"),
    "a time zone that is none": ("name: 2024-01-01 00:00:00 +99:99\n", "not a valid date or number"),
    "a NUL": ("name: a\x00b\n", "does not allow"),
    "an escaped NUL": ('"na\\0me": x\n', r"na\x00me"),
    "a bell": ("name: a\x07b\n", "does not allow"),
    "two documents": ("name: a\n---\nname: b\n", "not YAML"),
    "a list": ("- a\n- b\n", "write its keys"),
    "a text": ("plan\n", "write its keys"),
    "nothing": ("", "empty"),
    "a comment": ("# plan\n", "empty"),
    "an anchor that is not there": ("a: *b\n", "not YAML"),
    "merging a text": ("a: {<<: b}\n", "<< merges mappings only"),
    "many unknown keys": ("".join(f"k{n}: x\n" for n in range(2_000)), "200 faults"),
    "many unknown keys of a route": (
        f"{HEAD}routes: {{a: {{use_case: session, {', '.join(f'k{n}: x' for n in range(2_000))}}}}}\n",
        "200 faults",
    ),
    "a mapper that is a folder": (
        f"{HEAD}routes: {{a: {{target: redis, key: 'a:{{_id}}', use: '..py:x'}}}}\n",
        "no such",
    ),
    "a mapper with a NUL": (f'{HEAD}routes: {{a: {{target: redis, key: "a:{{_id}}", use: "a\\0.py:x"}}}}\n', "use"),
}


def refusal(path: Path) -> str:
    """Return why the plan is refused."""
    with pytest.raises(PlanError) as error:
        load(path, {})
    assert error.value.code == "E-PLAN"
    return error.value.message


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_plan_is_a_fault_of_the_plan(what: str, tmp_path: Path) -> None:
    text, part = WRONG[what]
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    message = refusal(path)
    assert part in message
    assert len(message) < 200_000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "cp500"])
def test_another_encoding_is_a_fault_of_the_plan(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(f"name: Größe\n{HEAD}{ROUTE}".encode(encoding))
    refusal(path)


def test_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(f"{HEAD}{ROUTE}".encode("utf-8-sig"))
    assert load(path, {}).routes


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _long(folder: Path) -> Path:
    (folder / "long").write_text("#" * (MOST_BYTES + 1))
    return folder / "long"


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda folder: folder, "directory"),
        (_pipe, "no plain file"),
        (_long, "more than"),
        (lambda _: Path("/dev/zero"), "no plain file"),
        (lambda _: Path("/dev/null"), "no plain file"),
        (lambda folder: folder / "none", "No such file"),
        (lambda folder: folder / "a\x00b", "NUL"),
        (lambda folder: folder / ("n" * 300), "too long"),
    ],
    ids=["folder", "pipe", "long", "zero", "null", "none", "nul", "long name"],
)
def test_what_is_no_file_of_a_plan(make: Callable[[Path], Path], part: str, tmp_path: Path) -> None:
    assert part in refusal(make(tmp_path))


def test_merges_are_those_of_yaml(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {<<: *a, <<: *b, w: 4}\n"
    root = composed(text)
    assert isinstance(root, yaml.MappingNode)
    walk = Walk()
    expected = yaml.safe_load(text)
    for key, node in root.value:
        assert isinstance(node, yaml.MappingNode)
        assert not is_merge(key)
        shown = {name: int(value.value) for name, (_, value) in walk.pairs(node).items()}
        assert shown == expected[key_text(key)]


# --- plans that are nearly right -----------------------------------------------------------------------------------

_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 3.5, 10**30, -(10**30), float("inf"), float("nan"), 1e308),
    *("", " ", "a", "\x00", "\x1b[2J", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "é", "x" * 5_000),
    *("${X}", "${", "$${", "${file:/etc/shadow}", "${file:/dev/zero}", "${file:/}", "${file:a\x00b}", "{_id}", "{"),
    *("mongodb://", "redis://u:p@h:99999/x", "http://[", "sqlite:///", "://@", "a.b", "..", ".", "$a", "_id"),
    *([], {}, [[]], [{}], {"": None}, {"a": []}, ["a", 1, None], {"$date": "x"}, {"$oid": 1}, {"$regex": "("}),
    *(2024, "2024-01-01", "08:00", "0 0 * * *", "Europe/Nowhere", "99:99"),
]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _paths(each, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def mutated(dice: random.Random, plan: Any) -> Any:
    """Return the plan with a few values replaced, deleted, wrapped, repeated elsewhere or under another key."""
    plan = copy.deepcopy(plan)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        paths = [path for path in _paths(plan) if path]
        if not paths:
            return plan
        path = dice.choice(paths)
        holder, key = _at(plan, path[:-1]), path[-1]
        match dice.randrange(7):
            case 0 | 1:
                holder[key] = copy.deepcopy(dice.choice(_VALUES))
            case 2:
                del holder[key]
            case 3:
                holder[key] = [holder[key]]
            case 4:
                holder[key] = {str(dice.choice(("a", "", "$gt", "key", "name"))): holder[key]}
            case 5:
                holder[key] = copy.deepcopy(_at(plan, dice.choice(paths)))
            case _ if isinstance(holder, dict):
                other = dice.choice(paths)[-1]
                holder[dice.choice(_VALUES[12:20]) if isinstance(other, int) else other] = holder.pop(key)
            case _:
                holder.insert(key, copy.deepcopy(dice.choice(_VALUES)))
    return plan


@pytest.fixture(scope="module")
def example() -> Any:
    return yaml.safe_load(EXAMPLE.read_text("utf-8"))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**64))
def test_a_plan_that_is_nearly_right_is_a_plan_or_has_named_faults(
    seed: int, example: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    attempt(seed, example, tmp_path_factory.getbasetemp() / f"nearly-right-{os.getpid()}.yaml")


def attempt(seed: int, example: Any, path: Path) -> None:
    """Load the plan that the seed makes of the example; raises anything but a PlanError if it does."""
    dice = random.Random(seed)
    text = yaml.safe_dump(mutated(dice, example), allow_unicode=True, sort_keys=False)
    if dice.randrange(4) == 0:  # In its text, too.
        at = dice.randrange(len(text))
        text = (
            text[:at]
            + dice.choice(("", "&a ", "*a", "!!int ", "<<: ", "[", "}", "\t", "\n", "- ", ": ", "'", "|\n"))
            + text[at:]
        )
    path.write_text(text, "utf-8", "surrogatepass")
    with suppress(PlanError):
        load(path, {"X": "x" * 40})
