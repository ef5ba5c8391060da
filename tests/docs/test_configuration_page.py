"""docs/configuration.md holds every key of a plan: its generated part is current, and a stale one is noticed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.docgen import configuration
from flows.plan.json_schema import plan_schema

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
_ON_OTHER_PAGES = ("Transform", "HashPolicies", "IndexPolicies", "ItemPolicies", "JsonPolicies")
"""Definitions whose keys are in docs/transforms.md and docs/values.md, with those that they refer to."""


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge the repository's page also where the package under test is an installed one."""
    monkeypatch.setattr(configuration, "FILE", PAGE)


def test_the_page_in_the_repository_is_current() -> None:
    assert configuration.main(["--check"]) == 0
    assert "python -m flows.docgen.configuration --check" in (ROOT / "Makefile").read_text("utf-8")


def test_every_key_of_the_schema_is_on_the_page() -> None:
    schema = json.loads((ROOT / "config" / "plan.schema.json").read_text("utf-8"))
    for name in _ON_OTHER_PAGES:
        definition = json.dumps(schema["$defs"].pop(name))
        for other in re.findall(r'"#/\$defs/(\w+)"', definition):
            del schema["$defs"][other]
    page = PAGE.read_text("utf-8")
    keys = set(_keys(schema))
    assert len(keys) > 100
    assert {key for key in keys if f"\n| `{key}` | " not in page and f"\n## targets.{key}\n" not in page} == set()


def test_every_definition_has_a_table_or_a_page() -> None:
    """A new dataclass in a plan without a table would be on the page as a mapping, without its keys."""
    for row in re.findall(r"^\| `.*$", PAGE.read_text("utf-8"), re.MULTILINE):
        key, value, *_ = row.strip("| ").split(" | ")
        if "mapping" in value:
            assert key in {"`routes`", "`targets`", "`options`", "`where`", "`indexes`", "`tags`", "`mapping`"}


def test_a_stale_page_is_noticed_and_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PAGE.read_text("utf-8")
    copy = tmp_path / "configuration.md"
    monkeypatch.setattr(configuration, "FILE", copy)
    copy.write_text(whole.replace("`threads`", "`fibres`"), encoding="utf-8")
    assert configuration.main(["--check"]) == 1
    assert configuration.main(["--write"]) == 0
    assert copy.read_text("utf-8") == whole
    with pytest.raises(ValueError, match="marks"):
        configuration.page("# no marks", plan_schema())
    assert configuration.main(["--wirte"]) == 2


def _keys(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, inner in node.items():
            if name == "properties":
                yield from inner
            yield from _keys(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _keys(inner)
