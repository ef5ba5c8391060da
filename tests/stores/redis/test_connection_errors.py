"""A Redis behind TLS: each fault by its name and at once, client certificates with ACL users, and notes on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from certificates import Authority
from redis_relay import round_trips
from tls_relay import saying, tls_relays

from mappers.redis.records import Hash, Member, String
from stores.errors import OfframpError, PermanentError, TransientError
from stores.redis.server_checks import transport_notes
from stores.redis.target import RedisTarget

SECRET = "s3cr3t-word"
AWAY_S = 1.0


@dataclass(frozen=True)
class Places:
    """Servers of every kind, by what is wrong with them; a plain one at last."""

    folder: Path
    http: int
    mute: int
    tls: int
    other_host: int
    expired: int
    mutual: int
    plain: int


@pytest.fixture(scope="module")
def places(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    upstream = urlsplit(redis_url).port or 0
    authority.certificate("client")
    stranger = Authority(folder, "strangers")
    stranger.certificate("stranger")
    (folder / "junk.pem").write_text("no certificate")
    with ExitStack() as running:
        begin = running.enter_context
        yield Places(
            folder,
            http=begin(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            mute=begin(saying(b"")),
            **begin(tls_relays(upstream, authority)),
            plain=upstream,
        )


CA = "?ssl_ca_certs={folder}/authority.pem"
CLIENT = CA + "&ssl_certfile={folder}/client.pem&ssl_keyfile={folder}/client.key"
STRANGER = CA + "&ssl_certfile={folder}/stranger.pem&ssl_keyfile={folder}/stranger.key"


@pytest.mark.parametrize(
    ("url", "kind", "code", "words"),
    [
        ("rediss://127.0.0.1:{plain}", PermanentError, "E-RDS-TLS", ["127.0.0.1:{plain}", "not speak TLS", "redis://"]),
        ("rediss://127.0.0.1:{http}", PermanentError, "E-RDS-TLS", ["127.0.0.1:{http}", "does not speak TLS"]),
        ("rediss://127.0.0.1:{tls}", PermanentError, "E-RDS-TLS", ["127.0.0.1:{tls}", "no authority", "ca_certs"]),
        ("rediss://localhost:{other_host}" + CA, PermanentError, "E-RDS-TLS", ["another host name"]),
        ("rediss://127.0.0.1:{expired}" + CA, PermanentError, "E-RDS-TLS", ["expired", "clock"]),
        ("rediss://127.0.0.1:{mutual}" + CA, PermanentError, "E-RDS-TLS", ["client certificate", "client_cert"]),
        ("rediss://127.0.0.1:{mutual}" + STRANGER, PermanentError, "E-RDS-TLS", ["client certificate"]),
        (
            "rediss://127.0.0.1:{tls}?ssl_ca_certs=/no/ca.pem",
            PermanentError,
            "E-RDS-TLS",
            ["ca_certs", "does not exist"],
        ),
        (
            "rediss://127.0.0.1:{tls}?ssl_ca_certs={folder}/junk.pem",
            PermanentError,
            "E-RDS-TLS",
            ["a file of", "ca_certs"],
        ),
        ("redis://127.0.0.1:{tls}", PermanentError, "E-RDS-TLS", ["127.0.0.1:{tls}", "speaks TLS", "rediss://"]),
        ("redis://127.0.0.1:{mutual}", PermanentError, "E-RDS-TLS", ["127.0.0.1:{mutual}", "speaks TLS", "rediss://"]),
        ("redis://127.0.0.1:{mute}", TransientError, "E-RDS-UNREACHABLE", ["127.0.0.1:{mute}"]),
    ],
)
def test_each_fault_of_a_connection_has_its_host_cause_and_remedy(
    places: Places, make: Callable[..., RedisTarget], url: str, kind: type[OfframpError], code: str, words: list[str]
) -> None:
    # With so long a deadline the test only ends if what waiting does not help is not retried.
    deadline_s = AWAY_S if kind is TransientError else 3600
    target = make(url.format(**vars(places)).replace("//", f"//:{SECRET}@", 1), deadline_s=deadline_s)
    acts: list[Callable[[], object]] = [target.check, lambda: target.read(["x"])]
    if kind is PermanentError:
        acts.append(lambda: list(target.addresses()))
    for act in acts:
        with pytest.raises(OfframpError) as caught:
            act()
        assert (type(caught.value), caught.value.code) == (kind, code), caught.value
        assert SECRET not in str(caught.value)
        for word in words:
            assert word.format(**vars(places)) in caught.value.message


def test_a_user_of_an_acl_with_a_client_certificate_is_served(
    places: Places, make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    client.acl_setuser(
        unique,
        enabled=True,
        passwords=[f"+{SECRET}"],
        keys=[f"{unique}*", "offramp:*"],
        commands=["+@all", "-@admin", "-@dangerous", "+info", "+ping", "+command"],
    )
    target = make(f"rediss://{unique}:{SECRET}@127.0.0.1:{places.mutual}{CLIENT.format(folder=places.folder)}")
    assert target.check() == []
    target.prepare()
    round_trips(target, [String(f"{unique}:1", b"v"), Hash(f"{unique}:2", ((b"a", b"1"),))])
    assert sorted(target.addresses()) == [f"{unique}:1", f"{unique}:2"]
    target.delete([f"{unique}:1"])
    shared = make(
        f"rediss://{unique}:{SECRET}@127.0.0.1:{places.mutual}{CLIENT.format(folder=places.folder)}",
        key=f"{unique}-board",
        score="rating",
    )
    round_trips(shared, [Member(f"{unique}-board", "m", 1.0)])
    wrong = make(f"rediss://{unique}:not-{SECRET}@127.0.0.1:{places.mutual}{CLIENT.format(folder=places.folder)}")
    with pytest.raises(PermanentError) as refused:
        wrong.check()
    assert refused.value.code == "E-RDS-AUTH"
    client.acl_deluser(unique)


def certificates(folder: Path, **names: str) -> dict[str, str]:
    return {key: str(folder / name) for key, name in names.items()}


def test_certificates_are_keys_of_the_target(places: Places, make: Callable[..., RedisTarget], unique: str) -> None:
    files = certificates(places.folder, ca_certs="authority.pem", client_cert="client.pem", client_key="client.key")
    one = certificates(places.folder, ca_certs="authority.pem", client_cert="client.both.pem")
    for keys in (files, one):
        round_trips(make(f"rediss://127.0.0.1:{places.mutual}", connection=keys), [String(f"{unique}:1", b"v")])


@pytest.mark.parametrize(
    ("port", "names", "words"),
    [
        ("tls", {}, ["no authority", "set ca_certs"]),
        ("mutual", {"ca_certs": "authority.pem"}, ["demands a client certificate", "set client_cert and client_key"]),
        ("tls", {"ca_certs": "none.pem"}, ["ca_certs", "does not exist"]),
        ("tls", {"ca_certs": "junk.pem"}, ["ca_certs"]),
        ("mutual", {"ca_certs": "authority.pem", "client_cert": "client.pem", "client_key": "stranger.key"}, ["file"]),
    ],
)
def test_a_certificate_that_does_not_serve_is_told_by_its_key(
    places: Places, make: Callable[..., RedisTarget], port: str, names: dict[str, str], words: list[str]
) -> None:
    keys = certificates(places.folder, **names)
    with pytest.raises(PermanentError) as caught:
        make(f"rediss://127.0.0.1:{getattr(places, port)}", deadline_s=3600, connection=keys).check()
    assert caught.value.code == "E-RDS-TLS"
    assert "url" not in caught.value.message
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("url", "keys", "fault"),
    [
        ("redis://cache.example", {"ca_certs": "ca.pem"}, "ca_certs: is for TLS alone"),
        ("unix:///run/redis.sock", {"client_cert": "c.pem"}, "client_cert: is for TLS alone"),
        ("rediss://cache.example?ssl_ca_certs=ca.pem", {"ca_certs": "ca.pem"}, "ca_certs: `url` has ssl_ca_certs too"),
        ("rediss://cache.example", {"client_key": "c.key"}, "client_key: needs client_cert"),
    ],
)
def test_a_certificate_that_would_not_be_used_is_refused(
    make: Callable[..., RedisTarget], url: str, keys: dict[str, str], fault: str
) -> None:
    for cluster in (False, True) if not url.startswith("unix") else (False,):
        with pytest.raises(ValueError, match=fault):
            make(url, connection=keys | {"cluster": cluster})


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("redis://user:s3cr3t-word@cache.example:6379/0", "without TLS"),
        ("rediss://cache.example?ssl_cert_reqs=none", "not checked"),
        ("rediss://cache.example?ssl_check_hostname=false", "not checked"),
        ("rediss://cache.example", ""),
        ("redis://localhost:6379", ""),
        ("redis://127.0.0.1", ""),
        ("redis://", ""),
        ("unix:///run/redis.sock", ""),
    ],
)
def test_a_way_that_others_may_read_is_noted(url: str, word: str) -> None:
    notes = list(transport_notes(url, "redis at cache.example:6379/0"))
    assert len(notes) == (1 if word else 0)
    assert all(word in note and "cache.example" in note and SECRET not in note for note in notes)
