"""Requests that fail, are answered in part, or are refused for one item."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, NoCredentialsError, ReadTimeoutError
from dynamodb_requests import (
    WIDE,
    Schedule,
    answer,
    bad,
    canonical,
    failure,
    held,
    items,
    left_over,
    planned,
)

from mappers.dynamodb.records import item
from stores.contract.target import Rejected
from stores.dynamodb.target import DynamoDBTarget
from stores.errors import OfframpError, PermanentError, TransientError
from stores.throttling.backoff import Timing


def test_unprocessed_items_are_sent_again_and_none_is_lost(target: DynamoDBTarget, server: Any, unique: str) -> None:
    schedule = Schedule(
        target,
        server,
        "BatchWriteItem",
        left_over(25),
        left_over(7),
        left_over(1),
        None,
        None,
        left_over(3),
        left_over(3),
    )
    written = items(60)
    assert target.write(written) == []
    assert set(held(server, unique)) == {f"n:{number}" for number in range(60)}
    assert canonical(target.read([one.address for one in written])) == planned(written)
    # Only what is unprocessed is sent again.
    assert schedule.sizes == [25, 25, 7, 1, 25, 10, 3, 3]


def test_unprocessed_items_with_sort_keys_and_binary_values_are_sent_again(place: Any, server: Any) -> None:
    target = place(key=WIDE)
    target.prepare()
    schedule = Schedule(target, server, "BatchWriteItem", left_over(2), left_over(2))
    written = [item({"customer": "é", "created": f"2020-{n}", "bytes": b"\x00\xff"}, WIDE) for n in range(2)]
    assert target.write(written) == []
    assert schedule.sizes == [2, 2, 2]
    assert canonical(target.read([one.address for one in written])) == planned(written)


def test_a_batch_that_gets_through_bit_by_bit_is_not_given_up(place: Any, server: Any, unique: str) -> None:
    target = place(deadline_s=5)
    target.prepare()
    # One item a request: waits that grew over all of them would end far beyond the deadline.
    schedule = Schedule(target, server, "BatchWriteItem", *(left_over(left) for left in range(14, 0, -1)))
    assert target.write(items(15)) == []
    assert schedule.sizes == list(range(15, 0, -1))
    assert len(held(server, unique)) == 15


def test_unprocessed_deletes_are_sent_again(target: DynamoDBTarget, server: Any, unique: str) -> None:
    written = items(30)
    target.write(written)
    Schedule(target, server, "BatchWriteItem", left_over(25), left_over(4))
    target.delete([one.address for one in written])
    assert held(server, unique) == {}


def unread(count: int) -> Callable[[Any, Any], AWSResponse]:
    """Answer a BatchGetItem but for its last `count` keys."""

    def respond(request: Any, server: Any) -> AWSResponse:
        [(table, asked)] = orjson.loads(request.body)["RequestItems"].items()
        keys, left = asked["Keys"][: len(asked["Keys"]) - count], asked["Keys"][len(asked["Keys"]) - count :]
        responses: list[Any] = []
        if keys:
            found = server.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
            responses = found["Responses"][table]
        return answer(
            200,
            orjson.dumps({"Responses": {table: responses}, "UnprocessedKeys": {table: asked | {"Keys": left}}}),
        )

    return respond


def test_unprocessed_keys_are_asked_again(target: DynamoDBTarget, server: Any) -> None:
    written = items(130)
    target.write(written)
    schedule = Schedule(target, server, "BatchGetItem", unread(100), unread(40), unread(1), None, unread(30))
    assert canonical(target.read([one.address for one in written])) == planned(written)
    keys = [len(asked["Keys"]) for body in schedule.bodies for asked in orjson.loads(body)["RequestItems"].values()]
    assert keys == [100, 100, 40, 1, 30, 30]


BUSY = failure("ProvisionedThroughputExceededException")
HICCUPS = [
    BUSY,
    failure("ThrottlingException"),
    failure("RequestLimitExceeded"),
    failure("InternalServerError", 500),
    answer(503, b"<html>busy</html>"),
    failure("ReplicatedWriteConflictException"),
    failure("TransactionInProgressException"),
    ConnectionClosedError(endpoint_url="x"),
    ReadTimeoutError(endpoint_url="x"),
]


@pytest.mark.parametrize("hiccup", HICCUPS, ids=lambda hiccup: getattr(hiccup, "text", type(hiccup).__name__)[-40:])
def test_a_store_that_is_busy_or_away_is_asked_again(target: DynamoDBTarget, server: Any, hiccup: Any) -> None:
    schedules = [
        Schedule(target, server, operation, hiccup, hiccup) for operation in ("BatchWriteItem", "BatchGetItem", "Scan")
    ]
    written = items(3)
    assert target.write(written) == []
    assert canonical(target.read([one.address for one in written])) == planned(written)
    assert sorted(target.addresses()) == sorted(one.address for one in written)
    target.delete([written[0].address])
    assert [len(schedule.bodies) for schedule in schedules] == [4, 3, 3]


def test_a_write_whose_answer_is_lost_is_repeated(target: DynamoDBTarget, server: Any, unique: str) -> None:
    def lose(request: Any, server: Any) -> AWSResponse:
        left_over(0)(request, server)
        raise ReadTimeoutError(endpoint_url="x")

    schedule = Schedule(target, server, "BatchWriteItem", lose)
    assert target.write(items(5)) == []
    assert schedule.sizes == [5, 5]
    assert len(held(server, unique)) == 5


def test_listing_goes_on_at_the_page_that_failed(target: DynamoDBTarget, server: Any) -> None:
    written = items(9, text="x" * 300_000)
    target.write(written)
    Schedule(target, server, "Scan", None, BUSY, None, BUSY)
    listed = list(target.addresses())
    assert sorted(listed) == sorted(one.address for one in written)


@pytest.mark.parametrize("fault", [BUSY, left_over(5)], ids=["throttled", "unprocessed"])
def test_a_write_past_its_deadline_is_transient(place: Any, server: Any, unique: str, fault: Any) -> None:
    place().prepare()
    target = place(deadline_s=0)
    Schedule(target, server, "BatchWriteItem", fault)
    with pytest.raises(TransientError) as failed:
        target.write(items(5))
    assert failed.value.code == "E-DDB-BUSY"
    assert unique in failed.value.message
    assert target.write(items(5)) == []


def test_a_read_or_a_listing_past_its_deadline_is_transient(place: Any, server: Any) -> None:
    place().prepare()
    target = place(deadline_s=0)
    Schedule(target, server, "BatchGetItem", BUSY, unread(1))
    Schedule(target, server, "Scan", BUSY)
    for _ in range(2):
        with pytest.raises(TransientError):
            target.read([items(1)[0].address])
    with pytest.raises(TransientError):
        list(target.addresses())


def test_a_server_that_is_not_there_is_transient(dynamodb_endpoint: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        connection = DynamoDBTarget.Connection(
            region="eu-west-1", endpoint=f"http://127.0.0.1:{free.getsockname()[1]}", retry_deadline_s=0
        )
        target = DynamoDBTarget(connection, DynamoDBTarget.Placement(), "orders")
        with pytest.raises(TransientError) as failed:
            target.write(items(1))
    assert failed.value.code == "E-DDB-NETWORK"


def test_of_a_refused_batch_only_the_bad_item_is_rejected(target: DynamoDBTarget, server: Any, unique: str) -> None:
    records = items(60)
    records[37] = bad("bad")
    rejected = target.write(records)
    assert rejected == [Rejected(37, "ValidationException", "a number has more than 38 significant digits")]
    assert set(held(server, unique)) == {f"n:{number}" for number in range(60) if number != 37}


@pytest.mark.parametrize("count", [1, 25])
def test_of_a_batch_of_bad_items_each_is_rejected(target: DynamoDBTarget, server: Any, unique: str, count: int) -> None:
    rejected = target.write([bad(str(number)) for number in range(count)])
    assert [one.index for one in rejected] == list(range(count))
    assert held(server, unique) == {}


def test_a_rejection_is_reported_at_the_last_of_its_address(target: DynamoDBTarget, server: Any, unique: str) -> None:
    rejected = target.write([item({"_id": "a"}), item({"_id": "b"}), bad("a"), item({"_id": "b", "n": 1})])
    assert [one.index for one in rejected] == [2]
    assert set(held(server, unique)) == {"b"}


def test_a_store_busy_while_a_batch_is_halved_is_no_fault_of_its_items(
    target: DynamoDBTarget, server: Any, unique: str
) -> None:
    # 8 are refused; of the halves each is throttled once, and some of one are left unprocessed.
    steps = (None, BUSY, None, failure("InternalServerError", 500), BUSY, left_over(1), None)
    Schedule(target, server, "BatchWriteItem", *steps)
    records = items(8)
    records[1] = bad("bad")
    assert [one.index for one in target.write(records)] == [1]
    assert set(held(server, unique)) == {f"n:{number}" for number in range(8) if number != 1}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('{"N":"secret-12"}', "is malformed"),
        ('{"N":"1E+126"}', "larger"),
        ('{"N":"1E-131"}', "smaller"),
        ('{"NS":["1234567","1234567.0"]}', "twice"),
        ('{"X":"secret"}', "typed value"),
        ('{"S":"%s"}' % ("s" * 409_600), "400 KB"),
        ("{" + '"M":{"a":{' * 40 + '"S":""' + "}}" * 40 + "}", "32 levels"),
        ('{"S":"secret"', "not JSON"),
    ],
    ids=lambda text: text[:20],
)
def test_a_rejection_says_why_without_the_value(target: DynamoDBTarget, value: str, reason: str) -> None:
    good = items(2)
    [rejected] = target.write([good[0], bad("bad", value), good[1]])
    assert rejected.index == 1
    assert rejected.code in ("ValidationException", "SerializationException")
    assert reason in rejected.reason
    assert "secret" not in rejected.reason
    assert "1234567" not in rejected.reason
    assert canonical(target.read([one.address for one in good])) == planned(good)


def test_an_unknown_refusal_does_not_repeat_the_stores_text(target: DynamoDBTarget, server: Any) -> None:
    refusal = failure("ValidationException", text="do not like 'secret'")
    Schedule(target, server, "BatchWriteItem", refusal, failure("Odd", 413, "secret"))
    for _ in range(2):
        [rejected] = target.write(items(1))
        assert "secret" not in f"{rejected.code} {rejected.reason}"


def test_a_delete_the_store_refuses_stops_the_route(target: DynamoDBTarget) -> None:
    target.write(items(2))
    with pytest.raises(PermanentError) as stopped:
        target.delete([items(1)[0].address, '{"_id":{"N":"secret"}}', '{"other":{"S":"x"}}'])
    assert stopped.value.code == "E-DDB-REFUSED"
    assert "secret" not in stopped.value.message
    assert list(target.addresses()) == [items(2)[1].address]


CANNOT_GO_ON = [
    (failure("AccessDeniedException", text="token=secret"), "E-DDB-ACCESS"),
    (failure("ResourceNotFoundException"), "E-DDB-ABSENT"),
    (failure("UnrecognizedClientException", text="secret"), "E-DDB-CREDENTIALS"),
    (failure("ExpiredTokenException"), "E-DDB-CREDENTIALS"),
    (failure("InvalidSignatureException", text="x-amz-security-token:secret"), "E-DDB-CREDENTIALS"),
    (NoCredentialsError(), "E-DDB-CREDENTIALS"),
    (failure("SomethingNewException", text="secret"), "E-DDB-UNKNOWN"),
    (answer(302, b""), "E-DDB-UNKNOWN"),
    # A proxy's own page, an empty answer and one cut short say nothing of what was done or held.
    (answer(200, b"<html>sign in</html>"), "E-DDB-ANSWER"),
    (answer(200, b"{}"), "E-DDB-ANSWER"),
    (answer(200, b'{"Count":0,"B":1,"UnprocessedItems":{'), "E-DDB-ANSWER"),
]


@pytest.mark.parametrize(("fault", "code"), CANNOT_GO_ON)
def test_what_no_item_is_to_blame_for_stops_the_route(
    target: DynamoDBTarget, server: Any, unique: str, fault: Any, code: str
) -> None:
    for operation in ("BatchWriteItem", "BatchGetItem", "Scan"):
        Schedule(target, server, operation, fault, fault)
    [one] = items(1)
    acts: list[Callable[[], object]] = [
        lambda: target.write([one]),
        lambda: target.delete([one.address]),
        lambda: target.read([one.address]),
        lambda: list(target.addresses()),
    ]
    for act in acts:
        with pytest.raises(PermanentError) as stopped:
            act()
        assert stopped.value.code == code
        assert "secret" not in str(stopped.value)
        assert f"'{unique}'" in stopped.value.message
        again: OfframpError = pickle.loads(pickle.dumps(stopped.value))
        assert str(again) == str(stopped.value)
    assert target.write([one]) == []


def test_an_answer_about_items_not_asked_for_stops_the_route(target: DynamoDBTarget, server: Any, unique: str) -> None:
    other = orjson.loads(items(2)[1].body)
    left = {"UnprocessedItems": {unique: [{"PutRequest": {"Item": other}}]}}
    found = {"Responses": {unique: [other]}, "UnprocessedKeys": {}}
    Schedule(target, server, "BatchWriteItem", answer(200, orjson.dumps(left)))
    Schedule(target, server, "BatchGetItem", answer(200, orjson.dumps(found)))
    [one] = items(1)
    with pytest.raises(PermanentError):
        target.write([one])
    with pytest.raises(PermanentError):
        target.read([one.address])


def test_requests_go_side_by_side_up_to_the_limit_and_none_is_left_behind(place: Any, server: Any, unique: str) -> None:
    target = place(requests=4)
    target.prepare()
    together, most, lock = 0, 0, threading.Lock()
    met = threading.Barrier(4)

    def count(**_: Any) -> None:
        nonlocal together, most
        if target.prompt:
            threading.Event().wait(0.02)  # An answer that is waited for.
            return
        with lock:
            together += 1
            most = max(most, together)
        met.wait(30)  # As many as the limit are on their way before any goes on.
        with lock:
            together -= 1

    target.calls.client().meta.events.register("before-send.dynamodb.BatchWriteItem", count)
    # Of 16 requests each of the first 8 is waited for; of the others four at a time are.
    assert target.write(items(400)) == []
    assert most == 4
    assert len(held(server, unique)) == 400


def test_requests_whose_answers_come_at_once_go_one_by_one(place: Any, server: Any, unique: str) -> None:
    # By the time this thread works itself: waiting for a core is no waiting for an answer.
    target = place(requests=4, timing=Timing(clock=time.thread_time))
    target.prepare()
    threads: set[int] = set()

    def work(**_: Any) -> None:
        threads.add(threading.get_ident())
        until = time.thread_time() + 0.05  # Whatever the server takes is little beside it.
        while time.thread_time() < until:
            pass

    target.calls.client().meta.events.register("before-send.dynamodb.BatchWriteItem", work)
    assert target.write(items(300)) == []
    assert target.prompt
    assert threads == {threading.get_ident()}
    assert len(held(server, unique)) == 300


def test_after_an_error_of_one_request_the_same_write_succeeds(place: Any, server: Any, unique: str) -> None:
    target = place(requests=4)
    target.prepare()
    Schedule(target, server, "BatchWriteItem", failure("AccessDeniedException"))
    with pytest.raises(PermanentError):
        target.write(items(100))
    assert target.write(items(100)) == []


@pytest.mark.parametrize("requests", [0, 33])
def test_a_number_of_requests_that_is_not_allowed_is_refused(place: Any, requests: int) -> None:
    with pytest.raises(ValueError, match="requests: is"):
        place(requests=requests)


def test_an_answer_damaged_on_the_way_is_asked_for_again(target: DynamoDBTarget, server: Any, unique: str) -> None:
    damaged: list[int] = []

    def damage(**_: Any) -> AWSResponse | None:
        if not damaged:
            damaged.append(1)
            nothing = answer(200, b'{"Responses":{"%b":[]},"UnprocessedKeys":{}}' % unique.encode())
            nothing.headers["x-amz-crc32"] = "1"
            return nothing
        return None

    target.write(items(1))
    target.calls.client().meta.events.register("before-send.dynamodb.BatchGetItem", damage)
    assert target.read([items(1)[0].address])
    assert damaged


def test_a_closed_target_opens_anew(target: DynamoDBTarget) -> None:
    target.write(items(1))
    target.close()
    target.close()
    assert list(target.addresses()) == [items(1)[0].address]
