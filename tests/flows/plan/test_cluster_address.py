"""A cluster elsewhere needs a state that other machines can reach, and a way to it that nobody else can use."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.plan.cluster_address import address_fault, address_notes, host_of, workers_fault
from flows.plan.load import load
from stores.errors import PlanError

pytestmark = pytest.mark.usefixtures("starts_server")  # The table of routes is asked as if something were sent.

FILE = "sqlite:////var/lib/offramp/state.db"
SERVER = "postgresql://offramp@db.example/offramp"
AWAY = "203.0.113.7"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("tcp://scheduler:8786", "scheduler"),
        ("tls://[2001:db8::7]:8786", "2001:db8::7"),
        ("ray://head:10001", "head"),
        ("10.0.0.5:6379", "10.0.0.5"),
        ("scheduler:8786", "scheduler"),
        ("auto", ""),
        ("local", ""),
        ("inproc://10.0.0.5/1/2", ""),
    ],
)
def test_the_host_of_an_address_is_read_in_each_form(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize("address", [f"tcp://{AWAY}:8786", f"tls://{AWAY}:8786", f"ray://{AWAY}:10001", AWAY])
def test_a_file_as_state_serves_no_cluster_of_another_machine(address: str) -> None:
    why = address_fault(address, FILE)
    assert why is not None
    assert AWAY in why
    assert "postgresql://" in why
    assert "docs/workers.md" in why
    assert address_fault(address, SERVER) is None


def test_such_a_plan_is_refused_with_what_to_do_before_anything_is_written(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        'source: {uri: "mongodb://h", database: shop}\n'
        f'run: {{runner: dask, address: "tcp://{AWAY}:8786"}}\n'
        'targets: {redis: {url: "redis://h"}}\n'
        "routes: {sessions: {use_case: session}}\n"
    )
    with pytest.raises(PlanError) as refused:
        load(plan)
    assert f"2: run.address: {AWAY} is another machine" in refused.value.message
    assert [*tmp_path.iterdir()] == [plan]
    plan.write_text(f"{plan.read_text()}state: {SERVER}\n")
    assert load(plan).run.address == f"tcp://{AWAY}:8786"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "ray://localhost:10001", "auto", "tls://[::1]:8786"])
def test_a_file_as_state_serves_a_cluster_of_this_machine(address: str) -> None:
    assert address_fault(address, FILE) is None


def test_a_scheduler_of_this_machine_may_have_workers_elsewhere() -> None:
    assert workers_fault(["127.0.0.1", "::1"]) is None
    why = workers_fault(["127.0.0.1", AWAY, AWAY])
    assert why is not None
    assert why.count(AWAY) == 1
    assert "postgresql://" in why


def test_a_way_without_tls_to_another_machine_is_noted() -> None:
    for address in (f"tcp://{AWAY}:8786", f"{AWAY}:8786", f"ray://{AWAY}:10001"):
        (note,) = address_notes(address, {})
        assert AWAY in note
        assert "without TLS" in note
    for encrypted in (None, f"tls://{AWAY}:8786", f"wss://{AWAY}:8786", "tls://127.0.0.1:8786"):
        assert not [*address_notes(encrypted, {})]


def test_a_cluster_of_this_machine_that_every_user_may_use_is_noted() -> None:
    for address in ("tcp://127.0.0.1:8786", "localhost:8786", "ray://[::1]:10001", "auto"):
        (note,) = address_notes(address, {})
        assert "every user of this machine can run code on its workers" in note
    for address, notes in (("auto", 0), ("ray://127.0.0.1:10001", 0), ("tcp://127.0.0.1:8786", 1)):
        assert len([*address_notes(address, {"RAY_AUTH_MODE": "token"})]) == notes
