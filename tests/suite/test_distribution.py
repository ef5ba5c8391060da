"""How the tests are shared out to processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distribution import FIRST, MOST_WORKERS, put_longest_first, worker_count

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("name", FIRST)
def test_what_begins_first_is_there(name: str) -> None:
    assert (TESTS / name).exists()


def test_the_longest_files_begin_first_and_the_others_keep_their_order() -> None:
    files = ["suite/test_b.py", "suite/test_a.py", "program/test_a.py", FIRST[1], "program/test_b.py", FIRST[0]]
    items: list[Any] = [SimpleNamespace(path=TESTS / file) for file in files]
    put_longest_first(items, TESTS)
    expected = [FIRST[0], FIRST[1], "program/test_a.py", "program/test_b.py", "suite/test_b.py", "suite/test_a.py"]
    assert [str(item.path.relative_to(TESTS)) for item in items] == expected


@pytest.mark.parametrize(
    ("processors", "markers", "workers"),
    [(1, "not soak", 2), (2, "not soak", 4), (8, "not soak", MOST_WORKERS), (2, "not server and not process", 2)],
)
def test_tests_that_wait_have_two_workers_for_each_processor(
    processors: int, markers: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(processors)), raising=False)
    config: Any = SimpleNamespace(args=["tests"], option=SimpleNamespace(markexpr=markers))
    assert worker_count(config) == workers


def test_a_single_file_is_run_by_no_worker() -> None:
    config: Any = SimpleNamespace(args=[f"{__file__}::test_one"], option=SimpleNamespace(markexpr=""))
    assert worker_count(config) == 0
