"""No test patches a private name: what a test must change is a parameter or a constructor argument."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PATCHES = frozenset({"setattr", "delattr", "setitem", "delitem", "patch", "object"})


def private_patches(source: str) -> Iterator[str]:
    """Yield the private names that the code patches, by ``monkeypatch.setattr`` and its like."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name not in PATCHES:
            continue
        for argument in node.args[:2]:
            text = argument.value if isinstance(argument, ast.Constant) else ast.unparse(argument)
            last = str(text).split(".")[-1]
            if last.startswith("_") and not last.startswith("__"):
                yield str(text)


@pytest.mark.parametrize(
    "source",
    [
        'monkeypatch.setattr(module, "_LIMIT", 1)',
        'monkeypatch.setattr("flows.copying.partition._LIMIT", 1)',
        'patch.setattr(module.Run, "_begin", dies)',
        'patch.setitem(module._TABLE, "a", 1)',
        'setattr(module, "_LIMIT", 1)',
    ],
)
def test_a_patch_of_a_private_name_is_noticed(source: str) -> None:
    assert len([*private_patches(source)]) == 1


def test_a_patch_of_a_public_name_or_a_special_method_is_none() -> None:
    assert [*private_patches('patch.setattr(module.Look, "__call__", call); patch.setenv("_A", "b")')] == []


def test_no_test_patches_a_private_name() -> None:
    found = {
        str(path.relative_to(TESTS)): names
        for path in TESTS.rglob("*.py")
        if (names := [*private_patches(path.read_text(encoding="utf-8"))])
    }
    assert found == {}
