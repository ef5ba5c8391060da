"""The files of requirements/: what an installation needs, pinned, with the hash of every file of each release.

`make lock` writes them, `make lock-check` compares them with the package index. Both ask the index that pip is set up
with, and no file names it. The resolution is universal: it holds for every Python from `requires-python` on and for
every platform, with environment markers where they differ.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"

HEADER = """\
# Written by `make lock` from pyproject.toml: change that, and run it again.
"""
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")

_PIN = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9-]*)(?:\[(?P<extras>[a-z0-9, -]+)\])?==(?P<version>[A-Za-z0-9.!+]+)"
    r"(?: ; (?P<marker>[^\\]+?))?"
)
_HASH = re.compile(r"    --hash=(?P<hash>sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """A release, and the environments that need it: `marker` is empty for all of them."""

    name: str
    version: str
    extras: str = ""
    """The package's own extras that something needs."""
    marker: str = ""

    def __str__(self) -> str:
        extras = f"[{self.extras}]" if self.extras else ""
        return f"{self.name}{extras}=={self.version}" + (f" ; {self.marker}" if self.marker else "")


@dataclass(frozen=True, slots=True)
class Layer:
    """A file: what it installs in addition to the files that it includes."""

    name: str
    extra: str = ""
    includes: tuple[str, ...] = ()
    build: bool = False
    """Whether it is what `[build-system]` requires, and nothing of the project."""


LAYERS = (
    Layer("build", build=True),
    Layer("base"),
    *(Layer(extra, extra, ("base",)) for extra in ("demo", "opensearch", "postgresql", "dask", "ray")),
    Layer("check", "check", ("build", "demo", "opensearch", "postgresql", "dask")),
)
SERVED = tuple(layer.name for layer in LAYERS if layer.name != "check")
"""The files whose every package has a wheel for each of `PYTHONS` on each of `PLATFORMS`."""

Pins = Mapping[Pin, frozenset[str]]
"""The hashes of each pin."""


class LockFault(Exception):
    """The files cannot be read or resolved; the text says why."""


def parse(text: str) -> dict[Pin, frozenset[str]]:
    """Return the pins of a file and their hashes. Raises LockFault at a line that is none of the form written here."""
    pins: dict[Pin, frozenset[str]] = {}
    pin: Pin | None = None
    for line in text.splitlines():
        bare = line.removesuffix(" \\")
        if line.startswith("#") or re.fullmatch(r"-r [a-z]+\.txt", line):
            continue
        if (found := _HASH.fullmatch(bare)) is not None and pin is not None:
            pins[pin] |= {found["hash"]}
        elif (found := _PIN.fullmatch(bare)) is not None:
            pin = Pin(found["name"], found["version"], found["extras"] or "", found["marker"] or "")
            pins[pin] = frozenset()
        else:
            raise LockFault(f"neither a pin nor a hash: {line!r}")
    return pins


def render(layer: Layer, pins: Pins) -> str:
    """Return the content of a file."""
    included = [f"-r {name}.txt" for name in layer.includes]
    pinned = [
        " \\\n    ".join([str(pin), *(f"--hash={each}" for each in sorted(pins[pin]))]) for pin in sorted(pins, key=str)
    ]
    return HEADER + "".join(f"{line}\n" for line in [*included, *pinned])


def read(folder: Path = FOLDER) -> dict[str, dict[Pin, frozenset[str]]]:
    """Return the pins of each layer whose file is there, without those of the files that it includes."""
    files = {layer.name: folder / f"{layer.name}.txt" for layer in LAYERS}
    return {name: parse(file.read_text("utf-8")) for name, file in files.items() if file.exists()}


def index_environment(settings: str) -> dict[str, str]:
    """Return for uv, which does not read pip's settings, the index and certificates in a `pip config list`."""
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}
    found: dict[str, str] = {}
    # pip's own environment comes first in its list, and wins.
    for line in settings.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in {":env:", "global", "install"} and option in names:
            found.setdefault(names[option], " ".join(ast.literal_eval(value).split()))
    return found


