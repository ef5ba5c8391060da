"""What a plan may say of an Elasticsearch, and the login that is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import pytest
from elasticsearch_indexes import SECRET
from elasticsearch_proxy import Proxy, canned, error

from mappers.elasticsearch.records import IndexDocument
from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import PlanError

Connection, Placement = ElasticsearchTarget.Connection, ElasticsearchTarget.Placement
Make = Callable[..., ElasticsearchTarget]


def test_a_target_connects_to_nothing_before_it_is_asked() -> None:
    target = ElasticsearchTarget(Connection("http://127.0.0.1:1", index_prefix="p-"), Placement(), "orders")
    assert target.records == (IndexDocument,)
    assert target.territory == "p-orders\0"
    assert ElasticsearchTarget(Connection("http://h", index_prefix="p-"), Placement(index="own"), "x").territory == (
        "own\0"
    )


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "empty"),
        (".", "empty"),
        ("..", "empty"),
        ("Orders", "lowercase"),
        ("_orders", "begin"),
        ("-orders", "begin"),
        ("+orders", "begin"),
        *((f"a{letter}b", "hold") for letter in '\\/*?"<>| ,#:\0\n'),
        ("é" * 128, "255 bytes"),
    ],
)
def test_a_name_elasticsearch_does_not_take_is_refused(name: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ElasticsearchTarget(Connection("http://h"), Placement(index=name), "route")


def test_a_name_of_255_bytes_is_taken() -> None:
    assert ElasticsearchTarget(Connection("http://h"), Placement(), "a" * 255).territory == "a" * 255 + "\0"


@pytest.mark.parametrize(
    "placement",
    [
        {"mapping": {"a": "text", "a.b": "keyword"}},
        {"mapping": {"a": {"properties": {"b": {"type": "long"}}}, "a.b": "keyword"}},
        {"mapping": {"a..b": "keyword"}},
        {"mapping": {"": "keyword"}},
        {"mapping": {"a": 1}},
        {"shards": 0},
        {"replicas": -1},
    ],
)
def test_a_placement_that_contradicts_itself_is_refused(placement: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError):
        ElasticsearchTarget(Connection("http://h"), Placement(**placement), "route")


@pytest.mark.parametrize(
    "connection",
    [
        {"url": f"ftp://user:{SECRET}@h"},
        {"url": f"http://user:{SECRET}/@h"},
        {"url": f"http://user:1/{SECRET}@h"},
        {"url": f"user:{SECRET}@h"},
        {"url": f"http://user:{SECRET}@h", "api_key": SECRET},
        {"url": "http://h", "username": "user"},
        {"url": "http://h", "password": SECRET},
        {"url": "http://h", "username": "user", "password": SECRET, "api_key": SECRET},
        {"url": "http://h", "ca_certs": "ca.pem"},
    ],
)
def test_a_connection_that_cannot_be_is_refused_without_its_secrets(connection: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError) as refused:
        ElasticsearchTarget(Connection(**connection), Placement(), "route")
    assert SECRET not in str(refused.value)


def test_a_connection_does_not_show_its_secrets() -> None:
    assert SECRET not in repr(Connection(f"http://user:{SECRET}@h"))
    assert SECRET not in repr(Connection("http://h", api_key=SECRET))
    assert SECRET not in repr(Connection("http://h", username="user", password=SECRET))


@pytest.mark.parametrize(
    ("login", "header"),
    [
        ({}, None),
        ({"api_key": "a2V5"}, "ApiKey a2V5"),
        ({"username": "user", "password": "pass"}, "Basic dXNlcjpwYXNz"),
    ],
)
def test_the_login_is_sent(proxy: Proxy, unique: str, login: Mapping[str, Any], header: str | None) -> None:
    with closing(ElasticsearchTarget(Connection(proxy.url, **login), Placement(), unique)) as target:
        target.check()
    assert proxy.seen[0].headers.get("authorization") == header


def test_the_login_in_the_url_is_sent_and_not_shown(proxy: Proxy, unique: str) -> None:
    url = proxy.url.replace("//", "//user:p%40ss@")
    proxy.faults = [canned("/", 401, error(401, "security_exception"))]
    with (
        closing(ElasticsearchTarget(Connection(url), Placement(), unique)) as target,
        pytest.raises(PlanError) as refused,
    ):
        target.check()
    assert proxy.seen[0].headers["authorization"] == "Basic dXNlcjpwQHNz"
    assert refused.value.code == "E-ES-AUTH"
    assert "p%40ss" not in str(refused.value)
