"""The Elasticsearch target on OpenSearch: the laws, what differs there, and requests signed for Amazon."""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from http_servers import Reply, Request, forward, serving
from plans import Stores, offramp, write_plan
from pymongo.database import Database

from mappers.contract import Record
from mappers.elasticsearch.records import IndexDocument, index_document
from stores.aws import session
from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import PlanError
from stores.testing.laws import TargetLaws

Connection, Placement = ElasticsearchTarget.Connection, ElasticsearchTarget.Placement


def told(url: str, method: str, path: str, body: Any = None) -> Any:
    """Ask the server itself, past the target; the answer's JSON whatever its status."""
    data = body if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def made(url: str, index: str, **placement: Any) -> ElasticsearchTarget:
    return ElasticsearchTarget(Connection(url, flavour="opensearch"), Placement(index=index, **placement), "orders")


class TestOpenSearch(TargetLaws):
    @pytest.fixture
    def target(self, opensearch_url: str, unique: str) -> Iterator[ElasticsearchTarget]:
        with closing(made(opensearch_url, unique)) as target:
            target.prepare()
            yield target
        told(opensearch_url, "DELETE", f"/{unique}")

    @pytest.fixture
    def another(self, opensearch_url: str, unique: str) -> Iterator[ElasticsearchTarget]:
        with closing(made(opensearch_url, unique)) as target:
            target.prepare()
            yield target

    @pytest.fixture
    def records(self) -> list[IndexDocument]:
        awkward = ["s:a/b?c#d%2F e", 's:"quoted" é 😀', "n:1"]
        return [
            index_document({"n": n, "text": f"é 😀 {n}", "deep": {"a": [1, [2]]}}, i) for n, i in enumerate(awkward)
        ]

    @pytest.fixture
    def changed(self) -> list[IndexDocument]:
        awkward = ["s:a/b?c#d%2F e", 's:"quoted" é 😀', "n:1"]
        return [index_document({"n": 10 * number}, name) for number, name in enumerate(awkward)]

    @pytest.fixture
    def many(self) -> Callable[[int], list[IndexDocument]]:
        return lambda n: [index_document({"number": number}, f"many {number}") for number in range(n)]

    @pytest.fixture
    def peek(self, opensearch_url: str, unique: str) -> Callable[[str], Record | None]:
        def look(address: str) -> Record | None:
            found = told(opensearch_url, "GET", f"/{unique}/_doc/{quote(address, safe='')}")
            return IndexDocument(found["_id"], orjson.dumps(found["_source"])) if found.get("found") else None

        return look

    @pytest.fixture
    def count(self, opensearch_url: str, unique: str) -> Callable[[], int]:
        return lambda: int(told(opensearch_url, "GET", f"/{unique}/_count")["count"])


# What differs


def test_a_listing_goes_past_the_window_of_a_search(opensearch_url: str, unique: str) -> None:
    with closing(made(opensearch_url, unique)) as target:
        target.prepare()
        assert not target.write([IndexDocument(f"n:{number}", b"{}") for number in range(12_000)])
        assert sum(1 for _ in target.addresses()) == len(set(target.addresses())) == 12_000


def test_types_have_their_names_there_and_vectors_stay_in_the_source(opensearch_url: str, unique: str) -> None:
    mapping = {"v": {"type": "knn_vector", "dimension": 2}, "own": "flat_object"}
    with closing(made(opensearch_url, unique, mapping=mapping)) as target:
        target.follow({"properties": {"at": {"properties": {"m": {"type": "flattened", "ignore_above": 9}}}}})
        target.prepare()
        described = told(opensearch_url, "GET", f"/{unique}")[unique]
        found = described["mappings"]["properties"]
        assert found["at"]["properties"]["m"] == found["own"] == {"type": "flat_object"}
        assert found["v"]["type"] == "knn_vector"
        assert described["settings"]["index"]["knn.derived_source.enabled"] == "false"
        assert target.prepare(), "the index it made fits the plan"
        document = IndexDocument("1", b'{"v":[0.1,1],"own":{"a":{"b":1}},"at":{"m":{"x":"y"}}}')
        assert not target.write([document])
        assert target.read(["1"])["1"].canonical() == document.canonical()


