"""A few iterations of the soak on its own servers, and what it says of faults that are planted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.histories import iterate
from chaos.plans import Case, Scope
from chaos.readers import Readers
from chaos.stand import Stand, started

pytestmark = pytest.mark.process

CALM = Scope(
    targets=("redis",), runners=("threads",), most_documents=40, disturbances=("none",), most_steps=0, variants=False
)


@pytest.fixture(scope="module")
def stand(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with started(tmp_path_factory.mktemp("stand")) as stand:
        yield stand


@pytest.mark.parametrize("seed", [11])
def test_an_iteration_with_kills_and_faults_ends_right(seed: int, stand: Stand, tmp_path: Path) -> None:
    kinds = ("SIGKILL", "SIGTERM", "reset", "cut", "throttle", "refuse")
    scope = Scope(
        runners=("threads",), most_documents=300, disturbances=kinds, steps=("sync",), most_steps=1, variants=False
    )
    result = iterate(stand, scope, seed, tmp_path)
    assert result.findings == {}
    assert result.verdict in ("clean", "told")


def remove_one_key(readers: Readers, case: Case) -> None:
    for key in readers.nodes[0].scan_iter(match=f"{case.database}-*"):
        readers.nodes[0].delete(key)
        return


def test_a_record_that_is_lost_behind_the_program_is_found(stand: Stand, tmp_path: Path) -> None:
    result = iterate(stand, Scope(**vars(CALM) | {"meddle": remove_one_key}), 30, tmp_path)
    assert result.verdict == "WRONG"
    assert (tmp_path / "seed-30" / "plan.yaml").is_file(), "the folder of a finding stays"


def leave_out_a_field(plan: dict[str, Any]) -> None:
    for route in plan["routes"].values():
        route.pop("transforms", None)
        route["fields"] = {"drop": ["v"]}


def test_a_mapping_that_is_not_what_was_meant_is_found(stand: Stand, tmp_path: Path) -> None:
    result = iterate(stand, Scope(**vars(CALM) | {"edit": leave_out_a_field}), 30, tmp_path)
    assert result.verdict == "WRONG"
