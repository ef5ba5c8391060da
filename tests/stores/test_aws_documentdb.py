"""AWS says how long a DocumentDB cluster keeps its changes, or it is said why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import parse_qs

import pytest
from http_servers import Reply, Request, serving

from stores import aws
from stores.aws_documentdb import change_retention_s
from stores.errors import PlanError
from stores.mongodb.configuration import Connection
from stores.mongodb.database import MongoDB

_GROUP = "<DBClusterParameterGroup>migrating</DBClusterParameterGroup>"


def page(action: str, body: str) -> Reply:
    text = f"<{action}Response><{action}Result>{body}</{action}Result></{action}Response>"
    return Reply(200, text.encode(), {"Content-Type": "text/xml"})


def parameter(name: str, value: str) -> str:
    return f"<Parameter><ParameterName>{name}</ParameterName><ParameterValue>{value}</ParameterValue></Parameter>"


Answering = Callable[..., list[str]]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """Answer as AWS does, with these pages of parameters; return what was asked."""
    with ExitStack() as running:

        def answer_by(*pages: str, allowed: bool = True) -> list[str]:
            asked: list[str] = []

            def answer(request: Request) -> Reply:
                keys = {key: values[0] for key, values in parse_qs(request.body.decode()).items()}
                asked.append(keys["Action"])
                if not allowed:
                    text = (
                        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
                    )
                    return Reply(403, text.encode(), {"Content-Type": "text/xml"})
                if keys["Action"] == "DescribeDBClusters":
                    assert keys["DBClusterIdentifier"] == "shop"
                    return page("DescribeDBClusters", f"<DBClusters><DBCluster>{_GROUP}</DBCluster></DBClusters>")
                assert keys["DBClusterParameterGroupName"] == "migrating"
                number = int(keys.get("Marker", "0"))
                more = f"<Marker>{number + 1}</Marker>" if number + 1 < len(pages) else ""
                return page("DescribeDBClusterParameters", f"<Parameters>{pages[number]}</Parameters>{more}")

            url = running.enter_context(serving(answer))
            monkeypatch.setenv("AWS_ENDPOINT_URL_DOCDB", url)
            return asked

        for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_DEFAULT_REGION", "x-1")):
            monkeypatch.setenv(name, value)
        aws.session.cache_clear()
        yield answer_by
    aws.session.cache_clear()


def test_the_parameter_is_found_on_any_page(answering: Answering) -> None:
    asked = answering(parameter("audit_logs", "none"), parameter("change_stream_log_retention_duration", "604800"))
    assert change_retention_s("shop") == 604_800
    assert asked == ["DescribeDBClusters", "DescribeDBClusterParameters", "DescribeDBClusterParameters"]


def test_what_aws_does_not_tell_has_its_reason(answering: Answering) -> None:
    answering(parameter("audit_logs", "none"))
    with pytest.raises(PlanError, match="has no change_stream_log_retention_duration"):
        change_retention_s("shop")
    answering("", allowed=False)
    with pytest.raises(PlanError, match=r"AccessDenied.*allow rds:DescribeDBClusters") as error:
        change_retention_s("shop")
    assert error.value.code == "E-SRC-RETENTION"


def test_a_source_asks_once_and_only_where_the_plan_names_a_cluster(answering: Answering) -> None:
    asked = answering(parameter("change_stream_log_retention_duration", "7200"))
    mongo = MongoDB(Connection("mongodb://127.0.0.1:1/", "shop", aws_cluster="shop"))
    assert [mongo.changes()._given_window_s for _ in range(2)] == [7200, 7200]
    assert len(asked) == 2
    given = MongoDB(Connection("mongodb://127.0.0.1:1/", "shop", change_retention=3600))
    assert given.changes()._given_window_s == 3600
    assert len(asked) == 2
    for one in (mongo, given):
        one.close()


def test_one_of_the_two_keys_is_enough() -> None:
    with pytest.raises(ValueError, match="aws_cluster: AWS is asked for what change_retention says already"):
        Connection("mongodb://127.0.0.1:1/", "shop", aws_cluster="shop", change_retention=1)
    with pytest.raises(ValueError, match="change_retention: is 0"):
        Connection("mongodb://127.0.0.1:1/", "shop", change_retention=0)