def resolve(present: Iterable[Pin], upgrade: Sequence[str] = ()) -> dict[str, dict[Pin, frozenset[str]]]:
    """Return the pins of each layer, with all hashes that the index states.

    A present version stays where it still fits pyproject.toml, unless its package is to be upgraded: by name, or each
    with `all`. Raises LockFault with uv's own words where nothing fits or the index does not answer.
    """
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, "whole.txt")
        build = Path(scratch, "build.in")
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        build.write_text("\n".join(project["build-system"]["requires"]), "utf-8")
        whole.write_text("".join(f"{pin}\n" for pin in present), "utf-8")
        upgrades = ["--upgrade"] if "all" in upgrade else [f"--upgrade-package={name}" for name in upgrade]
        everything = ["pyproject.toml", str(build), "--all-extras"]
        _run_uv([*_COMPILE, *everything, "--generate-hashes", f"--output-file={whole}", *upgrades])
        releases = parse(whole.read_text("utf-8"))
        hashes = {(pin.name, pin.version): found for pin, found in releases.items()}
        constraints = Path(scratch, "constraints.txt")
        constraints.write_text("".join(f"{_bare(pin)}\n" for pin in releases), "utf-8")

        def pins(layer: Layer) -> set[Pin]:
            sources = [str(build)] if layer.build else ["pyproject.toml"]
            extras = [f"--extra={layer.extra}"] if layer.extra else []
            found = parse(_run_uv([*_COMPILE, *sources, *extras, f"--constraints={constraints}"]))
            # pip takes another release than the pinned one for a package that is pinned with or without extras alone.
            return {*found, *map(_bare, found)}

        needed = {layer.name: pins(layer) for layer in LAYERS}
    included = {layer.name: {pin for name in layer.includes for pin in needed[name]} for layer in LAYERS}
    return {
        name: {pin: hashes[pin.name, pin.version] for pin in pins - included[name]} for name, pins in needed.items()
    }


def faults(present: Mapping[str, Pins], stated: Mapping[str, Pins]) -> list[str]:
    """Return what is wrong with the present files, by what the index states.

    A file that was uploaded for a release after its pin was written is no fault: none of these is ever installed.
    """
    return [
        f"requirements/{name}.txt: {fault}"
        for name, pins in stated.items()
        for fault in _faults_of_file(present.get(name, {}), pins)
    ]


def _faults_of_file(present: Pins, stated: Pins) -> Iterator[str]:
    for pin in sorted(set(stated) ^ set(present), key=str):
        yield f"{pin} is {'missing' if pin in stated else 'not needed'}"
    for pin in sorted(set(stated) & set(present), key=str):
        if not present[pin]:
            yield f"{pin} has no hash"
        for unknown in sorted(present[pin] - stated[pin]):
            yield f"{pin}: the index has no file with the hash {unknown}"


def uncovered(folder: Path = FOLDER) -> list[str]:
    """Return where a supported Python and platform would find no wheel whose hash is in the files, in uv's words."""
    found: list[str] = []
    options = ["--dry-run", "--require-hashes", "--only-binary=:all:"]
    files = [f"--requirements={folder / f'{name}.txt'}" for name in SERVED]
    with tempfile.TemporaryDirectory() as empty:
        for python in PYTHONS:
            for platform in PLATFORMS:
                place = [f"--python-version={python}", f"--python-platform={platform}", f"--target={empty}"]
                try:
                    _run_uv(["install", *options, *place, *files])
                except LockFault as fault:
                    found.append(f"Python {python} on {platform}: {fault}")
    return found


_COMPILE = (
    "compile",
    "--universal",
    f"--python-version={PYTHONS[0]}",
    "--no-annotate",
    "--no-header",
    "--no-strip-extras",
)


def _bare(pin: Pin) -> Pin:
    """Return the pin of the package without extras, which is all that a constraint may name."""
    return replace(pin, extras="")


@cache
def _index() -> Mapping[str, str]:
    """Return for uv the index that pip is set up with."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    return index_environment(subprocess.run(pip, check=True, capture_output=True, text=True).stdout)


def _run_uv(arguments: Sequence[str]) -> str:
    """Return what a `uv pip` command prints, run at the root of the project. Raises LockFault when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", *arguments, "--quiet", "--no-progress"],
        cwd=ROOT,
        env=os.environ | _index(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LockFault(done.stderr.strip())
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """Write the files, or check them; returns the exit code."""
    match list(arguments):
        case ["--write", *upgrade]:
            stated = resolve(_present(), upgrade)
            FOLDER.mkdir(exist_ok=True)
            for layer in LAYERS:
                (FOLDER / f"{layer.name}.txt").write_text(render(layer, stated[layer.name]), "utf-8")
            return 0
        case ["--check"]:
            wrong = faults(read(), resolve(_present())) or uncovered()
            for fault in wrong:
                sys.stderr.write(f"{fault}\n")
            if wrong:
                sys.stderr.write("run make lock, and look at what it changes\n")
            return 1 if wrong else 0
        case _:
            sys.stderr.write("usage: python -m requirement_files --write [PACKAGE ... | all] | --check\n")
            return 2


def _present() -> set[Pin]:
    return {pin for pins in read().values() for pin in pins}


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LockFault as fault:
        sys.exit(str(fault))
