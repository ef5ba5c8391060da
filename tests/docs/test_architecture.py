"""The map in docs/how-it-works.md is that of the import contracts in pyproject.toml, and that of the tree."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
PACKAGES = ("flows", "stores", "mappers")


def floors(package: str, page: str = PAGE) -> list[set[str]]:
    """Return the rooms of a package's table by floor, the top floor first."""
    found: dict[int, set[str]] = {}
    for floor, room, *_ in rows(package, page):
        found.setdefault(int(floor), set()).add(room.strip("`"))
    assert list(found) == list(range(len(found), 0, -1)), "the floors count down to 1"
    return list(found.values())


def rows(package: str, page: str = PAGE) -> Iterable[tuple[str, str, str, str]]:
    """Return floor, room, what it holds and the libraries that it alone imports, for each row of a package's table."""
    (section,) = re.findall(rf"^### {package}: .*?(?=^##)", page, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| (\d+) \| (`\w+`) \| (.+?) \| ?(.*?) ?\|$", section, re.MULTILINE)


def layers(package: str, contracts: Iterable[Mapping[str, Any]] = CONTRACTS) -> list[set[str]]:
    """Return the rooms by layer as import-linter is told them."""
    (contract,) = (made for made in contracts if made["type"] == "layers" and made.get("containers") == [package])
    return [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_floors_are_the_layers_that_import_linter_enforces(package: str) -> None:
    assert floors(package) == layers(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_rooms_are_those_of_the_tree(package: str) -> None:
    modules = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert set().union(*floors(package)) == modules | folders


def test_each_library_is_beside_the_room_that_may_import_it() -> None:
    named = {
        (library, f"{package}.{room.strip('`')}")
        for package in PACKAGES
        for _, room, _, alone in rows(package)
        for library in re.findall(r"\w+", alone.partition(" (")[0])
    }
    protected = {
        library: set(contract["allowed_importers"])
        for contract in CONTRACTS
        if contract["type"] == "protected"
        for library in contract["protected_modules"]
    }
    assert {library for library, _ in named} == set(protected)
    for library, room in named:
        assert any(importer == room or importer.startswith(f"{room}.") for importer in protected[library]), (
            library,
            room,
        )
