"""A local AWS that checks signatures, policies and trust as the real one does, and identities in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from flows.demo import servers

ROOT = "test"
"""Access key and secret key of the account itself, who may do everything."""


@dataclass(frozen=True)
class GuardedAws:
    """The server and the account's own clients."""

    endpoint: str

    def client(self, service: str, identity: Mapping[str, str] | None = None) -> Any:
        """Return a client of the account itself, or of an identity."""
        keys = identity or {"AWS_ACCESS_KEY_ID": ROOT, "AWS_SECRET_ACCESS_KEY": ROOT}
        return boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        )

    def user(self, name: str, statements: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
        """Return the environment of a new user who may do what the statements allow."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=_policy(statements))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}

    def role(self, name: str, trust: Mapping[str, Any]) -> str:
        """Return the ARN of a new role that trusts whom the statement names."""
        made = self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=_policy([trust]))
        return str(made["Role"]["Arn"])


@contextmanager
def guarded_aws(folder: Path) -> Iterator[GuardedAws]:
    """Give the server; it is gone at the end of the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"AUTH": "true", "AWS_ACCESS_KEY_ID": ROOT, "AWS_SECRET_ACCESS_KEY": ROOT}.items():
            patch.setenv(name, value)
        with servers.dynamodb(folder, "iam", "sts") as endpoint:
            yield GuardedAws(endpoint)


def _policy(statements: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
