"""A site: a host for each store, for the state's database, the scheduler, three workers, and the one who judges."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from certificates import Authority
from chaos.commands import Running
from chaos.readers import Readers
from prefect_servers import ASK_EVERY_S, answers
from waiting import until

from hosts.host import Host
from hosts.network import Network
from hosts.postgresql import PASSWORD, PostgreSQL
from hosts.serving import CERTIFICATE, PORTS, READY
from hosts.witness import Witness

WORKERS = ("worker-1", "worker-2", "worker-3")
_AHEAD_S = {"worker-1": 90, "worker-2": -90, "worker-3": 0}
"""How far the workers' clocks are ahead of the database's: those of real machines are never the same."""
TARGETS = ("redis", "dynamodb", "elasticsearch")
_SUPPORT = Path(__file__).parents[1]
_BYTES_PER_S = 500_000
ENVIRONMENT = {
    "MONGODB_URL": f"mongodb://source:{PORTS['mongodb']}/?directConnection=true",
    "REDIS_URL": f"redis://redis:{PORTS['redis']}/0",
    "DYNAMODB_ENDPOINT": f"https://dynamodb:{PORTS['dynamodb']}",
    "ELASTICSEARCH_URL": f"http://elasticsearch:{PORTS['elasticsearch']}",
    "STATE_PASSWORD": PASSWORD,
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_CA_BUNDLE": "/srv/authority.pem",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_HOME": "/srv/prefect",
    "DO_NOT_TRACK": "1",
    # A host that lost its power ends no connection: Dask waits for it, by default half a minute, at the least 11 s.
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "RAY_grpc_client_keepalive_time_ms": "5000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
}
"""What the plan's variables are at every host that runs a part of the program."""


class Site:
    """The hosts, and what runs on each."""

    def __init__(self, network: Network, folder: Path) -> None:
        """Start every store and the database; no scheduler and no worker runs yet. Certificates are in the folder."""
        self.network = network
        self._authority = Authority(folder)
        serving = [self._serve("source", "mongodb"), *(self._serve(name, name) for name in TARGETS)]
        self.database = PostgreSQL(network.add("database"))
        self.judge = network.add("judge")
        for running in serving:
            until(partial(_prints, running.out, READY), "store that answers", running.err)
        self.witnesses = {name: Witness.of(network.hosts[name]) for name in TARGETS}

    def host(self, name: str) -> Host:
        """Return the host of this name."""
        return self.network.hosts[name]

    def run(self, host: Host, *arguments: str, log: str, environment: Mapping[str, str] | None = None) -> Running:
        """Start a Python program on a host."""
        shutil.copy(self._authority.file, host.folder)
        own = {**ENVIRONMENT, "PYTHONPATH": str(_SUPPORT), **(environment or {})}
        return host.start(sys.executable, *arguments, log=log, environment=own)

    @contextmanager
    def readers(self) -> Iterator[Readers]:
        """Yield readers of all stores, by connections of the judge's host."""
        at = {name: f"{self.host(name).address}:{PORTS[name]}" for name in TARGETS}
        source = f"mongodb://{self.host('source').address}:{PORTS['mongodb']}/?directConnection=true"
        with self.judge.entered(), ExitStack() as closing:
            readers = Readers(
                source,
                [f"redis://{at['redis']}/0"],
                f"https://{at['dynamodb']}",
                f"http://{at['elasticsearch']}",
                authority=self._authority.file,
            )
            closing.callback(readers.close)
            yield readers

    def _serve(self, name: str, server: str) -> Running:
        host = self.network.add(name)
        if server == "dynamodb":
            made = self._authority.certificate("server", hosts=[name, host.address])
            shutil.copy(made.certificate, host.folder / CERTIFICATE.certificate)
            shutil.copy(made.key, host.folder / CERTIFICATE.key)
        return self.run(host, "-m", "hosts.serving", server, str(_BYTES_PER_S), log="serving")


PREFECT = {"PREFECT_API_URL": "http://prefect:4200/api"}
"""What else a host needs whose command is a run of Prefect."""


class PrefectServer:
    """The Prefect server, on a host of its own: the runs of all tests are on one."""

    def __init__(self, site: Site) -> None:
        """Start it; it answers."""
        host = site.network.add("prefect")
        start = ("prefect", "server", "start", "--host", "0.0.0.0", "--port", "4200")
        running = site.run(host, "-m", *start, log="prefect")
        with site.judge.entered():
            answering = partial(answers, f"http://{host.address}:4200/api/health")
            until(answering, "Prefect server that answers", running.err, limit_s=120, every_s=ASK_EVERY_S)


class Cluster(Protocol):
    """Workers on hosts of their own."""

    run: Mapping[str, str]
    """The keys of a plan's `run` that lead to them."""

    def begin(self, name: str) -> Host:
        """The host of a worker that was lost begins again; its worker is ready."""


class DaskCluster:
    """A scheduler and three workers, each on a host of its own."""

    run: Mapping[str, str] = MappingProxyType({"runner": "dask", "address": "tcp://scheduler:8786"})

    def __init__(self, site: Site) -> None:
        """Start them; all workers are ready."""
        self._site = site
        at = ("--host", "0.0.0.0", "--port", "8786", "--no-dashboard", "--no-show")
        self._dask(site.network.add("scheduler"), "scheduler", *at)
        begun = [self._begun(name) for name in WORKERS]
        for running in begun:
            self._ready(running)

    def begin(self, name: str) -> Host:
        """A worker's host begins, or begins again; its worker is ready."""
        self._ready(self._begun(name))
        return self._site.host(name)

    def _begun(self, name: str) -> Running:
        host = self._site.network.add(name, ahead_s=_AHEAD_S[name])
        alone = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", "/srv/dask")
        return self._dask(host, "worker", self.run["address"], "--host", host.address, *alone)

    def _dask(self, host: Host, *arguments: str) -> Running:
        return self._site.run(host, "-m", "dask", *arguments, log=arguments[0])

    def _ready(self, running: Running) -> None:
        until(partial(_prints, running.err, "Registered to"), "worker that is ready", running.err)


class RayCluster:
    """A head without work of its own and three workers, each on a host of its own."""

    run: Mapping[str, str] = MappingProxyType({"runner": "ray", "address": "ray://ray-head:10001"})

    def __init__(self, site: Site) -> None:
        """Start them; all workers are ready."""
        self._site = site
        alone = ("--port", "6379", "--ray-client-server-port", "10001", "--include-dashboard", "false")
        self._head = site.network.add("ray-head")
        self._ready(self._ray(self._head, "--head", "--num-cpus", "0", *alone))
        begun = [self._begun(name) for name in WORKERS]
        for running in begun:
            self._ready(running)

    def begin(self, name: str) -> Host:
        """A worker's host begins, or begins again; its worker is ready."""
        self._ready(self._begun(name))
        return self._site.host(name)

    def _begun(self, name: str) -> Running:
        return self._ray(self._site.network.add(name), "--address", f"{self._head.address}:6379", "--num-cpus", "1")

    def _ray(self, host: Host, *arguments: str) -> Running:
        folders = ("--temp-dir", "/srv/ray") if "--head" in arguments else ()
        limits = ("--object-store-memory", "80000000", "--disable-usage-stats", "--block")
        start = ("start", "--node-ip-address", host.address, *arguments, *folders, *limits)
        return self._site.run(host, "-m", "ray.scripts.scripts", *start, log="ray")

    def _ready(self, running: Running) -> None:
        until(partial(_prints, running.out, "Ray runtime started"), "Ray that is ready", running.err, limit_s=180)


def _prints(output: Path, text: str) -> bool:
    return text in output.read_text()
