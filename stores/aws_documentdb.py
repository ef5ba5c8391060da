"""What AWS says of an Amazon DocumentDB cluster that its server does not."""

from __future__ import annotations

from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from stores import aws
from stores.errors import PlanError

_PARAMETER: Final = "change_stream_log_retention_duration"


def change_retention_s(cluster: str) -> float:
    """Return for how long the cluster keeps its changes, by its parameter group; credentials are of AWS's own chain.

    Raises PlanError where AWS does not tell it.
    """
    try:
        client = _client()
        (described,) = client.describe_db_clusters(DBClusterIdentifier=cluster)["DBClusters"]
        pages = client.get_paginator("describe_db_cluster_parameters").paginate(
            DBClusterParameterGroupName=described["DBClusterParameterGroup"]
        )
        for page in pages:
            for parameter in page["Parameters"]:
                if parameter["ParameterName"] == _PARAMETER and parameter.get("ParameterValue"):
                    return float(parameter["ParameterValue"])
    except (BotoCoreError, ClientError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        raise PlanError(
            "E-SRC-RETENTION",
            f"source.aws_cluster: AWS does not tell how long {cluster!r} keeps its changes ({code}); allow"
            " rds:DescribeDBClusters and rds:DescribeDBClusterParameters, or say source.change_retention in its place",
        ) from error
    raise PlanError(
        "E-SRC-RETENTION",
        f"source.aws_cluster: the parameter group of {cluster!r} has no {_PARAMETER}; say source.change_retention in"
        " its place",
    )


def _client() -> Any:
    session = aws.session(None, None)
    with aws.MAKING:
        return session.client("docdb")
