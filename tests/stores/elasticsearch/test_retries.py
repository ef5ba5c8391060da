"""Push-back and failures, which no server can be told to have: they come from a proxy before it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
from elasticsearch_indexes import SECRET, document, logged, sources, told
from elasticsearch_proxy import Fault, Proxy, canned, edited, error, hang_up, withheld
from http_servers import Forward, Reply, Request

from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import PermanentError, TransientError

Connection, Placement = ElasticsearchTarget.Connection, ElasticsearchTarget.Placement
Make = Callable[..., ElasticsearchTarget]


def test_plain_media_types_are_sent(target: ElasticsearchTarget, proxy: Proxy) -> None:
    target.write([document("a", n=1)])
    target.read(["a"])
    list(target.addresses())
    assert {request.headers["content-type"] for request in proxy.asked("/_bulk")} == {"application/x-ndjson"}
    assert {request.headers["accept"] for request in proxy.seen} == {"application/json"}
    assert "compatible-with" not in str([request.headers for request in proxy.seen])


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (429, "es_rejected_execution_exception", "rejected execution of coordinating operation"),
        (429, "circuit_breaking_exception", "[parent] Data too large"),
        (500, "rejected_execution_exception", "rejected execution of primary operation"),
        (503, "unavailable_shards_exception", "primary shard is not active"),
        (500, "node_disconnected_exception", "disconnected"),
        (403, "cluster_block_exception", "index blocked by: [FORBIDDEN/12/index read-only / allow delete (api)];"),
        (429, "cluster_block_exception", "[TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark"),
    ],
)
def test_only_what_was_pushed_back_is_sent_again(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str, status: int, kind: str, reason: str
) -> None:
    proxy.faults = [withheld(1, status, kind, reason), withheld(0, status, kind, reason)]
    assert target.write([document(name, n=1) for name in "abc"]) == []
    sent = [[json.loads(line)["index"]["_id"] for line in asked.lines[::2]] for asked in proxy.asked("/_bulk")]
    assert sent == [["a", "b", "c"], ["b"], ["b"]]
    assert set(sources(elasticsearch_url, unique)) == {"a", "b", "c"}


def test_a_document_pushed_back_and_then_refused_is_rejected_once(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    proxy.faults = [withheld(1, 429, "es_rejected_execution_exception")]
    refused = target.write([document("a", n="x"), document("b", n="x"), document("c", n=1)])
    assert [refusal.index for refusal in refused] == [0, 1]
    assert set(sources(elasticsearch_url, unique)) == {"c"}


@pytest.mark.parametrize(
    "fault",
    [
        canned("/_bulk", 429, error(429, "es_rejected_execution_exception")),
        canned("/_bulk", 503, error(503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/2/no master]")),
        canned("/_bulk", 502, b"<html>bad gateway</html>", Server="x"),
        hang_up("/_bulk"),
    ],
    ids=["429", "503", "502", "dropped"],
)
def test_a_request_that_failed_in_passing_is_sent_again_then_given_up(
    make: Make, proxy: Proxy, elasticsearch_url: str, unique: str, fault: Fault
) -> None:
    target = make()
    target.prepare()
    proxy.faults = [fault, fault]
    assert target.write([document("a", n=1)]) == []
    assert sources(elasticsearch_url, unique) == {"a": {"n": 1}}
    proxy.faults = [fault]
    with pytest.raises(TransientError) as away:
        make(deadline_s=0).write([document("b", n=1)])
    assert away.value.code == "E-ES-AWAY"
    assert set(sources(elasticsearch_url, unique)) == {"a"}


def test_a_document_pushed_back_until_the_deadline_is_no_reject(make: Make, proxy: Proxy) -> None:
    target = make(deadline_s=0)
    target.prepare()
    proxy.faults = [withheld(0, 403, "cluster_block_exception", "blocked by: [FORBIDDEN/12/index read-only]")]
    with pytest.raises(TransientError) as away:
        target.write([document("a", n=1)])
    assert "cluster_block_exception" in str(away.value)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (canned("/_bulk", 401, error(401, "security_exception", SECRET)), "E-ES-AUTH"),
        (canned("/_bulk", 403, error(403, "security_exception", SECRET)), "E-ES-AUTH"),
        (withheld(1, 403, "security_exception", SECRET), "E-ES-AUTH"),
        (withheld(1, 404, "index_not_found_exception", "no such index"), "E-ES-NOINDEX"),
        (withheld(1, 400, "index_closed_exception", "closed"), "E-ES-BLOCKED"),
        (withheld(1, 500, "some_new_exception", SECRET), "E-ES-ANSWER"),
        (withheld(1, 409, "version_conflict_engine_exception", SECRET), "E-ES-ANSWER"),
        (canned("/_bulk", 200, b"<html>welcome</html>"), "E-ES-ANSWER"),
        (canned("/_bulk", 200, {"errors": False}), "E-ES-ANSWER"),
        (edited("/_bulk", lambda answer: answer["items"].pop()), "E-ES-ANSWER"),
        (edited("/_bulk", lambda answer: answer["items"].reverse()), "E-ES-ANSWER"),
        (edited("/_bulk", lambda answer: answer["items"][1]["index"].update(_index="other")), "E-ES-ANSWER"),
        (edited("/_bulk", lambda answer: answer["items"][1]["index"].pop("status")), "E-ES-AWAY"),
    ],
)
def test_what_is_no_documents_fault_stops_the_route(
    make: Make, proxy: Proxy, fault: Fault, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    target = make(deadline_s=0)
    target.prepare()
    proxy.faults = [fault]
    with pytest.raises((PermanentError, TransientError)) as stopped:
        target.write([document("a", n=1), document("b", n=2)])
    assert stopped.value.code == code
    assert isinstance(stopped.value, TransientError) == (code == "E-ES-AWAY")
    assert SECRET not in str(stopped.value)
    assert SECRET not in logged(caplog)


def test_a_request_larger_than_a_circuit_breaker_allows_is_sent_in_smaller_parts(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    tripped = Reply(
        429, json.dumps(error(429, "circuit_breaking_exception", "[in_flight_requests] too large")).encode()
    )
    proxy.constant = lambda request, forward: tripped if "/_bulk" in request.path and len(request.body) > 1000 else None
    assert target.write([document(f"{number}", text="x" * 100) for number in range(40)]) == []
    assert len(sources(elasticsearch_url, unique)) == 40


def test_a_document_that_a_circuit_breaker_never_lets_through_is_no_reject(make: Make, proxy: Proxy) -> None:
    target = make(deadline_s=0)
    target.prepare()
    proxy.constant = canned("/_bulk", 429, error(429, "circuit_breaking_exception", "[in_flight_requests] too large"))
    with pytest.raises(TransientError) as away:
        target.write([document("a", n=1), document("b", n=2)])
    assert away.value.code == "E-ES-AWAY"


def refusing(body: bytes) -> Fault:
    """Refuse each whole request that holds this, as a server does that cannot read one of its lines."""
    reply = Reply(400, json.dumps(error(400, "illegal_argument_exception", SECRET)).encode())
    return lambda request, forward: reply if "/_bulk" in request.path and body in request.body else None


def test_a_document_for_which_a_whole_request_is_refused_is_found_and_rejected_alone(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    """R142: 2 of 100, next to each other; while they are looked for the server pushes back once."""
    busy = [Reply(503, b"{}")]
    poison = refusing(b"poison")

    def fault(request: Request, forward: Forward) -> Reply | None:
        refused = poison(request, forward)
        return busy.pop() if refused is not None and len(request.lines) < 40 and busy else refused

    proxy.constant = fault
    records = [document(f"{number}", text="poison" if number in (41, 42) else "good") for number in range(100)]
    refused = target.write(records)
    assert [(one.index, one.code) for one in refused] == [(41, "E-ES-REJECTED"), (42, "E-ES-REJECTED")]
    assert SECRET not in str(refused)
    assert set(sources(elasticsearch_url, unique)) == {f"{number}" for number in range(100)} - {"41", "42"}
    assert len(proxy.asked("/_bulk")) < 40


def test_requests_that_are_all_refused_whole_are_no_documents_fault(target: ElasticsearchTarget, proxy: Proxy) -> None:
    proxy.constant = refusing(b"")
    with pytest.raises(PermanentError) as stopped:
        target.write([document(f"{number}", text="good") for number in range(9)])
    assert stopped.value.code == "E-ES-ANSWER"
    assert SECRET not in str(stopped.value)


def test_a_write_block_somebody_set_stops_the_route(
    target: ElasticsearchTarget, elasticsearch_url: str, unique: str
) -> None:
    told(elasticsearch_url, "PUT", f"/{unique}/_settings", {"index": {"blocks": {"write": True}}})
    with pytest.raises(PermanentError, match="FORBIDDEN/8") as stopped:
        target.write([document("a", n=1)])
    assert stopped.value.code == "E-ES-BLOCKED"


def test_a_request_that_is_too_large_is_halved_and_a_document_that_is_too_large_rejected(
    target: ElasticsearchTarget, proxy: Proxy, elasticsearch_url: str, unique: str
) -> None:
    too_large = Reply(413, b"<html>Request Entity Too Large</html>", {"Server": "x"})
    proxy.constant = lambda request, forward: too_large if len(request.body) > 1000 else None
    records = [document(f"{number}", text="x" * 100) for number in range(40)]
    records[17] = document("17", text="x" * 1000)
    refused = target.write(records)
    assert [(refusal.index, refusal.code) for refusal in refused] == [(17, "E-ES-SIZE")]
    assert set(sources(elasticsearch_url, unique)) == {f"{number}" for number in range(40)} - {"17"}


def test_requests_are_cut_by_bytes(target: ElasticsearchTarget, proxy: Proxy) -> None:
    megabytes = [1, 1, 1, 1, 3, 3, 6, 1]
    records = [document(f"{place}", text="x" * (size << 20)) for place, size in enumerate(megabytes)]
    assert target.write(records) == []
    assert [len(request.lines) // 2 for request in proxy.asked("/_bulk")] == [4, 1, 1, 1, 1]
