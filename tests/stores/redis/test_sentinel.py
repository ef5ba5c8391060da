"""A service that Sentinels watch: its server is found, and found again after a fail-over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from redis_relay import eventually, round_trips
from sentinels import SERVICE, sentinel

from mappers.redis.records import String
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.redis.sentinel import Service
from stores.redis.server_checks import transport_notes
from stores.redis.target import RedisTarget


@dataclass(frozen=True)
class Pair:
    """A primary, its replica, and the Sentinel that watches both."""

    primary: str
    replica: str
    sentinel: str

    @property
    def url(self) -> str:
        return f"redis-sentinel://{self.sentinel}/{SERVICE}"


@pytest.fixture
def pair(redis_server: Callable[..., str], tmp_path: Path) -> Iterator[Pair]:
    primary = redis_server()
    at = urlsplit(primary)
    replica = redis_server("--replicaof", f"{at.hostname} {at.port}")
    with redis.Redis.from_url(primary) as client:
        eventually(
            lambda: any("online" in str(each) for name, each in client.info("replication").items() if "slave" in name)
        )
    with sentinel(tmp_path, primary) as name:
        yield Pair(primary, replica, name)


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


def primary_port(pair: Pair) -> int:
    """Return the port of the server that the Sentinel takes for the primary."""
    with redis.Redis.from_url(f"redis://{pair.sentinel}", decode_responses=True) as client:
        answer = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(answer[1])


def watched_replicas(pair: Pair) -> int:
    with redis.Redis.from_url(f"redis://{pair.sentinel}", decode_responses=True) as client:
        return int(client.sentinel_masters()[SERVICE]["num-slaves"])


def test_the_server_that_takes_writes_is_written_to(pair: Pair, make: Callable[..., RedisTarget], unique: str) -> None:
    target = make(pair.url)
    target.check()
    round_trips(target, [String(f"{unique}:1", b"v")])
    with redis.Redis.from_url(pair.primary) as client:
        assert client.get(f"{unique}:1") == b"v"
    for word in (SERVICE, pair.sentinel):
        assert word in target.inspect_place().server


def test_a_fail_over_to_another_address_is_followed_and_nothing_is_lost(
    pair: Pair, make: Callable[..., RedisTarget], unique: str
) -> None:
    target = make(pair.url, deadline_s=60)
    eventually(lambda: watched_replicas(pair) == 1)
    records = [String(f"{unique}:{n}", b"v%d" % n) for n in range(2_000)]
    written = threading.Event()

    def write() -> None:
        for at in range(0, len(records), 50):
            assert target.write(records[at : at + 50]) == []
            if at == 500:
                written.set()

    writing = threading.Thread(target=write)
    writing.start()
    assert written.wait(20)
    with redis.Redis.from_url(pair.primary) as client, pytest.raises(redis.ConnectionError):
        client.execute_command("SHUTDOWN", "NOSAVE", "NOW", "FORCE")
    writing.join(60)
    assert not writing.is_alive()
    assert primary_port(pair) == port_of(pair.replica)
    assert len(target.read([record.address for record in records])) == len(records)


def test_a_service_without_a_server_is_waited_for(pair: Pair, make: Callable[..., RedisTarget], unique: str) -> None:
    for url in (pair.replica, pair.primary):
        with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", "NOSAVE", "NOW", "FORCE")
    with pytest.raises(TransientError) as caught:
        make(pair.url, deadline_s=1).write([String(f"{unique}:1", b"v")])
    assert caught.value.code == "E-RDS-UNREACHABLE"
    assert SERVICE in caught.value.message


@pytest.mark.parametrize(
    ("url", "kind", "code", "words"),
    [
        ("redis://{sentinel}", PlanError, "E-RDS-SENTINEL", ["is a Sentinel", "redis-sentinel://"]),
        ("redis-sentinel://{sentinel}/other", PlanError, "E-RDS-SENTINEL", ["'other'", SERVICE]),
        ("redis-sentinel://127.0.0.1:{plain}/x", PlanError, "E-RDS-SENTINEL", ["no Sentinel", "{plain}"]),
        ("redis-sentinel://127.0.0.1:9/things", TransientError, "E-RDS-UNREACHABLE", ["things", "127.0.0.1:9"]),
    ],
)
def test_what_is_wrong_with_a_service_is_told(
    redis_url: str,
    tmp_path: Path,
    make: Callable[..., RedisTarget],
    url: str,
    kind: type[OfframpError],
    code: str,
    words: list[str],
) -> None:
    with sentinel(tmp_path, redis_url) as name:
        names = {"sentinel": name, "plain": str(port_of(redis_url))}
        with pytest.raises(kind) as caught:
            make(url.format(**names), deadline_s=1).check()
    assert caught.value.code == code
    for word in words:
        assert word.format(**names) in caught.value.message


def test_sentinels_with_a_password_are_asked_with_it(
    redis_url: str, tmp_path: Path, make: Callable[..., RedisTarget], unique: str
) -> None:
    with sentinel(tmp_path, redis_url, "requirepass s3cr3t") as name:
        url = f"redis-sentinel://127.0.0.1:9,{name}/{SERVICE}"
        round_trips(make(url, connection={"sentinel_password": "s3cr3t"}), [String(f"{unique}:1", b"v")])
        for keys in ({}, {"sentinel_password": "wr0ng-word"}):
            with pytest.raises(PermanentError, match="sentinel_password") as caught:
                make(url, connection=keys).check()
            assert caught.value.code == "E-RDS-AUTH"
            assert "wr0ng-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "keys", "fault"),
    [
        ("redis-sentinel://a.example", {}, "url of a service is"),
        ("redis-sentinel:///things", {}, "url of a service is"),
        ("redis-sentinel://a.example:port/things", {}, "url of a service is"),
        ("redis-sentinel://a.example/things/x", {}, "url is not of the form"),
        ("redis-sentinel://a.example/things", {"cluster": True}, "cluster: no Sentinel"),
        ("redis://a.example", {"sentinel_password": "s3cr3t"}, "sentinel_password: is for"),
        ("redis-sentinel://a.example/things", {"ca_certs": "ca.pem"}, "ca_certs: is for TLS alone"),
    ],
)
def test_a_service_that_cannot_be_named_so_is_refused(
    make: Callable[..., RedisTarget], url: str, keys: dict[str, object], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        make(url, connection=keys)


def test_a_url_names_sentinels_service_login_and_database() -> None:
    service = Service.of("rediss-sentinel://ada:s%2F@a.example,[::1]:26380/things/3?ssl_check_hostname=false")
    assert service == Service(
        "things",
        (("a.example", 26379), ("::1", 26380)),
        "rediss://ada:s%2F@service/3?ssl_check_hostname=false",
    )
    assert Service.of("redis://a.example/0") is None


def test_the_way_to_sentinels_elsewhere_is_noted() -> None:
    (note,) = transport_notes("redis-sentinel://a.example:26379,b.example/things", "redis service things")
    assert "rediss-sentinel://" in note
    assert not list(transport_notes("rediss-sentinel://a.example,b.example/things", "redis service things"))
