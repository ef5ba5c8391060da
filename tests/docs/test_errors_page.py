"""Every code a run can show has an entry that tells the truth, and docs/errors.md holds them all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from explained import contradictions

from flows.cli.main import offramp
from flows.docgen import errors
from flows.docgen.errors import Use, faults, uses
from flows.error_codes import CATALOGUE
from mappers.error_codes import EFFECTS, entry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"
_NOT_OF_THE_PLAN = {
    "backfill",
    "verify",
    "string",
    "read",
    "manage",
    "maxmemory",
}  # commands, a mapper, what a server calls so


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge the repository's page also where the package under test is an installed one."""
    monkeypatch.setattr(errors, "FILE", PAGE)


def test_every_code_has_an_entry_and_every_entry_is_raised(capsys: pytest.CaptureFixture[str]) -> None:
    assert errors.main(["--check"]) == 0, capsys.readouterr().err
    assert len(CATALOGUE) > 140
    assert "python -m flows.docgen.errors --check" in (ROOT / "Makefile").read_text("utf-8")


def test_codes_are_found_wherever_they_stand_but_in_prose(tmp_path: Path) -> None:
    for package in ("mappers", "stores", "flows"):
        (tmp_path / package).mkdir()
    (tmp_path / "stores" / "shop.py").write_text(
        '"""Raises E-PROSE-ONE."""\n# E-PROSE-TWO\nTABLE = {"x": ("E-SHOP-TABLE", "text")}\nSMALL = 1E-130\n'
        'def f():\n    """E-PROSE-THREE"""\n    note = f"{SMALL} (W-SHOP-NOTE)"\n'
        '    raise PlanError("E-SHOP-PLAN", "t")\n',
        encoding="utf-8",
    )
    (tmp_path / "stores" / "error_codes.py").write_text('CODES = {"E-SHOP-OWN": 1}', encoding="utf-8")
    assert {(use.code, use.effect) for use in uses(tmp_path)} == {
        ("E-SHOP-TABLE", None),
        ("W-SHOP-NOTE", None),
        ("E-SHOP-PLAN", "refused"),
        ("E-SHOP-PLAN", "stopped"),  # A sync goes on without a route whose store refuses it.
    }


def test_what_is_wrong_with_the_catalogue_is_told_with_what_to_do() -> None:
    found = [
        Use("E-RDS-NEW", "stores/redis/target.py line 3", "paused"),
        Use("E-MADE-UP", "flows/run/backfill.py line 4", None),
        Use("E-ES-LIST", "stores/elasticsearch/client.py line 5", "refused"),
        Use("E-MADE-ANEW", "flows/connect/identities.py line 7", "stopped"),
        Use("E-SRC-AUTH", "stores/mongodb/collection.py line 6", "stopped"),
    ]
    known = {code: CATALOGUE[code] for code in ("E-ES-LIST", "E-SRC-AUTH", "E-USAGE", "E-MADE-ANEW")}
    assert faults(found, known) == [
        "E-ES-LIST (stores/elasticsearch/client.py line 5) is raised as refused, but its entry says paused: add"
        " refused",
        "E-MADE-UP (flows/run/backfill.py line 4) has no entry: add its meaning and remedy to"
        " flows/error_codes.py, with the effect of its error",
        "E-RDS-NEW (stores/redis/target.py line 3) has no entry: add its meaning and remedy to"
        " stores/redis/error_codes.py, with the effect paused",
        "E-USAGE has an entry, but nothing raises it: remove the entry",
    ]


def test_a_stale_page_is_noticed_and_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "errors.md"
    monkeypatch.setattr(errors, "FILE", copy)
    assert errors.main(["--check"]) == 1
    assert errors.main(["--write"]) == 0
    assert copy.read_text("utf-8") == PAGE.read_text("utf-8")
    assert errors.main(["--wirte"]) == 2


def test_an_entry_names_only_keys_that_a_plan_has() -> None:
    keys = set(re.findall(r'"([a-z][a-z0-9_]*)": ', (ROOT / "config" / "plan.schema.json").read_text("utf-8")))
    for code, told in CATALOGUE.items():
        for name in re.findall(r"`([a-z][a-z0-9_]*)[`:]", told.meaning + told.remedy):
            assert name in keys | _NOT_OF_THE_PLAN, (code, name)


def test_every_entry_is_whole_sentences_and_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    for code, told in CATALOGUE.items():
        assert f"| `{code}` |" in page
        assert told.effects
        assert told.meaning.endswith(".")
        assert told.remedy.endswith(".")


