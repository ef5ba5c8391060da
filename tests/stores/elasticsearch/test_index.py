"""The index that is made, the one that is taken, and the one that went away."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import pytest
from elasticsearch_indexes import SECRET, document, sources, told
from elasticsearch_proxy import Fault, Proxy, canned, error
from http_servers import Forward, Reply, Request

from stores.elasticsearch.field_types import FIELD_TYPES
from stores.elasticsearch.index import IndexPlan
from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import PermanentError, PlanError, TransientError

Connection, Placement = ElasticsearchTarget.Connection, ElasticsearchTarget.Placement
Make = Callable[..., ElasticsearchTarget]


# Making ready


def test_an_index_is_made_as_the_plan_says(make: Make, elasticsearch_url: str, unique: str) -> None:
    target = make(
        mapping={
            "name": "text",
            "code": "keyword",
            "at": "date",
            "price": "double",
            "spot": "geo_point",
            "tags": "flattened",
            "owner.name": "keyword",
            "owner.age": "integer",
            "lines": {"type": "nested", "properties": {"sku": {"type": "keyword"}}},
            "lines.count": "long",
        },
        shards=2,
        replicas=0,
    )
    assert [note for note in target.check() if "replicas" in note]
    identity = target.prepare()
    made = told(elasticsearch_url, "GET", f"/{unique}")[unique]
    assert made["settings"]["index"]["uuid"] == identity
    assert made["settings"]["index"]["number_of_shards"] == "2"
    assert made["settings"]["index"]["number_of_replicas"] == "0"
    keyword = {"type": "keyword", "ignore_above": 8191}
    assert made["mappings"] == {
        "dynamic": "false",
        "date_detection": False,
        "numeric_detection": False,
        "properties": {
            "name": {"type": "text"},
            "code": keyword,
            "at": {"type": "date", "format": "strict_date_optional_time||epoch_millis"},
            "price": {"type": "double", "coerce": False},
            "spot": {"type": "geo_point"},
            "tags": {"type": "flattened", "ignore_above": 8191},
            "owner": {"properties": {"name": keyword, "age": {"type": "integer", "coerce": False}}},
            "lines": {
                "type": "nested",
                "properties": {"sku": {"type": "keyword"}, "count": {"type": "long", "coerce": False}},
            },
        },
    }


def test_checking_writes_nothing(make: Make, proxy: Proxy, elasticsearch_url: str, unique: str) -> None:
    assert make().check() == ()
    asked = {(request.method, request.path) for request in proxy.seen if request.method != "GET"}
    assert asked == {("POST", "/_index_template/_simulate")}  # Which makes nothing.
    assert told(elasticsearch_url, "GET", "/_index_template")["index_templates"] == []
    assert told(elasticsearch_url, "GET", f"/{unique}")["status"] == 404


def test_preparing_again_keeps_the_identity_until_the_index_is_made_anew(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    placement = {"mapping": {"a.b": "keyword", "c": "date"}}
    first = make(**placement).prepare()
    assert make(**placement).prepare() == first
    told(elasticsearch_url, "DELETE", f"/{unique}")
    assert make(**placement).prepare() not in ("", first)


FITTING: Mapping[str, Any] = {"dynamic": "false", "properties": {"n": {"type": "long"}}}


@pytest.mark.parametrize(
    ("existing", "code", "named"),
    [
        ({"mappings": {**FITTING, "_source": {"enabled": False}}}, "E-ES-SRC", ["disabled"]),
        ({"mappings": {**FITTING, "_source": {"mode": "synthetic"}}}, "E-ES-SRC", ["synthetic"]),
        ({"mappings": {**FITTING, "_source": {"excludes": ["a"]}}}, "E-ES-SRC", ["excludes"]),
        ({"mappings": {**FITTING, "_source": {"includes": ["a"]}}}, "E-ES-SRC", ["includes"]),
        (
            {"mappings": FITTING, "settings": {"index": {"mapping": {"source": {"mode": "synthetic"}}}}},
            "E-ES-SRC",
            ["synthetic"],
        ),
        ({"mappings": FITTING, "settings": {"index": {"mode": "logsdb"}}}, "E-ES-SRC", ["synthetic"]),
        ({"mappings": {**FITTING, "dynamic": "strict"}}, "E-ES-INDEX", ["dynamic is strict", "false"]),
        ({"mappings": {"properties": FITTING["properties"]}}, "E-ES-INDEX", ["dynamic is true", "false"]),
        (
            {"mappings": {"dynamic": "false", "properties": {"n": {"type": "float"}}}},
            "E-ES-INDEX",
            ["n is float", "the plan says long"],
        ),
        ({"mappings": {"dynamic": "false"}}, "E-ES-INDEX", ["n is not mapped", "the plan says long"]),
        ({"mappings": FITTING, "settings": {"index": {"default_pipeline": "p"}}}, "E-ES-INDEX", ["default_pipeline p"]),
        ({"mappings": FITTING, "settings": {"index": {"final_pipeline": "p"}}}, "E-ES-INDEX", ["final_pipeline p"]),
        ({"mappings": {**FITTING, "_routing": {"required": True}}}, "E-ES-INDEX", ["routing"]),
        (
            {"mappings": FITTING, "settings": {"index": {"translog": {"durability": "async"}}}},
            "E-ES-INDEX",
            ["async"],
        ),
    ],
)
def test_an_index_that_does_not_fit_is_refused_before_anything_is_written(
    make: Make,
    proxy: Proxy,
    elasticsearch_url: str,
    unique: str,
    existing: Mapping[str, Any],
    code: str,
    named: Sequence[str],
) -> None:
    assert told(elasticsearch_url, "PUT", f"/{unique}", existing).get("acknowledged")
    placement = {"mapping": {"n": "long"}, "dynamic": "false"}
    for use in (make(**placement).check, make(**placement).prepare):
        with pytest.raises(PlanError) as refused:
            use()
        assert refused.value.code == code
        for word in (unique, *named):
            assert word in str(refused.value)
    assert {request.method for request in proxy.seen} == {"GET"}


def test_every_difference_is_named_at_once(make: Make, elasticsearch_url: str, unique: str) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}", {"mappings": {"properties": {"a": {"type": "text"}}}})
    with pytest.raises(PlanError) as refused:
        make(mapping={"a": "keyword", "b.c": "date"}).check()
    assert all(word in str(refused.value) for word in ("dynamic", "a is text", "b is not", "b.c is not"))


def test_an_index_that_fits_is_taken_with_what_it_has_beyond_the_plan(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    properties = {"n": {"type": "long"}, "more": {"type": "text"}, "o": {"properties": {"x": {"type": "keyword"}}}}
    told(elasticsearch_url, "PUT", f"/{unique}", {"mappings": {"dynamic": False, "properties": properties}})
    target = make(mapping={"n": "long", "o.x": "keyword"})
    assert target.prepare() == told(elasticsearch_url, "GET", f"/{unique}")[unique]["settings"]["index"]["uuid"]


def test_an_alias_is_refused(make: Make, elasticsearch_url: str, unique: str) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}-behind", {"mappings": {"dynamic": "false"}})
    told(elasticsearch_url, "PUT", f"/{unique}-behind/_alias/{unique}")
    with pytest.raises(PlanError, match=f"{unique}-behind") as refused:
        make().check()
    assert refused.value.code == "E-ES-INDEX"


def test_an_index_a_template_spoils_is_refused(make: Make, elasticsearch_url: str, unique: str) -> None:
    template = {
        "index_patterns": [f"{unique}*"],
        "template": {"settings": {"index": {"default_pipeline": "stamp"}}},
    }
    assert told(elasticsearch_url, "PUT", f"/_index_template/{unique}", template)["acknowledged"]
    try:
        with pytest.raises(PlanError, match="stamp"):
            make().prepare()
    finally:
        told(elasticsearch_url, "DELETE", f"/_index_template/{unique}")


def test_a_mapping_the_server_does_not_know_is_refused_in_its_words(make: Make) -> None:
    with pytest.raises(PlanError, match="nosuchtype") as refused:
        make(mapping={"a": {"type": "nosuchtype"}}).prepare()
    assert refused.value.code == "E-ES-INDEX"


def test_a_mapping_that_the_server_would_refuse_is_found_before_an_index_is_made(make: Make, proxy: Proxy) -> None:
    """As Elasticsearch says it of a template that nobody makes; the stand-in takes any."""
    cause = {"type": "mapper_parsing_exception", "reason": "unknown parameter [nope] on mapper [a] of type [keyword]"}
    proxy.faults.append(canned("/_simulate", 400, error(400, "illegal_argument_exception", "invalid", caused_by=cause)))
    with pytest.raises(PlanError, match=r"unknown parameter \[nope\]") as refused:
        make(mapping={"a": {"type": "keyword", "nope": 1}}).check()
    assert refused.value.code == "E-ES-INDEX"


@pytest.mark.parametrize(
    "fault", [error(403, "security_exception"), error(405, "x"), error(400, "illegal_argument_exception", "priority")]
)
def test_a_login_that_may_not_ask_for_templates_is_let_pass(make: Make, proxy: Proxy, fault: dict[str, Any]) -> None:
    proxy.faults.append(canned("/_simulate", fault["status"], fault))
    assert make(mapping={"a": "keyword"}).check() == ()


def test_every_type_that_no_server_knows_is_told_with_what_may_be_meant() -> None:
    with pytest.raises(ValueError, match=r"mapping: a is keywrd: .*'keyword'.*; b is txet: .*'text'"):
        IndexPlan("i", Placement(mapping={"a": "keywrd", "b": "txet", "c": "long"}))
    for kind in sorted(FIELD_TYPES - {"flat_object", "knn_vector"}):
        IndexPlan("i", Placement(mapping={"a": kind, "b": {"type": "of a plug-in"}}))


def test_an_index_that_somebody_made_meanwhile_is_used_if_it_fits(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    first = make(mapping={"n": "long"}).prepare()
    absent = canned(f"/{unique}", 404, error(404, "index_not_found_exception"))
    proxy.faults = [absent]
    assert make(mapping={"n": "long"}).prepare() == first
    proxy.faults = [absent]
    with pytest.raises(PlanError, match="n is long"):
        make(mapping={"n": "text"}).prepare()
    assert len([request for request in proxy.seen if request.method == "PUT"]) == 3


@pytest.mark.parametrize(
    ("root", "named"),
    [
        (canned("/", 200, {"version": {"number": "2.19.1", "distribution": "opensearch"}}, Server="x"), "opensearch"),
        (canned("/", 200, {"version": {"number": "8.15.0"}}, Server="x"), "nameless"),
        (canned("/", 200, b"<html>hello</html>", Server="x"), "nameless"),
        (canned("/", 404, b"not here", Server="x"), "nameless"),
        (canned("/", 200, {"version": {"number": "7.17.9"}}), "7.17"),
    ],
)
def test_another_product_is_refused(make: Make, proxy: Proxy, root: Fault, named: str) -> None:
    proxy.faults = [root]
    with pytest.raises(PlanError, match=named) as refused:
        make().check()
    assert refused.value.code == "E-ES-PRODUCT"


@pytest.mark.parametrize(
    ("flavour", "version"),
    [
        ("opensearch", {"number": "7.17.28"}),
        ("elasticsearch", {"number": "1.3.20", "distribution": "opensearch"}),
    ],
)
def test_the_other_flavour_is_no_advice_for_a_server_too_old_for_it(
    proxy: Proxy, flavour: str, version: dict[str, str]
) -> None:
    proxy.faults = [canned("/", 200, {"version": version})]
    connection = Connection(proxy.url, flavour=flavour)  # type: ignore[arg-type]
    target = ElasticsearchTarget(connection, Placement(), "things")
    with closing(target), pytest.raises(PlanError, match=r"it must be .*; correct `url`") as refused:
        target.check()
    assert version["number"].rsplit(".", 1)[0] in refused.value.message
    assert "flavour" not in refused.value.message


def test_vectors_that_newer_servers_leave_out_of_the_source_are_noticed(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    newer = canned("/", 200, {"version": {"number": "9.2.0"}})
    vector = {"type": "dense_vector", "dims": 2}
    proxy.faults = [newer]
    make(mapping={"v": vector}).prepare()
    asked = next(request for request in proxy.seen if request.method == "PUT")
    assert json.loads(asked.body)["settings"]["index"]["mapping"] == {"exclude_source_vectors": False}
    told(elasticsearch_url, "DELETE", f"/{unique}")
    told(elasticsearch_url, "PUT", f"/{unique}", {"mappings": {"dynamic": "false", "properties": {"v": vector}}})
    assert make(mapping={"v": vector}).check() == ()
    proxy.faults = [newer]
    with pytest.raises(PlanError, match="vectors") as refused:
        make(mapping={"v": vector}).check()
    assert refused.value.code == "E-ES-SRC"


@pytest.mark.server
def test_a_server_that_is_not_there_is_a_transient_error_without_secrets(unique: str) -> None:
    connection = Connection(f"http://user:{SECRET}@127.0.0.1:1", retry_deadline_s=0)
    with pytest.raises(TransientError) as away:
        ElasticsearchTarget(connection, Placement(), unique).check()
    assert away.value.code == "E-ES-AWAY"
    assert SECRET not in str(away.value)
    assert pickle.loads(pickle.dumps(away.value)).message == away.value.message


# An index that goes away


def test_a_write_never_makes_an_index_that_was_not_prepared(make: Make, elasticsearch_url: str, unique: str) -> None:
    for use in (
        lambda: make().write([document("a", n=1)]),
        lambda: make().delete(["a"]),
        lambda: make().read(["a"]),
        lambda: list(make().addresses()),
    ):
        with pytest.raises(PermanentError) as stopped:
            use()
        assert stopped.value.code == "E-ES-NOINDEX"
    assert told(elasticsearch_url, "GET", f"/{unique}")["status"] == 404


def test_an_index_deleted_since_it_was_prepared_is_noticed_though_every_write_is_acknowledged(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    target.write([document("a", n=1)])
    told(elasticsearch_url, "DELETE", f"/{unique}")
    with pytest.raises(PermanentError) as stopped:
        target.write([document("b", n=2)])
    assert stopped.value.code == "E-ES-NOINDEX"
    # The server did take it: into an index it made by itself.
    assert sources(elasticsearch_url, unique) == {"b": {"n": 2}}


def test_an_index_deleted_between_two_requests_of_a_write_is_noticed(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    make().prepare()
    target = make()  # another process: it was not the one that prepared the index

    def delete_first(request: Request, forward: Forward) -> Reply | None:
        if len(proxy.asked("/_bulk")) < 2 or "/_bulk" not in request.path:
            return None
        told(elasticsearch_url, "DELETE", f"/{unique}")
        return forward(request)

    proxy.faults = [delete_first]
    with pytest.raises(PermanentError) as stopped:
        target.write([document(f"{number}", n=number) for number in range(1500)])
    assert stopped.value.code == "E-ES-NOINDEX"


def test_an_alias_put_in_the_place_of_the_index_is_noticed(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "DELETE", f"/{unique}")
    told(elasticsearch_url, "PUT", f"/{unique}-other", {"mappings": {"dynamic": "false"}})
    told(elasticsearch_url, "PUT", f"/{unique}-other/_alias/{unique}")
    for use in (lambda: target.write([document("a", n=1)]), lambda: target.read(["a"])):
        with pytest.raises(PermanentError):
            use()
