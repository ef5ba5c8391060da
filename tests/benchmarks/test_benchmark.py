"""The command itself: a run too small to mean anything, and the shape of what it prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from elasticsearch import Elasticsearch

from benchmarks.__main__ import main
from benchmarks.hand_out import WAYS, handing_out
from benchmarks.measurements import Series
from benchmarks.processes import Cost, run
from benchmarks.rig import LEGS, Documents, null_rig
from benchmarks.scale import scaling
from benchmarks.state_cost import state_cost
from stores.errors import PermanentError


@pytest.mark.server
@pytest.mark.process
def test_a_run_of_one_part_prints_it_as_json() -> None:
    small = ["--rounds", "1", "--documents", "40", "--kb", "1", "--leg", "redis_string"]
    arguments = ["--json", *small, "--part", "legs"]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert set(found) == {"machine", "legs", "startup"}
    (leg,) = found["legs"]
    named = {"leg", "document_kb", "script_us", "offramp_us", "ratio", "read_floor_us", "peak_mb", "script_peak_mb"}
    assert set(leg) == named
    assert (leg["leg"], leg["document_kb"]) == ("redis_string", 1)
    assert found["startup"][0]["offramp_s"] > 0.1


@pytest.mark.server
@pytest.mark.process
def test_one_process_is_compared_with_two() -> None:
    small = ["--rounds", "1", "--documents", "11", "--leg", "dynamodb", "--part", "processes"]
    found = json.loads(CliRunner().invoke(main, ["--json", *small], catch_exceptions=False).stdout)
    assert set(found["processes"]) == {"wall_speedup", "one_docs_s", "two_docs_s"}


@pytest.mark.server
@pytest.mark.process
def test_what_was_copied_into_a_keeping_sink_verifies_and_what_another_wrote_there_does_not(tmp_path: Path) -> None:
    some, leg = Documents(1, 30), LEGS["elasticsearch"]
    with null_rig(tmp_path, [some], [leg], keep=True) as rig:
        copy = rig.plan(leg, some)
        rig.backfill(copy)
        assert rig.verify(copy).peak_mb > 20
        alien = {"index": {"_index": copy.plan.parent.name, "_id": "alien"}}
        with Elasticsearch(rig.targets["elasticsearch"]) as client:
            client.bulk(operations=[alien, {}])
        with pytest.raises(PermanentError, match="failed"):
            rig.verify(copy)


@pytest.mark.server
@pytest.mark.process
def test_workers_of_a_cluster_are_compared_with_one_worker(tmp_path: Path) -> None:
    one, two = scaling(tmp_path, 1_200, 1, (1, 2))
    assert (one["workers"], one["ratio_to_linear"], two["workers"]) == (1, 1.0, 2)
    assert two["docs_s"] == pytest.approx(2 * one["docs_s"] * two["ratio_to_linear"], rel=0.05)
    assert 0 < one["own_cpu_percent"] <= one["cpu_percent"] + 5 <= 105
    assert one["transactions_s"] > 0
    assert 1 <= one["connections"] <= 32


@pytest.mark.server
@pytest.mark.process
def test_what_workers_cost_the_state_is_counted_by_its_server(tmp_path: Path) -> None:
    (row,) = state_cost(tmp_path, 4, (5,))
    assert (row["workers"], row["partitions"]) == (5, 21)
    assert row["transactions_s"] > 0
    assert row["state_kb"] > 100
    assert row["connections"] >= 5


def test_every_check_has_a_price() -> None:
    done = CliRunner().invoke(main, ["--json", "--part", "checks"], catch_exceptions=False)
    prices = json.loads(done.stdout)["checks"]
    assert all(set(row) == {"check", "us"} for row in prices)
    shown = CliRunner().invoke(main, ["--part", "checks"], catch_exceptions=False).stdout.splitlines()
    assert shown[1].split() == ["check", "us"]
    assert [line.rsplit(maxsplit=1)[0].strip() for line in shown[2:-1]] == [row["check"] for row in prices]


@pytest.mark.process
def test_a_cost_counts_children_and_its_own_peak_alone(tmp_path: Path) -> None:
    held = bytearray(150 * 2**20)  # What this process holds is no part of it.
    busy = "import subprocess,sys; subprocess.run([sys.executable,'-c','x=bytearray(60<<20); sum(range(10**7))'])"
    cost = run([sys.executable, "-c", busy])
    assert len(held) > 0
    assert 60 < cost.peak_mb < 120
    assert cost.cpu_s > 0.05


@pytest.mark.process
def test_a_command_that_fails_fails_the_measurement() -> None:
    with pytest.raises(PermanentError, match="so it goes"):
        run([sys.executable, "-c", "raise SystemExit('so it goes')"])


def test_figures_are_medians_of_pairs_with_start_up_taken_off() -> None:
    many = [Cost(cpu, cpu * 2, 100) for cpu in (1.0, 2.0, 9.0)]
    few = [Cost(0.5, 1.0, 10)] * 3
    series = Series(many, few)
    assert series.us(1_000_010) == pytest.approx(1.5)
    assert series.rate(1_000_010) == pytest.approx(1_000_000 / 3)
    assert (series.peak_mb, series.startup_s) == (100, 0.5)


@pytest.mark.server
@pytest.mark.process
def test_a_job_that_is_handed_out_costs_whoever_has_to_do_with_it(tmp_path: Path) -> None:
    rows = {row["way"]: row for row in handing_out(tmp_path, 30, 1)}
    assert tuple(rows) == WAYS
    threads, tasks, on_dask = rows.values()
    assert 0 <= threads["coordinator_ms"] < min(tasks["coordinator_ms"], on_dask["coordinator_ms"])
    assert min(tasks["prefect_ms"], on_dask["prefect_ms"], on_dask["scheduler_ms"]) > 0
