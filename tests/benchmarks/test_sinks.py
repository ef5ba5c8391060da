"""The targets that only acknowledge, through the clients that users have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pytest
from elastic_transport import HttpHeaders, Urllib3HttpNode
from elastic_transport.client_utils import url_to_node_config
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk

from benchmarks.processes import serving


@pytest.fixture(scope="module")
def dynamodb(starts_server: None) -> Iterator[dict[bool, Any]]:
    """A client of a sink that keeps (True) and of one that does not."""
    with ExitStack() as running:
        clients = {}
        for keep in (True, False):
            port = running.enter_context(serving("benchmarks.sink", "dynamodb", "0", *(["--keep"] if keep else [])))
            clients[keep] = boto3.client(
                "dynamodb",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name="eu-west-1",
                aws_access_key_id="x",
                aws_secret_access_key="x",
            )
        yield clients


@pytest.fixture(scope="module")
def elasticsearch_sink(starts_server: None) -> Iterator[str]:
    with serving("benchmarks.sink", "elasticsearch", "0", "--keep") as port:
        yield f"http://127.0.0.1:{port}"


def make_table(client: Any, name: str) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_table(TableName=name)
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    assert client.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE"


def put(client: Any, table: str, number: int) -> Any:
    items = [{"_id": {"S": f"{at}"}, "n": {"N": f"{at}"}} for at in range(number)]
    for first in range(0, number, 25):
        requests = [{"PutRequest": {"Item": item}} for item in items[first : first + 25]]
        answer = client.batch_write_item(RequestItems={table: requests})
        assert answer["UnprocessedItems"] == {}
        assert "x-amz-crc32" in answer["ResponseMetadata"]["HTTPHeaders"]
    return items


def test_a_keeping_dynamodb_gives_back_what_it_was_given(dynamodb: dict[bool, Any]) -> None:
    client = dynamodb[True]
    make_table(client, "kept")
    items = put(client, "kept", 4_100)
    asked = {"kept": {"Keys": [{"_id": items[at]["_id"]} for at in (7, 4_000)] + [{"_id": {"S": "no"}}]}}
    assert client.batch_get_item(RequestItems=asked)["Responses"]["kept"] == [items[7], items[4_000]]
    pages = client.get_paginator("scan").paginate(TableName="kept", ProjectionExpression="#i")
    assert [item for page in pages for item in page["Items"]] == [{"_id": item["_id"]} for item in items]


def test_a_dynamodb_that_does_not_keep_acknowledges_and_forgets(dynamodb: dict[bool, Any]) -> None:
    client = dynamodb[False]
    make_table(client, "null")
    put(client, "null", 25)
    assert client.scan(TableName="null")["Items"] == []


def test_an_elasticsearch_answers_helpers_and_gives_back_what_it_was_given(elasticsearch_sink: str) -> None:
    with Elasticsearch(elasticsearch_sink) as client:
        client.indices.create(index="kept", mappings={"dynamic": "false"})
        client.indices.delete(index="nothing")
        actions = ({"_index": "kept", "_id": f"{at}", "_source": {"n": at}} for at in range(1_200))
        assert bulk(client, actions) == (1_200, [])
        found = client.mget(index="kept", ids=["3", "none"])["docs"]
        assert [one["found"] for one in found] == [True, False]
        assert found[0]["_source"] == {"n": 3}
        assert client.indices.get(index="kept")["kept"]["mappings"] == {"dynamic": "false"}


def test_an_elasticsearch_answers_with_the_parts_that_were_asked_for(elasticsearch_sink: str) -> None:
    node = Urllib3HttpNode(url_to_node_config(elasticsearch_sink))
    body = b'{"index":{"_id":"1"}}\n{}\n{"index":{"_id":"2"}}\n{}\n'
    headers = HttpHeaders({"content-type": "application/x-ndjson"})
    expected = {
        "errors,items.*.error": b'{"errors":false}',
        "errors,items.*._id": b'{"errors":false,"items":[{"index":{"_id":"1"}},{"index":{"_id":"2"}}]}',
    }
    for asked, answer in expected.items():
        assert node.perform_request("POST", f"/some/_bulk?filter_path={asked}", body, headers).body == answer
    node.close()


@pytest.mark.server
@pytest.mark.process
def test_latency_delays_what_writes_and_nothing_else() -> None:
    with serving("benchmarks.sink", "elasticsearch", "0", "--latency-ms", "200") as port:
        node = Urllib3HttpNode(url_to_node_config(f"http://127.0.0.1:{port}"))
        node.perform_request("GET", "/")
        began = time.monotonic()
        node.perform_request("POST", "/some/_bulk", b'{"index":{"_id":"1"}}\n{}\n')
        assert time.monotonic() - began >= 0.2
        node.close()
