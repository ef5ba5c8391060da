"""Reading sees what was written, and a listing is whole or no listing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch_indexes import document, told
from elasticsearch_proxy import Fault, Proxy, canned, edited, error, hang_up

from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import PermanentError, TransientError

Connection, Placement = ElasticsearchTarget.Connection, ElasticsearchTarget.Placement
Make = Callable[..., ElasticsearchTarget]


# Reading


def test_a_read_sees_what_no_refresh_has_shown_yet(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}/_settings", {"index": {"refresh_interval": "-1"}})
    target.write([document("a", n=1)])
    assert set(target.read(["absent", "a", "a", "", "x" * 600])) == {"a"}
    target.write([document("a", n=2)])
    assert target.read(["a"])["a"].canonical() == b'{"n":2}'
    target.delete(["a"])
    assert target.read(["a"]) == {}


def test_many_documents_are_read_in_parts(target: ElasticsearchTarget, proxy: Proxy) -> None:
    records = [document(f"{number}", n=number) for number in range(1100)]
    target.write(records)
    assert target.read([record.id for record in records]) == {record.id: record for record in records}
    assert [len(json.loads(request.body)["docs"]) for request in proxy.asked("/_mget")] == [500, 500, 100]


def failing_shard(answer: Any) -> None:
    hit = answer["docs"][1]
    answer["docs"][1] = {
        "_index": hit["_index"],
        "_id": hit["_id"],
        "error": {"type": "no_shard_available_action_exception", "reason": "No shard available"},
    }


def test_a_document_whose_shard_did_not_answer_is_asked_for_again_and_never_absent(make: Make, proxy: Proxy) -> None:
    target = make()
    target.prepare()
    records = [document(name, n=1) for name in "abc"]
    target.write(records)
    proxy.faults = [edited("/_mget", failing_shard)]
    assert set(target.read(["a", "b", "c"])) == {"a", "b", "c"}
    assert [[doc["_id"] for doc in json.loads(request.body)["docs"]] for request in proxy.asked("/_mget")] == [
        ["a", "b", "c"],
        ["b"],
    ]
    proxy.faults = [edited("/_mget", failing_shard)]
    with pytest.raises(TransientError) as away:
        make(deadline_s=0).read(["a", "b", "c"])
    assert away.value.code == "E-ES-AWAY"


@pytest.mark.parametrize(
    "edit",
    [
        lambda answer: answer["docs"].pop(),
        lambda answer: answer["docs"].reverse(),
        lambda answer: answer["docs"][0].pop("_source"),
        lambda answer: answer["docs"][0].pop("found"),
        lambda answer: answer["docs"][0].update(_index="other"),
        lambda answer: answer.clear(),
    ],
)
def test_an_answer_that_leaves_a_document_open_is_no_answer(
    target: ElasticsearchTarget, proxy: Proxy, edit: Callable[[Any], object]
) -> None:
    target.write([document("a", n=1), document("b", n=2)])
    proxy.faults = [edited("/_mget", edit)]
    with pytest.raises(PermanentError) as stopped:
        target.read(["a", "b"])
    assert stopped.value.code == "E-ES-ANSWER"


# Listing


@pytest.fixture
def listed(make: Make) -> ElasticsearchTarget:
    """A target that holds 10,050 documents, which is three pages and more than a search counts or skips by itself."""
    target = make(shards=2)
    target.prepare()
    assert target.write([document(f"{number}", n=number) for number in range(10_050)]) == []
    return target


def test_more_than_10000_documents_are_listed_and_the_listing_closed(
    listed: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    assert sorted(listed.addresses()) == sorted(f"{number}" for number in range(10_050))
    assert [request.method for request in proxy.seen if request.path == "/_pit"] == ["DELETE"]


def test_a_listing_left_early_is_closed(listed: ElasticsearchTarget, proxy: Proxy) -> None:
    listing = listed.addresses()
    assert next(listing)
    listing.close()  # type: ignore[attr-defined]
    assert [request.method for request in proxy.seen if request.path == "/_pit"] == ["DELETE"]


def test_a_listing_shows_what_was_written_just_before(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}/_settings", {"index": {"refresh_interval": "-1"}})
    assert list(target.addresses()) == []
    target.write([document("a", n=1), document("b", n=1)])
    target.delete(["b"])
    assert list(target.addresses()) == ["a"]


@pytest.mark.parametrize(
    "fault",
    [
        edited("/_refresh", lambda answer: answer["_shards"].update(failed=1)),
        edited("/_search", lambda answer: answer["_shards"].update(failed=1)),
        edited("/_search", lambda answer: answer.update(timed_out=True)),
        edited("/_search", lambda answer: answer["hits"]["hits"].pop(0)),
        edited("/_search", lambda answer: answer["hits"]["hits"].clear()),
        canned("/_search", 404, error(404, "search_phase_execution_exception", "all shards failed")),
    ],
    ids=["refresh", "shards", "timed out", "short page", "empty page", "lost"],
)
def test_a_listing_with_gaps_never_ends_as_if_it_were_whole(
    target: ElasticsearchTarget, proxy: Proxy, fault: Fault
) -> None:
    target.write([document("a", n=1), document("b", n=1)])
    proxy.faults = [fault]
    with pytest.raises(TransientError) as away:
        list(target.addresses())
    assert away.value.code == "E-ES-LIST"
    assert sorted(target.addresses()) == ["a", "b"]


def test_a_listing_the_server_let_go_of_must_begin_anew(listed: ElasticsearchTarget, proxy: Proxy) -> None:
    listing = listed.addresses()
    next(listing)
    held_open = json.loads(proxy.asked("/_search")[0].body)["pit"]["id"]
    assert told(proxy.upstream, "DELETE", "/_pit", {"id": held_open})["num_freed"] == 1
    with pytest.raises(TransientError) as away:
        list(listing)
    assert away.value.code == "E-ES-LIST"


def test_a_page_that_failed_in_passing_is_asked_for_again(listed: ElasticsearchTarget, proxy: Proxy) -> None:
    listing = listed.addresses()
    first = next(listing)
    proxy.faults = [hang_up("/_search"), canned("/_search", 503, error(503, "search_phase_execution_exception"))]
    assert sorted([first, *listing]) == sorted(f"{number}" for number in range(10_050))