def test_an_index_that_rebuilds_its_vectors_is_refused(opensearch_url: str, unique: str) -> None:
    properties = {"v": {"type": "knn_vector", "dimension": 2}}
    told(opensearch_url, "PUT", f"/{unique}", {"mappings": {"dynamic": "false", "properties": properties}})
    with closing(made(opensearch_url, unique, mapping=properties)) as target, pytest.raises(PlanError) as refused:
        target.check()
    assert refused.value.code == "E-ES-SRC"


@pytest.mark.parametrize(
    ("flavour", "mapping", "word"),
    [
        ("opensearch", {"a": "flattened"}, "flat_object"),
        ("opensearch", {"a.b": {"type": "dense_vector"}}, "knn_vector"),
        ("elasticsearch", {"a": "flat_object"}, "flattened"),
    ],
)
def test_a_type_of_the_other_flavour_is_refused(flavour: Any, mapping: Any, word: str) -> None:
    with pytest.raises(ValueError, match=f"^mapping: .*{word}"):
        ElasticsearchTarget(Connection("http://h", flavour=flavour), Placement(mapping=mapping), "route")


def test_either_flavour_names_the_other_where_that_one_answers(
    opensearch_url: str, elasticsearch_url: str, unique: str
) -> None:
    for url, flavour, other in (
        (opensearch_url, "elasticsearch", "opensearch"),
        (elasticsearch_url, "opensearch", "elasticsearch"),
    ):
        connection = Connection(url, flavour=flavour)  # type: ignore[arg-type]
        with closing(ElasticsearchTarget(connection, Placement(), unique)) as target:
            with pytest.raises(PlanError, match=f"set flavour: {other}") as refused:
                target.check()
            assert refused.value.code == "E-ES-PRODUCT"


# A whole run


@pytest.fixture
def stores(mongodb_url: str, opensearch_url: str) -> Stores:
    return Stores(mongodb_url, "", "", opensearch_url)


def test_a_census_a_version_and_a_verification_go_through_from_end_to_end(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Any
) -> None:
    database.things.insert_many(
        [{"_id": number, "n": number, "at": datetime(2024, 2, 29, tzinfo=UTC), "text": "é"} for number in range(30)]
    )
    database.things.insert_many([{"by": {f"{number}-{key}": key for key in range(5)}} for number in range(300)])
    route = {"use_case": "search", "index": unique, "versioned": True, "load_refresh_interval": "-1"}
    connection = {"url": stores.elasticsearch, "flavour": "opensearch", "retry_deadline_s": 10}
    plan = write_plan(tmp_path, stores, database.name, {"things": route}, targets={"elasticsearch": connection})
    row = offramp("backfill", plan, "--json", folder=tmp_path).route("things")
    assert (row["verdict"], row["held"], row["place"]) == ("clean", 330, f"{unique} -> {unique}__1"), row
    described = told(stores.elasticsearch, "GET", f"/{unique}__1")[f"{unique}__1"]
    assert described["mappings"]["properties"]["by"] == {"type": "flat_object"}
    assert described["mappings"]["dynamic"] == "strict"
    told(stores.elasticsearch, "PUT", f"/{unique}__1/_doc/n:3", {"n": 4})
    told(stores.elasticsearch, "PUT", f"/{unique}__1/_doc/extra", {"n": 4})
    told(stores.elasticsearch, "DELETE", f"/{unique}__1/_doc/n:4")
    row = offramp("verify", plan, "--json", folder=tmp_path).route("things")
    assert (row["differs"], row["extra"], row["missing"]) == (1, 1, 1)


# Signing

KEY, KEY_SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "session+token=="


class Domain:
    """An Amazon domain as far as signing goes: it checks each request's signature against what really arrived."""

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.upstream = upstream
        self.judged: list[tuple[str, bool]] = []

    def reply(self, request: Request) -> Reply:
        fits = signature(request) == request.headers.get("authorization")
        self.judged.append((f"{request.method} {request.path}", fits))
        if not fits:
            return Reply(403, b'{"message":"The request signature we calculated does not match"}')
        headers = {"content-type": request.headers.get("content-type", "application/json")}
        return forward(self.upstream, replace(request, headers=headers))


