"""The examples in config/kubernetes fit together, hold no secret, and let a worker stop at a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed.cli.dask_scheduler import main as scheduler
from distributed.cli.dask_worker import main as worker

FOLDER = Path(__file__).parents[2] / "config" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
DASK = [FOLDER / "dask.yaml", FOLDER / "dask-cluster.yaml"]
STOPS_WITHIN_S = 30
"""How long Dask waits for a job when it ends a worker."""


def documents(path: Path) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def pods(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the specification of each pod in a document."""
    if isinstance(value, Mapping):
        if "containers" in value:
            yield value
        for each in value.values():
            yield from pods(each)
    elif isinstance(value, list):
        for each in value:
            yield from pods(each)


def all_pods(path: Path) -> list[Mapping[str, Any]]:
    return [pod for document in documents(path) for pod in pods(document)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_yaml_whose_images_are_pinned_and_whose_mounts_are_there(path: Path) -> None:
    found = documents(path)
    assert all(found)
    assert {*re.findall(r"(?m)^ *image: (\S+)$", path.read_text())} == {f"registry.example/offramp@sha256:{'0' * 64}"}
    for pod in all_pods(path):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_holds_no_secret(path: Path) -> None:
    for pod in all_pods(path):
        for container in pod["containers"]:
            for variable in container["env"]:
                secret = re.search("TOKEN|PASSWORD|SECRET$", variable["name"])
                assert not (secret and "value" in variable), variable["name"]


@pytest.mark.parametrize("path", [*DASK, FOLDER / "ray-cluster.yaml"], ids=lambda path: path.name)
def test_workers_have_the_variables_of_the_plan_and_time_to_stop(path: Path) -> None:
    workers = [pod for pod in all_pods(path) if any("worker" in each["name"] for each in pod["containers"])]
    assert workers
    for pod in workers:
        assert pod["terminationGracePeriodSeconds"] > STOPS_WITHIN_S
        (container,) = pod["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "offramp-environment"}}]


@pytest.mark.parametrize("path", DASK, ids=lambda path: path.name)
def test_the_commands_of_dask_know_each_option_and_every_way_is_encrypted(path: Path) -> None:
    ports = set()
    for pod in all_pods(path):
        (container,) = pod["containers"]
        python, module, name, *arguments = container["args"]
        assert (python, module) == ("python", "-m")
        command = {"distributed.cli.dask_scheduler": scheduler, "distributed.cli.dask_worker": worker}[name]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        options = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        assert options <= known, options - known
        if command is worker:
            (address,) = [argument for argument in arguments if not argument.startswith("--")]
            assert address.startswith("tls://")
            ports.add(address.rpartition(":")[2])
        else:
            assert arguments[:2] == ["--protocol", "tls"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        assert environment["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"
        files = {value for name, value in environment.items() if "__TLS__" in name}
        assert files == {"/tls/ca.crt", "/tls/tls.crt", "/tls/tls.key"}
    assert ports == {"8786"}
