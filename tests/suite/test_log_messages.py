"""A log message is a literal text with arguments, so that Prefect's log can leave the arguments out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import flows
import mappers
import stores

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
SOURCES = [
    path
    for package in (flows, stores, mappers)
    for path in sorted(Path(str(package.__file__)).parent.rglob("*.py"))
    if "_log." in path.read_text(encoding="utf-8")
]


def composed_messages(source: str) -> list[int]:
    """The lines of calls of `_log` whose message is no literal text."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "_log"
        and not (isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str))
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_log_message_is_a_literal(path: Path) -> None:
    assert composed_messages(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("call", ["_log.warning(f'{error}')", "_log.error(str(error))", "_log.info('a' + name)"])
def test_a_composed_message_is_seen(call: str) -> None:
    assert composed_messages(call) == [1]
