"""Designs, versions and settings for the load."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from elasticsearch_indexes import document, told
from elasticsearch_proxy import Proxy, canned, edited, error

from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import PermanentError, PlanError

Connection, Placement = ElasticsearchTarget.Connection, ElasticsearchTarget.Placement
Make = Callable[..., ElasticsearchTarget]


def followed(target: ElasticsearchTarget, **wishes: Any) -> ElasticsearchTarget:
    target.follow(target.design(wishes))
    return target


def test_a_design_fills_in_what_the_plan_does_not_map(make: Make, elasticsearch_url: str, unique: str) -> None:
    census = {"a": {"properties": {"b": {"type": "long"}, "c": {"type": "long"}}}, "d": {"type": "text"}}
    target = followed(make(mapping={"a.b": "keyword", "e": "date"}), properties=census, reshape=[], notes=[])
    target.prepare()
    made = told(elasticsearch_url, "GET", f"/{unique}")[unique]["mappings"]
    assert made["dynamic"] == "strict"
    assert {name: one.get("type") for name, one in made["properties"].items()} == {
        "a": None,
        "d": "text",
        "e": "date",
        "offramp_id": "keyword",
        "offramp_raw": "binary",
    }
    assert {name: one["type"] for name, one in made["properties"]["a"]["properties"].items()} == {
        "b": "keyword",
        "c": "long",
    }


def test_the_plans_word_on_unmapped_fields_wins_over_the_design(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    followed(make(dynamic="false"), properties={"a": {"type": "long"}}).prepare()
    assert told(elasticsearch_url, "GET", f"/{unique}")[unique]["mappings"]["dynamic"] == "false"


def test_a_strict_index_that_a_census_may_have_made_passes_the_check_but_no_run_without_its_design(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}", {"mappings": {"dynamic": "strict"}})
    assert make().check() == ()
    with pytest.raises(PlanError) as refused:
        make().prepare()
    assert refused.value.code == "E-ES-INDEX"


def test_an_index_of_more_fields_than_usual_is_allowed_them(make: Make, elasticsearch_url: str, unique: str) -> None:
    fields = {f"f{number}": {"type": "long"} for number in range(1200)}
    followed(make(), properties=fields).prepare()
    made = told(elasticsearch_url, "GET", f"/{unique}")[unique]
    assert made["settings"]["index"]["mapping"]["total_fields"]["limit"] == "1202"


def load_settings(url: str, index: str) -> tuple[str | None, str]:
    chosen = told(url, "GET", f"/{index}")[index]["settings"]["index"]
    return chosen.get("refresh_interval"), chosen["number_of_replicas"]


def test_an_index_is_tuned_for_the_load_and_put_back(make: Make, elasticsearch_url: str, unique: str) -> None:
    target = make(load_refresh_interval="-1", load_replicas=0)
    assert any("while copying" in note for note in target.check())
    identity = target.prepare()
    assert load_settings(elasticsearch_url, unique) == ("-1", "0")
    assert make(load_refresh_interval="-1", load_replicas=0).prepare() == identity
    target.restore()
    assert load_settings(elasticsearch_url, unique) == (None, "1")
    target.restore()
    assert load_settings(elasticsearch_url, unique) == (None, "1"), "restoring twice is once"


def test_a_crash_between_noting_and_setting_leaves_nothing_to_be_lost(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    keys = {"load_refresh_interval": "-1", "load_replicas": 0}
    proxy.faults = [canned("/_settings", 403, error(403, "security_exception"))]
    with pytest.raises(PlanError):
        make(**keys).prepare()
    assert load_settings(elasticsearch_url, unique) == (None, "1")
    # The next run does not take settings for the load for those from before.
    again = make(**keys)
    again.prepare()
    make(**keys).prepare()
    make().restore()
    assert load_settings(elasticsearch_url, unique) == (None, "1"), (
        "put back by a run whose plan says nothing of a load"
    )


def test_documents_with_ignored_fields_are_told(make: Make, proxy: Proxy) -> None:
    target = make()
    target.prepare()
    assert target.audit() == ()
    # The local server never ignores a field, so the count is the proxy's.
    proxy.faults = [edited("/_count", lambda content: content.update(count=3))]
    (told_of,) = target.audit()
    assert "in documents: 3 (" in told_of
    (asked,) = proxy.asked("/_count")[-1:]
    assert json.loads(asked.body) == {"query": {"exists": {"field": "_ignored"}}}
    proxy.faults = [edited("/_count", lambda content: content["_shards"].update(failed=1))]
    with pytest.raises(PermanentError):
        target.audit()
    proxy.faults = []
    asked_before = len(proxy.asked("/_count"))
    assert make(accept_ignored=True).audit() == ()
    assert len(proxy.asked("/_count")) == asked_before


def test_replicas_that_are_not_back_are_told(make: Make, proxy: Proxy) -> None:
    target = make(load_replicas=0)
    target.prepare()
    (left,) = [fault for fault in target.audit() if "settings of the load" in fault]
    assert "run backfill again" in left
    target.restore()
    # One node holds no second copy: the local server says so as Elasticsearch would.
    assert [fault for fault in target.audit() if "replica" in fault]
    proxy.faults = [canned("/_cluster/health", 200, {"status": "green", "timed_out": False})]
    assert target.audit() == ()


def test_versions_follow_each_other_and_never_take_a_place_that_is_taken(
    make: Make, elasticsearch_url: str, unique: str
) -> None:
    for taken in (f"{unique}__2", f"{unique}__9", f"{unique}__x", f"{unique}__10__3"):
        told(elasticsearch_url, "PUT", f"/{taken}")
    assert make(versioned=True).design({}) == {"index": f"{unique}__10"}
    assert make().design({"properties": {}}) == {"properties": {}}


def test_a_swap_is_one_call_of_all_actions_and_is_read_back(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    for _ in range(2):
        target = followed(make(versioned=True))
        target.prepare()
        assert target.publish() == f"{unique} -> {target._name}"
        target.publish()
    first, second = proxy.asked("/_aliases")
    assert json.loads(first.body) == {
        "actions": [{"add": {"index": f"{unique}__1", "alias": unique, "is_write_index": True}}]
    }
    assert json.loads(second.body)["actions"][0] == {"remove": {"index": f"{unique}__1", "alias": unique}}
    third = followed(make(versioned=True))
    third.prepare()
    proxy.faults = [canned("/_aliases", 200, {"acknowledged": True})]
    with pytest.raises(PermanentError, match="was set to"):
        third.publish()
    proxy.faults = [canned("/_aliases", 400, error(400, "illegal_argument_exception", "why not"))]
    with pytest.raises(PermanentError, match="why not"):
        third.publish()
    assert list(told(elasticsearch_url, "GET", f"/_alias/{unique}")) == [f"{unique}__2"]


def test_a_version_nobody_chose_is_neither_read_nor_written(make: Make) -> None:
    target = make(versioned=True)
    for use in (
        lambda: target.read(["a"]),
        lambda: target.write([document("a")]),
        lambda: target.delete(["a"]),
        lambda: list(target.addresses()),
        target.prepare,
        target.audit,
        target.publish,
    ):
        with pytest.raises(PlanError) as refused:
            use()
        assert refused.value.code == "E-ES-VERSION"
    target.restore()


def test_versions_are_one_territory(unique: str) -> None:
    target = ElasticsearchTarget(Connection("http://h"), Placement(versioned=True), "orders")
    assert target.territory == "orders__"


@pytest.mark.parametrize(
    ("placement", "key"),
    [
        ({"load_refresh_interval": "soon"}, "load_refresh_interval"),
        ({"load_replicas": -1}, "load_replicas"),
        ({"replace": True}, "replace"),
        ({"versioned": True, "index": "a" * 241}, "index"),
    ],
)
def test_a_placement_that_cannot_be_is_refused_by_its_key(placement: Mapping[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}"):
        ElasticsearchTarget(Connection("http://h"), Placement(**placement), "route")
