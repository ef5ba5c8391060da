"""What the documents promise is there: commands, keys, columns, links."""

from __future__ import annotations

import dataclasses
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from flows import exit_codes
from flows.cli.main import offramp
from flows.plan import plugins
from flows.plan.load import load
from flows.plan.plugins import use_cases
from flows.reporting import model as books

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def test_every_command_is_in_the_readme_and_has_help() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert isinstance(offramp, click.Group)
    for name, command in offramp.commands.items():
        assert f"`offramp {name}" in readme
        assert command.help
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name not in ("help", "routes"):
                assert parameter.help, f"{name} {parameter.name}"


def test_every_column_of_the_report_is_explained() -> None:
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    obvious = {"route", "collection", "target", "verdict", "backfill_s", "verify_s"}
    for column in dataclasses.fields(books.RouteReport):
        assert column.name in obvious or re.search(rf"\b{column.name}\b", page), column.name


def test_every_exit_code_is_explained_wherever_exit_codes_are() -> None:
    for page in ("README.md", "docs/backfill.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for code in {*exit_codes.OF_VERDICT.values(), exit_codes.REFUSED, exit_codes.INTERRUPTED, 143}:
            assert re.search(rf"\b{code}\b", text), (page, code)


def test_every_verdict_is_explained_with_its_exit_code() -> None:
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \| (\d) \| \S.* \|$", page, re.MULTILINE)
    assert {verdict: int(code) for verdict, code in table} == exit_codes.OF_VERDICT


def test_the_plan_in_the_readme_has_no_fault(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    path = tmp_path / "plan.yaml"
    path.write_text(block, encoding="utf-8")
    environment = {"MONGODB_URI": "mongodb://m", "REDIS_URL": "redis://r", "ELASTICSEARCH_URL": "http://e:9200"}
    assert set(load(path, environment).routes) == set(yaml.safe_load(block)["routes"])


def test_every_built_in_use_case_and_mapper_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for use_case in use_cases():
        assert f"`{use_case}`" in readme
    reached = {mapper for _, mapper in use_cases().values()}
    for name, point in plugins.available(plugins.MAPPERS).items():
        if point.value.startswith("mappers."):
            assert name in reached or f"mapper: {name}" in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_documents_lead_somewhere(page: Path) -> None:
    """Both the file and, for a page, the heading."""
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), target


def test_the_readme_leads_to_every_page() -> None:
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in links(README)}
    assert {page.name for page in PAGES if page.resolve() not in linked} == {"README.md"}


def test_every_page_has_a_title() -> None:
    for page in PAGES:
        assert re.search(r"^# \S", page.read_text(encoding="utf-8"), re.MULTILINE), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(
        r"(?<![\w/.-])(?:\.\./|\.?/)?((?:benchmarks|config|docs|flows|mappers|stores|tests)/[\w./-]*\w/?)", text
    )
    assert {path for path in named if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_and_function_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in sorted(set(re.findall(r"(?<![\w/.-])((?:benchmarks|flows|mappers|stores)(?:\.[A-Za-z_]\w*)+)", text))):
        assert name.endswith((".py", ".yaml")) or pkgutil.resolve_name(name) is not None


def links(page: Path) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")) if "://" not in target]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings as GitHub makes them."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.process
def test_help_answers_without_the_clients() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "--help"], capture_output=True, text=True, env=environment, check=True
    )
    assert "Exit codes" in done.stdout