def test_a_code_says_one_thing_about_how_its_route_goes_on() -> None:
    """What explain says of the run, its remedy and the next line of a report are one advice."""
    restart = "`offramp backfill PLAN --restart --route ROUTE`"
    for code, told in CATALOGUE.items():
        if "ended" in told.effects:
            assert restart in told.remedy, code
            assert told.advice == told.remedy, code
        elif {"stopped", "paused"} & {*told.effects}:
            assert "same command" in told.advice, code
        if "ended" in told.effects and "same command" in told.remedy:
            assert {"stopped", "paused"} & {*told.effects}, code
    assert "same command" not in EFFECTS["ended"]
    assert restart in EFFECTS["ended"]


def test_a_command_that_ends_otherwise_than_explain_says_is_noticed() -> None:
    """Each command that a test runs is held to it (tests/support/plans.py)."""

    def report(verdict: str, *codes: str) -> str:
        return json.dumps({"routes": [{"verdict": verdict, "codes": codes}]})

    for code, out, err in (
        (2, "", "offramp: E-USAGE no such option"),
        (2, "", "offramp: E-ES-INDEX index a differs"),
        (3, report("failed", "E-ES-INDEX"), ""),  # A sync goes on without the route.
        (3, report("failed", "E-KEY-NOTDERIVABLE", "E-STOPPED"), ""),
        (3, report("failed", "E-SHELF-OWN"), ""),
        (3, "", "offramp: E-LEASE-HELD route a: another run"),
        (4, report("stopped", "E-REJECTS-BUDGET"), ""),
        (130, report("stopped", "E-STOPPED"), ""),
        (0, '{"routes": [{"route": "a"}]}', "10:11:12 copy 0 %"),
    ):
        assert contradictions(code, out, err) == []
    assert contradictions(3, "", "offramp: E-USAGE no such option") == [
        "E-USAGE ended with exit code 3, and explain knows it with [2] only"
    ]
    assert len(contradictions(2, "", "offramp: E-MADE-ANEW the target was deleted")) == 1
    assert len(contradictions(3, report("failed", "E-PLAN-ROUTE"), "")) == 1
    assert len(contradictions(0, report("rejects", "E-SRC-AUTH"), "")) == 1


def test_the_lease_of_another_run_is_told_as_what_it_is() -> None:
    """No store was asked again and again, and nothing stands at a checkpoint."""
    told = CliRunner().invoke(offramp, ["explain", "E-LEASE-HELD"]).output
    assert "Nothing was done to the route" in told
    assert "exit code 3" in told
    assert "retries" not in told


def test_an_effect_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="refused, rejected"):
        entry("refused ignored", "What.", "Do.")


def test_explain_tells_a_code_and_names_the_nearest_to_a_wrong_one() -> None:
    told = CliRunner().invoke(offramp, ["explain", "e-ddb-keys"])
    assert told.exit_code == 0
    assert told.output.startswith("E-DDB-KEYS: The table exists and has another key")
    assert "exit code 2" in told.output
    assert "Name another table" in told.output
    several = CliRunner().invoke(offramp, ["explain", "E-CENSUS"]).output.splitlines()
    assert several[1] == "what offramp did: one of these; the exit code says which"
    assert [line[:2] for line in several[2:4]] == ["- ", "- "]
    assert "exit code 4" in CliRunner().invoke(offramp, ["explain", "E-REJECTS-BUDGET"]).output
    assert "130" in CliRunner().invoke(offramp, ["explain", "E-STOPPED"]).output
    data = json.loads(CliRunner().invoke(offramp, ["explain", "E-ID-TYPE", "--json"]).output)
    assert set(data["effects"]) == {"refused", "rejected", "ended"} < set(EFFECTS)
    wrong = CliRunner().invoke(offramp, ["explain", "E-DDB-KEIS"])
    assert wrong.exit_code == 2
    assert "E-DDB-KEYS" in wrong.output


@pytest.mark.parametrize(
    ("name", "words"),
    [("E-DDB-KEYZ", "did you mean E-DDB-KEY, E-DDB-KEYS"), ("Q-ZZZZZZZZZ", "docs/errors.md lists them")],
)
def test_an_unknown_code_leads_to_those_that_are_known(name: str, words: str) -> None:
    done = CliRunner().invoke(offramp, ["explain", name])
    assert done.exit_code == 2
    assert words in done.output
    assert "one of docs" not in done.output
