"""A source that cannot be reached or entered: each cause by its name, with host and port and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from certificates import Authority
from pymongo import MongoClient
from tls_relay import saying, tls_relays

from flows.demo import servers
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.mongodb.configuration import Connection
from stores.mongodb.database import MongoDB

SECRET = "s3cr3t-word"
AWAY_S = 2.0
"""Long enough for a server under load to answer at all; what is wrong is known only then."""


@dataclass(frozen=True)
class Places:
    """Servers of every kind, by what is wrong with them."""

    authority: Authority
    folder: Path
    closed: int
    http: int
    redis: int
    mute: int
    tls: int
    other_host: int
    expired: int
    mutual: int
    plain: int


@pytest.fixture(scope="module")
def places(mongodb_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    upstream = urlsplit(mongodb_url).port or 0
    authority.certificate("client")
    (folder / "junk.pem").write_text("no certificate")
    with ExitStack() as running:
        begin = running.enter_context
        yield Places(
            authority,
            folder,
            closed=servers.free_port(),
            http=begin(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            redis=begin(saying(b"-ERR unknown command\r\n")),
            mute=begin(saying(b"")),
            **begin(tls_relays(upstream, authority)),
            plain=upstream,
        )


def refusal(uri: str, away_s: float = AWAY_S) -> OfframpError:
    def check() -> None:
        database = MongoDB(Connection(uri, "shop", retry_deadline_s=away_s))
        try:
            database.source("things").check()
        finally:
            database.close()

    with pytest.raises(OfframpError) as caught:
        check()
    assert SECRET not in str(caught.value)
    assert "@" not in str(caught.value)
    return caught.value


TLS = "tls=true&tlsCAFile={folder}/authority.pem"
LASTING, PASSING = PermanentError, TransientError


@pytest.mark.parametrize(
    ("uri", "kind", "code", "words"),
    [
        ("127.0.0.1:{closed}", PASSING, "E-SRC-AWAY", ["127.0.0.1:{closed}", "connection refused", "host and port"]),
        ("nosuch.invalid:27017", PASSING, "E-SRC-AWAY", ["nosuch.invalid:27017", "host name is unknown"]),
        ("127.0.0.1:{http}", LASTING, "E-SRC-SERVER", ["127.0.0.1:{http}", "no MongoDB"]),
        ("127.0.0.1:{redis}", LASTING, "E-SRC-SERVER", ["127.0.0.1:{redis}", "no MongoDB"]),
        ("127.0.0.1:{mute}", PASSING, "E-SRC-AWAY", ["127.0.0.1:{mute}", "closed the connection", "tls=true"]),
        ("127.0.0.1:{tls}", LASTING, "E-SRC-TLS", ["127.0.0.1:{tls}", "speaks TLS", "tls=true"]),
        ("127.0.0.1:{mutual}", LASTING, "E-SRC-TLS", ["127.0.0.1:{mutual}", "speaks TLS", "tls=true"]),
        (
            "127.0.0.1:{plain}/?tls=true",
            LASTING,
            "E-SRC-TLS",
            ["127.0.0.1:{plain}", "not speak TLS", "remove tls"],
        ),
        ("127.0.0.1:{http}/?tls=true", LASTING, "E-SRC-TLS", ["127.0.0.1:{http}", "does not speak TLS", "the port"]),
        ("127.0.0.1:{tls}/?tls=true", LASTING, "E-SRC-TLS", ["127.0.0.1:{tls}", "no authority", "tlsCAFile"]),
        ("localhost:{other_host}/?" + TLS, LASTING, "E-SRC-TLS", ["localhost:{other_host}", "another host name"]),
        ("127.0.0.1:{other_host}/?" + TLS, LASTING, "E-SRC-TLS", ["another host name", "as the certificate does"]),
        ("127.0.0.1:{expired}/?" + TLS, LASTING, "E-SRC-TLS", ["127.0.0.1:{expired}", "expired", "renew"]),
        ("127.0.0.1:{mutual}/?" + TLS, LASTING, "E-SRC-TLS", ["client certificate", "tlsCertificateKeyFile"]),
        ("127.0.0.1:{tls}/?tls=true&tlsCAFile=/no/ca.pem", PlanError, "E-SRC-URI", ["tlsCAFile", "No such file"]),
        ("127.0.0.1:{tls}/?tls=true&tlsCAFile={folder}/junk.pem", PlanError, "E-SRC-URI", ["tlsCAFile", "PEM"]),
        ("127.0.0.1:1/?tls=true&tlsCertificateKeyFile={folder}/server.pem", PlanError, "E-SRC-URI", ["and its key"]),
        ("127.0.0.1:1/?tls=true&tlsCertificateKeyFile=/no/c.pem", PlanError, "E-SRC-URI", ["tlsCertificateKeyFile"]),
    ],
)
def test_each_fault_of_a_connection_has_its_host_cause_and_remedy(
    places: Places, uri: str, kind: type[OfframpError], code: str, words: list[str]
) -> None:
    at, _, options = uri.partition("/?")
    began = time.monotonic()
    error = refusal(
        "mongodb://user:" + SECRET + "@" + at.format(**vars(places)) + "/?" + options.format(**vars(places))
    )
    assert (type(error), error.code) == (kind, code), error
    for word in words:
        assert word.format(**vars(places)) in error.message
    if kind is LASTING:  # Asked once: the retries for a description last longer.
        assert time.monotonic() - began < 15


def test_a_certificate_that_the_plan_trusts_is_taken(places: Places) -> None:
    for port, options in ((places.tls, ""), (places.mutual, f"&tlsCertificateKeyFile={places.folder}/client.both.pem")):
        uri = f"mongodb://127.0.0.1:{port}/?directConnection=true&{TLS.format(folder=places.folder)}{options}"
        database = MongoDB(Connection(uri, "shop"))
        assert database.facts([]).version
        database.close()


def test_another_replica_set_is_named(mongodb_url: str) -> None:
    error = refusal(f"{mongodb_url}?replicaSet=wrong", 5)
    assert (type(error), error.code) == (PermanentError, "E-SRC-SERVER")
    assert urlsplit(mongodb_url).netloc in error.message
    assert "'wrong'" in error.message
    assert "'secantus'" in error.message


def test_an_srv_name_without_a_record_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from dns import resolver

    def nothing(name: str, *_: object, **__: object) -> None:
        raise resolver.NXDOMAIN(qnames=[name], responses={})

    monkeypatch.setattr(resolver, "resolve", nothing)  # The real name service belongs to somebody else.
    error = refusal(f"mongodb+srv://user:{SECRET}@cluster0.nosuch.invalid/")
    assert (type(error), error.code) == (PermanentError, "E-SRC-SRV")
    assert "_mongodb._tcp.cluster0.nosuch.invalid" in error.message


def test_a_name_service_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from dns import resolver

    def nothing(name: str, *_: object, **__: object) -> None:
        raise resolver.LifetimeTimeout(timeout=1.0, errors=[])

    monkeypatch.setattr(resolver, "resolve", nothing)
    error = refusal("mongodb+srv://cluster0.nosuch.invalid/")
    assert (type(error), error.code) == (TransientError, "E-SRC-AWAY")
    assert "name service" in error.message


@pytest.fixture(scope="module")
def guarded(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host and port of a server with users: root, who may all, and outsider, who may nothing."""
    folder = tmp_path_factory.mktemp("guarded")
    with servers.mongodb(folder) as url:
        client: MongoClient[dict[str, object]] = MongoClient(url)
        client.admin.command("createUser", "root", pwd=SECRET, roles=["root"])
        client.admin.command("createUser", "outsider", pwd=SECRET, roles=[])
        client.shop.things.insert_one({})
        client.close()
    with servers.mongodb(folder, "--auth") as url:
        yield urlsplit(url).netloc


@pytest.mark.parametrize(
    ("login", "options", "words", "absent"),
    [
        (f"root:{SECRET}-not@", "", ["login", "password is wrong", "code 18"], ["role read"]),
        (f"nobody:{SECRET}@", "", ["user is unknown", "code 18"], ["role read"]),
        (f"root:{SECRET}@", "?authSource=shop", ["authSource", "code 18"], ["role read"]),
        ("", "", ["wants a login", "code 13"], ["role read"]),
        (f"outsider:{SECRET}@", "", ["for listCollections", "role read", "code 13"], ["password"]),
    ],
)
def test_a_wrong_login_and_a_missing_role_are_told_apart(
    guarded: str, login: str, options: str, words: list[str], absent: list[str]
) -> None:
    error = refusal(f"mongodb://{login}{guarded}/{options}")
    assert (type(error), error.code) == (PermanentError, "E-SRC-AUTH")
    for word in words:
        assert word in error.message
    for word in absent:
        assert word not in error.message


def test_the_right_login_is_let_in(guarded: str) -> None:
    database = MongoDB(Connection(f"mongodb://root:{SECRET}@{guarded}/", "shop"))
    assert database.source("things").estimate() == 1
    database.close()
