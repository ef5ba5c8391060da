"""A Dask cluster that a run starts takes work from nobody but its run."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from distributed import Client, LocalCluster
from prefect_servers import free_port

from flows.orchestration.dask_cluster import dask_cluster, local_cluster, quieten
from stores.errors import TransientError


def test_a_local_cluster_takes_code_from_its_own_run_alone(starts_server: None, tmp_path: Path) -> None:
    with LocalCluster(**local_cluster(1, str(tmp_path))) as cluster:
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


def test_nobody_else_can_put_a_module_before_those_of_a_run(
    starts_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask's own folder for workers has a name that is known before, in a folder that every user may write to."""
    shared = tmp_path / "shared"
    (shared / "dask-scratch-space").mkdir(parents=True)
    (shared / "dask-scratch-space").chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(shared))

    with dask_cluster(1, None, lambda: False):
        assert not [path for path in sys.path if path.startswith(str(shared / "dask-scratch-space"))]
        (worker,) = shared.glob("**/worker-*/")
        modes = {shared / name: (shared / name).stat().st_mode & 0o777 for name in worker.relative_to(shared).parts[:1]}
    assert list(modes.values()) == [0o700]
    assert not any(folder.exists() for folder in modes)


def test_a_local_cluster_shows_nothing_to_a_browser(starts_server: None) -> None:
    with dask_cluster(1, None, lambda: False):
        of_run = [psutil.Process(), *psutil.Process().children(recursive=True)]
        ports = {
            at.laddr.port
            for process in of_run
            for at in process.net_connections("tcp")
            if at.status == psutil.CONN_LISTEN
        }
        shown = [path for port in ports for path in ("info/main/workers.html", "metrics") if answers(port, path)]
    assert shown == []


def answers(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=10, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


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
