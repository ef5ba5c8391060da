"""The two pages for authors of plug-ins, followed step by step: their own code, in a folder of its own."""

from __future__ import annotations

import configparser
import datetime as dt
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from plans import Finished, offramp, offramp_process
from pymongo.database import Database

from stores.testing.laws import TargetLaws

ROOT = Path(__file__).parents[2]
PLUGIN = Path(__file__).parent / "plugin_target"
TARGET_PAGE = (ROOT / "docs" / "write-a-target.md").read_text(encoding="utf-8")
MAPPER_PAGE = (ROOT / "docs" / "write-a-mapper.md").read_text(encoding="utf-8")


def files(page: str) -> dict[str, str]:
    """The files a page has its reader write: each block names its own in its first line."""
    return {
        re.match(r"# (\S+)\n", code)[1]: code  # type: ignore[index]
        for code in re.findall(r"```(?:python|toml|yaml)\n(.*?)```", page, re.DOTALL)
    }


def commands(page: str) -> list[list[str]]:
    """The commands of offramp on a page, in their order."""
    return [line.split("#")[0].split() for line in re.findall(r"^\$ offramp (.*)$", page, re.MULTILINE)]


def pytest_in(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the page's tests as its reader does."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def environment(folder: Path) -> dict[str, str]:
    """Where an installation would have put the folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder of the target page's reader, with what `pip install -e .` adds."""
    for name, text in files(TARGET_PAGE).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    info = tmp_path / "offramp_sqlite-0.1.dist-info"
    info.mkdir()
    for file in (PLUGIN / info.name).iterdir():
        (info / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def test_the_code_on_the_page_is_the_one_that_is_checked_here() -> None:
    shown = files(TARGET_PAGE)
    assert set(shown) == {"pyproject.toml", "offramp_sqlite.py", "test_sqlite.py", "rows.py", "plan.yaml"}
    for name, text in shown.items():
        if name != "plan.yaml":
            assert text == (PLUGIN / name).read_text(encoding="utf-8"), name


def test_what_is_installed_is_what_the_page_declares() -> None:
    declared = tomllib.loads(files(TARGET_PAGE)["pyproject.toml"])
    installed = configparser.ConfigParser()
    installed.read(PLUGIN / "offramp_sqlite-0.1.dist-info" / "entry_points.txt")
    assert {group: dict(installed[group]) for group in installed.sections()} == declared["project"]["entry-points"]
    assert declared["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == ["offramp_sqlite.py"]


@pytest.mark.process
def test_the_target_of_the_page_passes_every_law(package: Path) -> None:
    done = pytest_in(package)
    laws = [name for name in vars(TargetLaws) if name.startswith("test_")]
    assert done.returncode == 0, done.stdout
    assert f"{len(laws)} passed" in done.stdout
    assert len(laws) == 14, "the page says fourteen"


def test_every_fixture_of_the_laws_is_explained() -> None:
    suite = sys.modules[TargetLaws.__module__].__doc__ or ""
    fixtures = re.findall(r"^(\w+) {3,}\S", suite, re.MULTILINE)
    assert len(fixtures) == 7
    for name in fixtures:
        assert f"| `{name}` |" in TARGET_PAGE
        assert f"def {name}(" in files(TARGET_PAGE)["test_sqlite.py"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('INSERT OR REPLACE INTO "{self._table}"', 'INSERT OR IGNORE INTO "{self._table}"'),
        ("            db.commit()\n        return rejected", "        return rejected"),
        ("range(0, len(addresses), ADDRESSES_PER_QUERY)", "range(0, 1)"),
    ],
    ids=["keeps the old row", "never commits", "reads one query's worth"],
)
def test_a_target_with_a_fault_does_not_pass(package: Path, right: str, wrong: str) -> None:
    module = package / "offramp_sqlite.py"
    text = module.read_text(encoding="utf-8")
    assert text.count(right) == 1
    module.write_text(text.replace(right, wrong), encoding="utf-8")
    done = pytest_in(package)
    assert done.returncode == 1, done.stdout
    assert "failed" in done.stdout


@pytest.fixture
def run(
    starts_process: None, package: Path, mongodb_url: str, database: Database[dict[str, Any]]
) -> Callable[..., Finished]:
    """Run a command in the folder, on the plan of the page for the test's own database."""
    plan = package / "plan.yaml"
    plan.write_text(plan.read_text(encoding="utf-8").replace("marketplace", database.name), encoding="utf-8")
    database.users.insert_many([{"_id": n, "name": f"é {n}", "city": None, "secret": n} for n in range(1200)])
    variables = {**environment(package), "MONGODB_URI": mongodb_url}
    return lambda *arguments: offramp_process(*arguments, folder=package, environment=variables)


def test_the_commands_of_the_target_page_do_what_it_says(package: Path, run: Callable[..., Finished]) -> None:
    check, backfill, verify = commands(TARGET_PAGE)
    checked = run(*check)
    assert checked.code == 0, checked.err
    assert "is not there yet" in checked.out
    assert not (package / "things.db").exists()
    copied = run(*backfill, "--json")
    assert copied.code == 0, copied.err
    assert (copied.route("users")["records"], copied.route("users")["extra"]) == (1200, 0)
    (damage,) = re.findall(r'^\$ sqlite3 things.db "(.*)"$', TARGET_PAGE, re.MULTILINE)
    with sqlite3.connect(package / "things.db") as db:
        assert db.execute("SELECT body FROM people WHERE address = 'n:7'").fetchone()[0] == (
            b'{"name": "\\u00e9 7", "city": null}'
        )
        db.execute(damage)
    found = run(*verify, "--json")
    assert found.code == 1
    assert (found.route("users")["missing"], found.route("users")["held"]) == (1, 1199)


def test_every_damage_behind_its_back_is_found_and_a_dropped_table_is_not_resumed(
    package: Path, run: Callable[..., Finished]
) -> None:
    assert run("backfill", "plan.yaml").code == 0
    with sqlite3.connect(package / "things.db") as db:
        db.execute("DELETE FROM people WHERE address IN ('n:1', 'n:2')")
        db.execute("UPDATE people SET body = ? WHERE address = 'n:3'", [b"{}"])
        db.execute("INSERT INTO people VALUES ('planted', ?)", [b"{}"])
    row = run("verify", "plan.yaml", "--json").route("users")
    assert (row["missing"], row["differs"], row["extra"], row["verdict"]) == (2, 1, 1, "mismatches")
    with sqlite3.connect(package / "things.db") as db:
        db.execute("DROP TABLE people")
    again = run("backfill", "plan.yaml")
    assert again.code == 3
    assert "recreated" in again.out
    assert run("backfill", "plan.yaml", "--restart").code == 0


def test_what_the_target_refuses_reaches_the_user_with_its_exit_code(
    package: Path, run: Callable[..., Finished]
) -> None:
    plan = package / "plan.yaml"
    text = plan.read_text(encoding="utf-8")
    for right, wrong, told in (
        ("table: people", "table: no-name", "table: found 'no-name'"),
        ("table: people", "tabel: people", "did you mean 'table'"),
        ("path: things.db", "path: nowhere/things.db", "E-SQLITE-FOLDER"),
        ("path: things.db", "path: others.db", "E-SQLITE-TABLE"),
    ):
        with sqlite3.connect(package / "others.db") as db:
            db.execute("CREATE TABLE IF NOT EXISTS people (name TEXT)")
        plan.write_text(text.replace(right, wrong), encoding="utf-8")
        refused = run("check", "plan.yaml")
        assert (refused.code, told in refused.err) == (2, True), refused.err
    plan.write_text(text, encoding="utf-8")
    (package / "things.db").write_bytes(b"this is no SQLite file, but longer than its header. " * 4)
    failed = run("backfill", "plan.yaml")
    assert failed.code == 3
    assert "E-SQLITE" in failed.err
    assert "Traceback" not in failed.err


# --- the mapper page --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the mapper page's reader: outside the tree, nothing installed."""
    for name, text in files(MAPPER_PAGE).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.process
def test_the_tests_of_the_mapper_page_pass(folder: Path) -> None:
    done = pytest_in(folder)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    module = folder / "mappers_local.py"
    module.write_text(module.read_text(encoding="utf-8").replace("if document.get", "if not document.get"))
    assert pytest_in(folder).returncode == 1


def test_the_commands_of_the_mapper_page_do_what_it_says(
    folder: Path, mongodb_url: str, dynamodb_endpoint: str, database: Database[dict[str, Any]], unique: str
) -> None:
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    orders = [{"_id": n, "customer_id": n % 7, "created_at": at, "total": n} for n in range(100)]
    wrong: list[dict[str, Any]] = [{**orders[0], "_id": "no total"}, {**orders[0], "_id": "negative", "total": -1}]
    del wrong[0]["total"]
    database.orders.insert_many([*orders, *wrong, {"_id": "a draft", "draft": True}])
    plan = folder / "plan.yaml"
    here = f"region: eu-west-1, endpoint: '{dynamodb_endpoint}'"
    text = (
        plan.read_text(encoding="utf-8").replace("region: eu-west-1", here).replace("table: orders", f"table: {unique}")
    )
    plan.write_text(text.replace("database: shop", f"database: {database.name}"), encoding="utf-8")
    variables = {"MONGODB_URI": mongodb_url}

    check, backfill, status = (
        lambda *more, line=line: offramp(*line, *more, folder=folder, environment=variables)
        for line in commands(MAPPER_PAGE)
    )
    assert check().code == 0, check().err
    row = backfill("--json").route("orders")
    assert (row["read"], row["dropped"], row["rejected"], row["copied"], row["held"]) == (103, 1, 2, 100, 100)
    told = status()
    assert "E-SHOP-TOTAL total: is negative" in told.out
    assert "E-MAP-FAILED" in told.out
    assert "KeyError at mappers_local.py line" in told.out
    table = boto3.resource("dynamodb", region_name="eu-west-1", endpoint_url=dynamodb_endpoint).Table(unique)
    kept = table.get_item(Key={"customer": "3", "order": "2026-01-01T00:00:00+00:00#n:3"})["Item"]
    assert (kept["total"], kept["currency"]) == (3, "CHF")

    mapper = folder / "mappers_local.py"
    mapper.write_text(mapper.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    edited = backfill()
    assert (edited.code, "the content of the file in `use` has changed" in edited.err) == (2, True)
    plan.write_text(plan.read_text(encoding="utf-8").replace("currency:", "curency:"), encoding="utf-8")
    assert (check().code, "curency" in check().err) == (2, True)
