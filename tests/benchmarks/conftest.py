"""Servers of the benchmark; the package itself is in the repository alone, not in the wheel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Behind whatever is installed: the other packages are judged as they were installed.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.processes import serving

DOCUMENTS = 1_500


@pytest.fixture(scope="session")
def replayed(starts_server: None) -> Iterator[str]:
    """The URL of a source that replays 1,500 documents of 1 KB as `some`, and 12 of 10 KB as `large`."""
    with serving("benchmarks.replay", "0", f"some:1:{DOCUMENTS}", "large:10:12") as port:
        yield f"mongodb://127.0.0.1:{port}/"
