"""A cluster that cannot be reached or entered: each cause by its name, with host and port and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from certificates import Authority
from http_servers import Reply, Request, serving
from tls_relay import saying, tls_relays

from flows.demo import servers
from stores.aws import session
from stores.elasticsearch.configuration import Connection, Placement
from stores.elasticsearch.faults import Fault
from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import OfframpError, PlanError

SECRET = "s3cr3t-word"
AWAY_S = 0.2


@dataclass(frozen=True)
class Places:
    """Servers of every kind, by what is wrong with them."""

    folder: Path
    closed: int
    mute: int
    redis: int
    tls: int
    other_host: int
    expired: int
    mutual: int
    plain: int


@pytest.fixture(scope="module")
def places(elasticsearch_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    upstream = urlsplit(elasticsearch_url).port or 0
    authority.certificate("client")
    (folder / "junk.pem").write_text("no certificate")
    with ExitStack() as running:
        begin = running.enter_context
        yield Places(
            folder,
            closed=servers.free_port(),
            mute=begin(saying(b"")),
            redis=begin(saying(b"-ERR unknown command\r\n")),
            **begin(tls_relays(upstream, authority)),
            plain=upstream,
        )


def refusal(url: str, **keys: Any) -> OfframpError:
    connection = Connection(url, retry_deadline_s=AWAY_S, **keys)
    with (
        closing(ElasticsearchTarget(connection, Placement(), "orders")) as target,
        pytest.raises(OfframpError) as caught,
    ):
        target.check()
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("url", "keys", "code", "words"),
    [
        (
            "http://127.0.0.1:{closed}",
            {},
            "E-ES-AWAY",
            ["127.0.0.1:{closed}", "nothing listens on this port; tried again until", "`url`"],
        ),
        ("http://nosuch.invalid:9200", {}, "E-ES-AWAY", ["nosuch.invalid:9200", "host name is unknown"]),
        ("http://127.0.0.1:{mute}", {}, "E-ES-AWAY", ["127.0.0.1:{mute}", "closed the connection", "https"]),
        ("http://127.0.0.1:{redis}", {}, "E-ES-AWAY", ["127.0.0.1:{redis}", "leads to the cluster"]),
        ("http://127.0.0.1:{tls}", {}, "E-ES-TLS", ["127.0.0.1:{tls}", "speaks TLS", "https://"]),
        ("http://127.0.0.1:{mutual}", {}, "E-ES-TLS", ["127.0.0.1:{mutual}", "speaks TLS", "https://"]),
        ("https://127.0.0.1:{plain}", {}, "E-ES-TLS", ["127.0.0.1:{plain}", "does not speak TLS", "http://"]),
        ("https://127.0.0.1:{redis}", {}, "E-ES-TLS", ["127.0.0.1:{redis}", "does not speak TLS", "http://"]),
        ("https://127.0.0.1:{tls}", {}, "E-ES-TLS", ["127.0.0.1:{tls}", "no authority", "`ca_certs`"]),
        ("https://localhost:{other_host}", {"ca_certs": "authority.pem"}, "E-ES-TLS", ["another host name"]),
        ("https://127.0.0.1:{expired}", {"ca_certs": "authority.pem"}, "E-ES-TLS", ["expired", "clock"]),
        ("https://127.0.0.1:{mutual}", {"ca_certs": "authority.pem"}, "E-ES-TLS", ["`client_cert`"]),
        ("https://127.0.0.1:{tls}", {"ca_certs": "absent.pem"}, "E-ES-TLS", ["ca_certs", "No such file"]),
        ("https://127.0.0.1:{tls}", {"ca_certs": "junk.pem"}, "E-ES-TLS", ["ca_certs", "PEM"]),
        ("https://127.0.0.1:{tls}", {"client_cert": "server.pem"}, "E-ES-TLS", ["client_cert", "PEM"]),
    ],
)
def test_each_fault_of_a_connection_has_its_host_cause_and_remedy(
    places: Places, url: str, keys: Mapping[str, str], code: str, words: list[str]
) -> None:
    files = {name: str(places.folder / file) for name, file in keys.items()}
    error = refusal(url.format(**vars(places)).replace("//", f"//user:{SECRET}@"), **files)
    assert (type(error), error.code) == (PlanError if code == "E-ES-TLS" else type(error), code), error
    for word in words:
        assert word.format(**vars(places)) in error.message


def test_a_client_certificate_opens_a_cluster_that_demands_one(places: Places) -> None:
    for files in (
        {"client_cert": "client.pem", "client_key": "client.key"},
        {"client_cert": "client.both.pem"},
    ):
        named: dict[str, Any] = {name: str(places.folder / file) for name, file in files.items()}
        connection = Connection(
            f"https://127.0.0.1:{places.mutual}", ca_certs=str(places.folder / "authority.pem"), **named
        )
        with closing(ElasticsearchTarget(connection, Placement(replicas=1), "orders")) as target:
            assert target.check() == ()


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"url": "http://h", "client_cert": "c"}, "https"),
        ({"client_key": "k"}, "client_cert"),
        ({"client_cert": "c", "verify_certs": False}, "verify_certs"),
    ],
)
def test_a_client_certificate_that_cannot_be_used_is_refused(keys: Mapping[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ElasticsearchTarget(Connection(**{"url": "https://h", **keys}), Placement(), "orders")


ELASTIC = f"action [indices:data/write/bulk[s]] is unauthorized for user [{SECRET}] on indices [{SECRET}]"
OPENSEARCH = f"no permissions for [indices:admin/create] and User [name={SECRET}, backend_roles=[]]"


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (401, {"error": {"type": "security_exception", "reason": SECRET}}, ["login is refused", "api_key"]),
        (401, "Unauthorized", ["login is refused"]),
        (403, {"error": {"type": "security_exception", "reason": ELASTIC}}, ["indices:data/write/bulk[s] is not"]),
        (403, {"error": {"type": "security_exception", "reason": OPENSEARCH}}, ["indices:admin/create is not"]),
        (403, {"Message": "User: x is not authorized to perform: es:ESHttpPut because no"}, ["es:ESHttpPut is not"]),
        (403, {"message": "The request signature we calculated does not match"}, ["secret key is wrong", "clock"]),
        (403, {"message": "The security token included in the request is expired"}, ["session token has expired"]),
        (403, {"message": SECRET}, ["not allowed", "docs/permissions.md"]),
    ],
)
def test_a_refused_login_and_a_missing_privilege_are_told_apart(status: int, answer: Any, words: list[str]) -> None:
    def refuse(_: Request) -> Reply:
        body = answer if isinstance(answer, str) else json.dumps(answer)
        return Reply(status, body.encode())

    with serving(refuse) as url:
        error = refusal(url)
    assert (type(error), error.code) == (PlanError, "E-ES-AUTH")
    for word in words:
        assert word in error.message


def test_the_text_of_a_fault_quotes_no_login() -> None:
    fault = Fault.of(403, {"type": "security_exception", "reason": ELASTIC})
    assert SECRET not in fault.error("http://h").message


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, ["no AWS credentials"]),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}, ["/no/token"]),
        ({"AWS_ACCESS_KEY_ID": "AKIATEST"}, ["AWS_SECRET_ACCESS_KEY"]),
    ],
    ids=["none", "no token", "half"],
)
def test_credentials_to_sign_with_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: Mapping[str, str], words: list[str]
) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", **variables}.items():
        monkeypatch.setenv(name, value)
    session.cache_clear()
    error = refusal("http://127.0.0.1:1", flavour="opensearch", aws_region="eu-west-1")
    session.cache_clear()
    assert (type(error), error.code) == (PlanError, "E-ES-CREDENTIALS"), error
    for word in words:
        assert word in error.message


def test_signed_requests_go_over_tls_or_stay_on_this_machine() -> None:
    def make(url: str) -> None:
        ElasticsearchTarget(Connection(url, flavour="opensearch", aws_region="eu-west-1"), Placement(), "orders")

    for url in ("http://search.example", "http://10.0.0.7:9200"):
        with pytest.raises(ValueError, match="https"):
            make(url)
    for url in ("https://search.example", "http://localhost:9200", "http://127.0.0.1:9200", "http://[::1]:9200"):
        make(url)


@pytest.mark.parametrize(
    ("url", "keys", "words"),
    [
        ("http://search.example", {}, ["search.example", "without TLS"]),
        ("https://search.example", {"verify_certs": False}, ["search.example", "not checked"]),
        ("https://search.example", {}, []),
        ("http://127.0.0.1:9200", {}, []),
        ("https://localhost:9200", {"verify_certs": False}, []),
    ],
)
def test_a_way_that_others_may_read_is_noted(url: str, keys: Mapping[str, Any], words: list[str]) -> None:
    from stores.elasticsearch.client import Cluster

    notes = list(Cluster(Connection(url.replace("//", f"//user:{SECRET}@"), **keys)).transport_notes())
    assert len(notes) == (1 if words else 0)
    assert all(word in notes[0] and SECRET not in notes[0] for word in words)


@pytest.mark.parametrize(
    "reason",
    [
        "The depth of the nested array field has exceeded the allowed limit of [20]",
        "The depth of the field has exceeded the allowed limit of [20]",
        "The provided [flattened] field [a.b] exceeds the maximum depth limit of [20]",
        "Field [_feature] is a metadata field and cannot be added inside a document",
    ],
)
def test_a_document_that_is_too_deep_or_has_a_metadata_field_is_refused_for_that_reason(reason: str) -> None:
    """As OpenSearch 2.19.6 says it, and Elasticsearch of its flattened fields."""
    cause = {"type": "parse_exception", "reason": f"{reason}. This limit can be set by a secret value"}
    error = {"type": "mapper_parsing_exception", "reason": "failed to parse", "caused_by": cause}
    code, text, _ = Fault.of(400, error).refusal()
    assert (code, text) == ("E-ES-REJECTED", f"mapper_parsing_exception < parse_exception (400): {reason}")
