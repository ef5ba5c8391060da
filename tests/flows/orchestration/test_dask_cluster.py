"""A Dask cluster that a run starts takes work from nobody but its run."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

import pytest
from distributed import Client, LocalCluster
from prefect_dask.task_runners import DaskTaskRunner

from flows.orchestration.dask_cluster import local_cluster
from flows.orchestration.tasks import task_runner
from flows.plan.plan_keys import RunKeys


def test_a_local_cluster_takes_code_from_its_own_run_alone(starts_server: None) -> None:
    with LocalCluster(**local_cluster(1)) as cluster:
        with Client(cluster) as client:
            assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        address = urlsplit(cluster.scheduler_address)
        assert (address.scheme, address.hostname) == ("tls", "127.0.0.1")
        with pytest.raises(OSError), Client(f"tcp://{address.netloc}", timeout=2):
            pass
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anybody.check_hostname = False
        anybody.verify_mode = ssl.CERT_NONE
        stranger = socket.create_connection((address.hostname or "", address.port or 0), timeout=10)
        with stranger, pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
            anybody.wrap_socket(stranger).recv(1)


def test_a_run_on_dask_starts_that_cluster_unless_the_plan_names_one() -> None:
    local = task_runner(RunKeys(runner="dask", workers=3))
    named = task_runner(RunKeys(runner="dask", address="tls://scheduler:8786"))

    assert isinstance(local, DaskTaskRunner)
    assert (local.address, local.cluster_kwargs["n_workers"]) == (None, 3)
    assert local.cluster_kwargs["security"].require_encryption
    assert isinstance(named, DaskTaskRunner)
    assert (named.address, named.cluster_kwargs) == ("tls://scheduler:8786", {})
