"""Names and ids that someone wrote to be obeyed by a terminal: no command prints them but as escapes, on their line."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plans import Finished, Stores, offramp, write_plan
from pymongo.database import Database
from redis import Redis

HOSTILE = "x\x1b[2J\x1b]8;;http://evil\x07\u202e\u200b\nverdict clean: 1 routes\r\x9bm[/red]<b>"

Command = Callable[..., Finished]


def lines_that_deceive(text: str) -> list[str]:
    """Return the lines that hold what a terminal obeys or hides, or that someone else's text began."""
    return [
        line
        for line in text.split("\n")
        if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in line)
        or line.startswith("verdict clean: 1 routes\\r")
    ]


@pytest.fixture
def path(mongodb_url: str, redis_url: str, database: Database[dict[str, Any]], unique: str, tmp_path: Path) -> Path:
    """A plan of one route, its name and its collection hostile, whose documents and records have hostile ids."""
    collection = HOSTILE.replace("\x00", "")
    database[collection].insert_many(
        [{"_id": f"{n}{HOSTILE}", "name": f"n{n}"} for n in range(4)] + [{"_id": f"{HOSTILE}nameless"}]
    )
    route = {"use_case": "cache", "collection": collection, "key": f"{unique}:{{name}}:{{_id}}", "sync": "rescan"}
    stores = Stores(mongodb_url, redis_url, "", "")
    return write_plan(tmp_path, stores, database.name, {f"r{HOSTILE}": route}, name=f"p{HOSTILE}"[:20])


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return lambda *arguments: offramp(*arguments, folder=tmp_path)


def test_no_command_prints_what_a_terminal_obeys(path: Path, command: Command, redis_url: str, unique: str) -> None:
    report = ("--report", path.parent / "report")

    def damage() -> None:
        with Redis.from_url(redis_url) as redis:
            first, second, *_ = sorted(redis.scan_iter(f"{unique}:*"))
            redis.set(first, "damaged")
            redis.delete(second)
            redis.set(f"{unique}:extra\x1b[2J\xff", "extra")

    runs: list[Callable[[], None] | tuple[str | Path, ...]] = [
        ("check", path),
        ("-v", "backfill", path, *report),
        ("status", path),
        ("sync", path, *report),
        damage,
        ("verify", path, "--show-values", *report),
        ("verify", path, "--level", "sample", *report),
        ("verify", path, "--route", HOSTILE, *report),
        ("rejects", "list", path),
        ("rejects", "show", path),
        ("rejects", "retry", path),
        ("rejects", "export", path, "--out", path.parent / f"rejects{HOSTILE[:2]}.ndjson"),
        ("rejects", "drop", path, "--all", "--reason", HOSTILE, "--by", HOSTILE),
        ("rejects", "list", path, "--accepted"),
        ("repair", path, "--dry-run"),
        ("repair", path, "--delete-extras", "--all"),
        ("verify", path, *report),
        ("report", path, "--out", path.parent / "report"),
        ("deploy", path, "--yaml"),
        ("deploy", path, "--sync-every", HOSTILE),
        ("explain", HOSTILE),
        ("explain", "E-PLAN"),
        ("backfill", path, f"--{HOSTILE}"),
        ("check", path.parent / f"none{HOSTILE[:2]}"),
    ]
    shown = ""
    for run in runs:
        if callable(run):
            run()
            continue
        finished = command(*run)
        assert not lines_that_deceive(finished.out), run
        assert not lines_that_deceive(finished.err), run
        assert "E-INTERNAL" not in finished.err, run
        shown += finished.out + finished.err
    assert r"x\x1b[2J\x1b]8;;http://evil\x07\u202e\u200b\nverdict clean: 1 routes\r\x9bm[/red]<b>" in shown


def test_json_stays_json(path: Path, command: Command) -> None:
    for arguments in (("check", path), ("backfill", path), ("status", path), ("rejects", "list", path)):
        out = command(*arguments, "--json").out
        assert out.isascii()
        assert json.loads(out)
        assert json.dumps(HOSTILE)[1:-1] in out


def test_a_fault_of_the_plan_is_a_line(path: Path, command: Command) -> None:
    path.write_text(
        path.read_text() + '\n"k\\e[2J\\nverdict clean: 1 routes": 1\n"m\\u202e": "n\\nverdict clean"\n',
        encoding="utf-8",
    )
    finished = command("check", path)
    assert finished.code == 2
    assert not lines_that_deceive(finished.err)
    assert [line[:2] for line in finished.err.splitlines()[1:]] == ["  "] * (len(finished.err.splitlines()) - 1)
    assert r"k\x1b[2J\nverdict clean" in finished.err


@pytest.mark.parametrize("command", [(), ("rejects",)])
def test_help_in_place_of_a_command_keeps_its_lines(command: tuple[str, ...], tmp_path: Path) -> None:
    ended = offramp(*command, folder=tmp_path)
    assert ended.code == 2
    assert ended.err.startswith("Usage: offramp")
    assert "\\n" not in ended.err
    assert len(ended.err.splitlines()) > 5