def signature(request: Request) -> str:
    """What botocore signs the request with as it arrived: all but the unsigned headers is its own."""
    sent = request.headers
    login = sent.get("authorization", "SignedHeaders=")
    signed = login.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    if not {"host", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"} <= set(signed):
        return "unsigned"
    if sent["x-amz-content-sha256"] != hashlib.sha256(request.body).hexdigest():
        return "another body"
    kept = {name: value for name, value in sent.items() if name in signed}
    arrived = AWSRequest(request.method, f"http://{sent['host']}{request.path}", kept, request.body)
    auth = SigV4Auth(Credentials(KEY, KEY_SECRET, TOKEN), "es", "eu-central-1")
    arrived.context["timestamp"] = sent["x-amz-date"]
    text = auth.canonical_request(arrived)
    signed_with = auth.signature(auth.string_to_sign(arrived, text), arrived)
    return (
        f"AWS4-HMAC-SHA256 Credential={auth.scope(arrived)}, SignedHeaders={';'.join(signed)}, Signature={signed_with}"
    )


@pytest.fixture
def domain(opensearch_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Domain]:
    for name, value in {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": KEY_SECRET, "SESSION_TOKEN": TOKEN}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    session.cache_clear()
    domain = Domain(opensearch_url)
    with serving(domain.reply) as domain.url:
        yield domain
    session.cache_clear()


def signing(url: str, index: str, **keys: Any) -> ElasticsearchTarget:
    connection = Connection(url, flavour="opensearch", aws_region="eu-central-1", retry_deadline_s=5, **keys)
    return ElasticsearchTarget(connection, Placement(index=index), "orders")


def test_every_request_is_signed_as_it_is_sent(domain: Domain, unique: str, caplog: pytest.LogCaptureFixture) -> None:
    name = f"é{unique}"
    with closing(signing(domain.url, name)) as target:
        target.check()
        target.prepare()
        records = [IndexDocument(f"n:{number} é/?&=+", b'{"text":"\xc3\xa9"}') for number in range(3)]
        assert not target.write(records)
        assert len(target.read([record.id for record in records])) == len(list(target.addresses())) == 3
        target.delete([records[0].id])
        target.audit()
    assert len(domain.judged) > 10
    assert {fits for _, fits in domain.judged} == {True}, domain.judged
    assert not any(secret in caplog.text for secret in (KEY_SECRET, TOKEN))


def test_credentials_the_domain_does_not_take_are_named_without_their_values(
    domain: Domain, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another" + KEY_SECRET)
    with closing(signing(domain.url, unique)) as target, pytest.raises(PlanError) as refused:
        target.check()
    assert refused.value.code == "E-ES-AUTH"
    assert "es:ESHttpGet" in refused.value.message
    assert not any(secret in str(refused.value) for secret in (KEY_SECRET, TOKEN, KEY))


def test_an_unknown_profile_is_named(domain: Domain, unique: str) -> None:
    with closing(signing(domain.url, unique, aws_profile="nobody")) as target, pytest.raises(PlanError) as refused:
        target.check()
    assert refused.value.code == "E-ES-CREDENTIALS"
    assert "nobody" in refused.value.message


@pytest.mark.parametrize(
    ("connection", "word"),
    [
        ({"flavour": "elasticsearch", "aws_region": "eu-central-1"}, "flavour: opensearch"),
        ({"aws_profile": "me"}, "aws_region"),
        ({"aws_region": "eu-central-1", "api_key": "k"}, "signed requests"),
        ({"aws_region": "eu-central-1", "url": "https://u:p@h"}, "signed requests"),
        ({"aws_region": "eu-central-1", "url": "https://x.eu-central-1.aoss.amazonaws.com"}, "Serverless"),
    ],
)
def test_a_connection_that_cannot_be_signed_is_refused(connection: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ElasticsearchTarget(Connection(**{"url": "https://h", "flavour": "opensearch", **connection}), Placement(), "r")


def test_signing_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "opensearchpy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(ValueError, match=r"pip install .opensearch-py"):
        signing("https://h", "orders")
