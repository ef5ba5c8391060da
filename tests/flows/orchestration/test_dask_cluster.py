"""A Dask cluster that a run starts takes work from nobody but its run."""

from __future__ import annotations

import logging
import socket
import ssl
from urllib.parse import urlsplit

import pytest
from distributed import Client, LocalCluster
from prefect_dask.task_runners import DaskTaskRunner

from flows.orchestration.dask_cluster import local_cluster, quieten
from flows.orchestration.task_runners import task_runner
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


def test_the_log_has_no_connections_and_no_dashboard_unless_it_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.batched", "prefect.task_runner.dask")]
    before = [logger.level for logger in loggers]
    try:
        with caplog.at_level(logging.INFO, "flows"):
            logging.getLogger("distributed").setLevel(logging.INFO)
            quieten()
            assert loggers[1].isEnabledFor(logging.INFO)
        quieten()
        assert not any(logger.isEnabledFor(logging.INFO) for logger in loggers)
        assert loggers[1].isEnabledFor(logging.WARNING)
        quieten(logging.ERROR)
        assert not loggers[1].isEnabledFor(logging.WARNING)
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
