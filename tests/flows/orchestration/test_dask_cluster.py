"""A Dask cluster that a run starts takes work from nobody but its run."""

from __future__ import annotations

import logging
import socket
import ssl
from urllib.parse import urlsplit

import pytest
from distributed import Client, LocalCluster
from prefect_servers import free_port

from flows.orchestration.dask_cluster import dask_cluster, local_cluster, quieten
from stores.errors import TransientError


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


def test_a_run_on_dask_starts_that_cluster_unless_the_plan_names_one(starts_server: None) -> None:
    with dask_cluster(2, None, lambda: False) as local:
        workers = [urlsplit(worker) for worker in local.workers()]
        assert {(worker.scheme, worker.hostname) for worker in workers} == {("tls", "127.0.0.1")}
        assert len(workers) == 2
    away = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(TransientError) as gone, dask_cluster(2, away, lambda: False, connect_within_s=1):
        pass
    assert gone.value.code == "E-CLUSTER-GONE"
    assert away in gone.value.message


def test_the_log_has_no_connections_and_no_dashboard_unless_it_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.batched")]
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
