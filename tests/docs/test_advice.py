"""Whatever the program and its pages tell a person to run or to write exists: commands, options, keys of a plan."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from jsonschema import Draft202012Validator

from flows.cli.main import offramp
from flows.error_codes import CATALOGUE
from flows.plan.json_schema import plan_schema
from flows.reporting import advice
from flows.reporting.wording import ALWAYS_UNCHECKED
from mappers.error_codes import EFFECTS

_SCHEMA = plan_schema()
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_HISTORY = ("decisions.md", "CHANGELOG.md")
_OF_OTHERS = {"prefect", "pip", "docker", "git", "make", "python"}
"""Programs whose options are not ours."""
_NOT_A_KEY = {
    *("backfill", "verify", "sync", "read", "manage", "string", "maxmemory", "http.max_content_length"),
}
"""Commands, a mapper's name, and what a server calls so."""


def test_each_advice_of_a_report_is_a_command_that_parses_and_names_keys_of_the_plan() -> None:
    texts = [each.text for each in advice.ADVICE] + [advice.SIGN, advice.KEEP, advice.FIND_OUT, *ALWAYS_UNCHECKED]
    seen = 0
    for text in texts:
        seen += _resolve_spans(text)
    assert seen > 20


@pytest.mark.parametrize("code", CATALOGUE)
def test_each_entry_of_an_error_code_names_commands_options_and_keys_that_exist(code: str) -> None:
    told = CATALOGUE[code]
    _resolve_spans(told.meaning)
    _resolve_spans(told.remedy)
    for effect in told.effects:
        _resolve_spans(EFFECTS[effect])


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in _HISTORY], ids=lambda page: page.name)
def test_each_command_on_a_page_parses(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for span in re.findall(r"`(offramp [a-z]+(?: [^`]+)?)`", text):  # `offramp backfill/PLAN` is a deployment.
        _parse(span, whole=False)
    for line in re.findall(r"^(?: {4}|\$ )(?:\.venv/bin/)?(offramp [^#|\n]+)", text, re.MULTILINE):
        _parse(line)


def test_each_option_in_a_message_of_the_program_exists() -> None:
    options = {option for command in _commands() for each in command.params for option in each.opts}
    wrong = []
    for place, text in _messages():
        if not set(re.findall(r"\w+", text)) & _OF_OTHERS:
            named = re.findall(r"(?<![\w-])--[a-z][a-z-]+\b", text)
            wrong += [(place, option) for option in named if option not in {*options, "--help"}]
        for name, rest in re.findall(r"\b(backfill|verify|repair|rejects \w+|sync|status)((?: --[a-z][a-z-]+)+)", text):
            known = {option for each in _command(name.split()).params for option in each.opts}
            wrong += [(place, f"{name} {option}") for option in rest.split() if option not in known]
    assert wrong == []


def test_a_command_an_option_and_a_key_that_do_not_exist_are_noticed() -> None:
    for text in (
        "`offramp mend PLAN`",
        "`offramp backfill`",
        "`offramp verify PLAN --level most`",
        "`offramp rejects drop PLAN --everything`",
        "`backfill --anew`",
        "`--force-it`",
        "Set `oversizes` in the route.",
        "Set `values: {depth_overflow: json_text}`.",
        "Lower `run.wokers`.",
    ):
        with pytest.raises((click.ClickException, AssertionError)):
            _resolve_spans(text)


def _resolve_spans(text: str) -> int:
    """Each command, option and key between backticks exists; returns how many there were."""
    spans = re.findall(r"`([^`]+)`", text)
    for span in spans:
        first = span.split()[0]
        assert isinstance(offramp, click.Group)
        if first == "offramp":
            _parse(span)
        elif first in offramp.commands and first not in ("report",) and (" " in span or first not in _keys()):
            _has_options(span.split())
        elif first.startswith("--"):
            option = first.split("=")[0]
            assert any(option in each.opts for command in _commands() for each in command.params), span
        elif re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", span):
            _has_key(span)
        elif re.match(r"[a-z][a-z0-9_]*: ", span):
            _allows(span)
    return len(spans)


def _parse(command_line: str, *, whole: bool = True) -> None:
    """The command line is one that the program takes; unless it is `whole`, arguments may be left out."""
    words = shlex.split(command_line.split("&&")[0].split(" | ")[0].replace("…", "X"))[1:]
    words = [{"N": "1", "MINUTES": "1", "HH:MM": "04:05", "LEVEL": "full", "KIND": "missing"}.get(w, w) for w in words]
    command: click.Command = offramp
    while isinstance(command, click.Group):
        name = words.pop(0)
        if name in ("COMMAND", "--help", "--version", "-v"):
            return
        found = command.get_command(click.Context(command), name)
        assert found is not None, command_line
        command = found
    words = [word for word in words if word not in ("--help", "-v")]
    try:
        command.make_context(command.name, list(words))
    except click.MissingParameter:
        if whole:
            raise
        command.make_context(command.name, [*words, "plan.yaml"])


def _has_options(words: list[str]) -> None:
    """The command has the options; its arguments may be left out."""
    names = [word for word in words if not word.startswith("-")]
    command = _command(names[: 2 if names[0] == "rejects" else 1])
    known = {option for each in command.params for option in each.opts}
    assert {word for word in words if word.startswith("--")} <= known, words


def _command(names: list[str]) -> click.Command:
    command: click.Command = offramp
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None, names
        command = found
    return command


def _commands(group: click.Command = offramp) -> Iterator[click.Command]:
    yield group
    if isinstance(group, click.Group):
        for command in group.commands.values():
            yield from _commands(command)


def _keys() -> dict[str, list[Mapping[str, Any]]]:
    """Return every key of a plan with the schemas of its values."""
    found: dict[str, list[Mapping[str, Any]]] = {}

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for name, inner in (node.get("properties") or {}).items():
                found.setdefault(name, []).append(inner if isinstance(inner, dict) else {})
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(_SCHEMA)
    return found


def _has_key(path: str) -> None:
    """A plan has the keys of this path, each somewhere."""
    assert path in _NOT_A_KEY or set(path.split(".")) <= _keys().keys(), path


def _allows(fragment: str) -> None:
    """A place of the plan takes this key with this value."""
    said = yaml.safe_load(fragment)
    assert isinstance(said, dict), fragment
    keys = _keys()
    for name, value in said.items():
        assert name in keys, fragment
        whole = [{**place, "$defs": _SCHEMA.get("$defs", {})} for place in keys[name]]
        if isinstance(value, dict) and "..." in value.values():
            assert value.keys() <= keys.keys(), fragment
        else:
            assert any(Draft202012Validator(place).is_valid(value) for place in whole), fragment


def _messages() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each literal of the packages that is no docstring."""
    for package in ("mappers", "stores", "flows"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name == "css.py" or path.parts[-2] in ("docgen", "demo") or path.name == "generated_file.py":
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            prose |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
                    yield f"{path.relative_to(ROOT)} line {node.lineno}", "".join(map(str, parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                    yield f"{path.relative_to(ROOT)} line {node.lineno}", node.value
