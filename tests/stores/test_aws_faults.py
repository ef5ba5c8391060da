"""AWS that cannot be reached or signed in to: each cause by its name and with what to do, and no secret in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from certificates import Authority
from guarded_aws import GuardedAws, guarded_aws
from http_servers import Reply, Request, serving
from tls_relay import saying, tls_relays

from flows.demo import servers
from mappers.dynamodb.records import item
from stores.aws import session
from stores.aws_faults import is_known_region, refused_action
from stores.dynamodb.s3 import Objects
from stores.dynamodb.target import DynamoDBTarget
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.throttling.backoff import Timing

SECRET = "s3cr3tSecretKey"
IN_A_HURRY = Timing(clock=iter(range(0, 10**9, 3600)).__next__)
"""Each look at this clock finds the deadline passed: one attempt."""


@pytest.fixture(scope="module")
def aws(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedAws]:
    with guarded_aws(tmp_path_factory.mktemp("guarded")) as server:
        yield server


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Set the AWS variables of this process, where nothing else of AWS is left from before."""
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    session.cache_clear()
    yield set_all
    session.cache_clear()


KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": SECRET}


def refusal(
    endpoint: str | None, *, timing: Timing = IN_A_HURRY, region: str = "eu-west-1", **how: str
) -> OfframpError:
    connection = DynamoDBTarget.Connection(endpoint=endpoint, region=region)
    target = DynamoDBTarget(connection, DynamoDBTarget.Placement(), "orders", timing=timing)
    with pytest.raises(OfframpError) as caught:
        target.check()
    target.close()
    assert SECRET not in str(caught.value)
    return caught.value


@dataclass(frozen=True)
class Places:
    authority: Authority
    closed: int
    mute: int
    redis: int
    tls: int
    other_host: int
    expired: int
    mutual: int


@pytest.fixture(scope="module")
def places(dynamodb_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    upstream = urlsplit(dynamodb_endpoint).port or 0
    with ExitStack() as running:
        begin = running.enter_context
        yield Places(
            authority,
            closed=servers.free_port(),
            mute=begin(saying(b"")),
            redis=begin(saying(b"-ERR unknown command\r\n")),
            **begin(tls_relays(upstream, authority)),
        )


LASTING, PASSING = PermanentError, TransientError


@pytest.mark.parametrize(
    ("endpoint", "trusted", "kind", "code", "words"),
    [
        ("http://127.0.0.1:{closed}", True, PASSING, "E-DDB-NETWORK", ["127.0.0.1:{closed}", "refused", "`endpoint`"]),
        ("https://nosuch.invalid", True, PASSING, "E-DDB-NETWORK", ["nosuch.invalid", "host name is unknown"]),
        ("http://127.0.0.1:{mute}", True, PASSING, "E-DDB-NETWORK", ["127.0.0.1:{mute}", "closed the connection"]),
        ("http://127.0.0.1:{redis}", True, PASSING, "E-DDB-NETWORK", ["127.0.0.1:{redis}", "leads to the service"]),
        ("http://127.0.0.1:{tls}", True, PASSING, "E-DDB-NETWORK", ["127.0.0.1:{tls}", "https"]),
        ("https://127.0.0.1:{redis}", True, LASTING, "E-DDB-TLS", ["127.0.0.1:{redis}", "does not speak TLS"]),
        ("https://127.0.0.1:{tls}", False, LASTING, "E-DDB-TLS", ["no authority", "AWS_CA_BUNDLE"]),
        ("https://localhost:{other_host}", True, LASTING, "E-DDB-TLS", ["localhost:{other_host}", "another host name"]),
        ("https://127.0.0.1:{expired}", True, LASTING, "E-DDB-TLS", ["127.0.0.1:{expired}", "expired"]),
        ("https://127.0.0.1:{mutual}", True, LASTING, "E-DDB-TLS", ["client certificate"]),
    ],
)
def test_each_fault_of_a_connection_has_its_host_cause_and_remedy(
    places: Places,
    environment: Callable[..., None],
    endpoint: str,
    trusted: bool,
    kind: type[OfframpError],
    code: str,
    words: list[str],
) -> None:
    environment(**KEYS, **({"AWS_CA_BUNDLE": str(places.authority.file)} if trusted else {}))
    error = refusal(endpoint.format(**vars(places)))
    assert (type(error), error.code) == (kind, code), error
    for word in words:
        assert word.format(**vars(places)) in error.message


def test_a_bundle_of_authorities_that_is_missing_is_named(places: Places, environment: Callable[..., None]) -> None:
    environment(**KEYS, AWS_CA_BUNDLE="/no/such/bundle.pem")
    error = refusal(f"https://127.0.0.1:{places.tls}")
    assert (type(error), error.code) == (PermanentError, "E-DDB-TLS")
    assert "AWS_CA_BUNDLE" in error.message


def test_a_server_with_a_certificate_of_the_bundle_is_taken(places: Places, environment: Callable[..., None]) -> None:
    environment(**KEYS, AWS_CA_BUNDLE=str(places.authority.file))
    connection = DynamoDBTarget.Connection(endpoint=f"https://127.0.0.1:{places.tls}", region="eu-west-1")
    target = DynamoDBTarget(connection, DynamoDBTarget.Placement(), "orders")
    assert target.check() == ()
    target.close()


def test_a_region_that_does_not_exist_is_a_fault_of_the_plan(
    environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def unknown(host: str, *_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # The real name service belongs to somebody else.
    environment(**KEYS)
    error = refusal(None, region="eu-nowhere-9")
    assert (type(error), error.code) == (PlanError, "E-DDB-REGION")
    assert "'eu-nowhere-9'" in error.message
    known = refusal(None, region="eu-west-1")
    assert (type(known), known.code) == (TransientError, "E-DDB-NETWORK")
    assert "dynamodb.eu-west-1.amazonaws.com" in known.message


def test_regions_of_every_partition_are_known() -> None:
    assert all(is_known_region(region, "dynamodb") for region in ("eu-west-1", "cn-north-1", "us-gov-west-1"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, ["NoCredentialsError", "AWS_ACCESS_KEY_ID", "docs/permissions.md"]),
        ({"AWS_ACCESS_KEY_ID": "AKIATEST"}, ["PartialCredentialsError", "AWS_SECRET_ACCESS_KEY"]),
        (KEYS, ["UnrecognizedClientException", "check the AWS credentials"]),
        (KEYS | {"AWS_SESSION_TOKEN": SECRET}, ["UnrecognizedClientException"]),
        ({"AWS_PROFILE": "exec"}, ["CredentialRetrievalError", "custom-process"]),
        ({"AWS_PROFILE": "sso"}, ["sign-in", "aws sso login"]),
        ({"AWS_PROFILE": "circle"}, ["InfiniteLoopConfigError", "AWS configuration"]),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/token"}, ["/no/token", "No such file"]),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "{folder}"}, ["{folder}", "Is a directory"]),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "{folder}/token"}, ["AssumeRoleWithWebIdentity", "trust policy"]),
        ({"AWS_PROFILE": "role"}, ["AssumeRole", "trust policy"]),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:{closed}/"}, ["CredentialRetrievalError"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_credentials_that_are_missing_or_wrong_are_told_as_that_at_once(
    aws: GuardedAws,
    environment: Callable[..., None],
    tmp_path: Path,
    unique: str,
    keys: Mapping[str, str],
    words: list[str],
) -> None:
    role = aws.role(f"untrusting{unique}", {"Effect": "Deny", "Principal": "*", "Action": "sts:*"})
    (tmp_path / "token").write_text("header.payload.signature")
    (tmp_path / "AWS_CONFIG_FILE").write_text(
        f"[profile exec]\ncredential_process = sh -c 'echo {SECRET} >&2; exit 1'\n"
        "[profile sso]\nsso_start_url = https://sso.invalid/start\nsso_region = eu-west-1\n"
        "sso_account_id = 000000000000\nsso_role_name = reader\n"
        "[profile circle]\nrole_arn = arn:aws:iam::000000000000:role/a\nsource_profile = other\n"
        "[profile other]\nrole_arn = arn:aws:iam::000000000000:role/b\nsource_profile = circle\n"
        f"[profile role]\nrole_arn = {role}\nsource_profile = keys\n"
        "[profile keys]\naws_access_key_id = test\naws_secret_access_key = test\n"
    )
    filled = {name: text.format(folder=tmp_path, closed=servers.free_port()) for name, text in keys.items()}
    if "AWS_WEB_IDENTITY_TOKEN_FILE" in filled:
        filled["AWS_ROLE_ARN"] = role
    environment(**filled, AWS_ENDPOINT_URL_STS=aws.endpoint)
    error = refusal(aws.endpoint, timing=Timing())
    assert (type(error), error.code) == (PermanentError, "E-DDB-CREDENTIALS"), error
    for word in words:
        assert word.format(folder=tmp_path) in error.message
    bucket = Objects(
        "things", "", "oversize_bucket", region="eu-west-1", endpoint=aws.endpoint, profile=None, deadline_s=1
    )
    with pytest.raises(PlanError) as refused:
        bucket.check()
    assert refused.value.code == "E-S3-CREDENTIALS", refused.value
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("operation", "status", "code", "words"),
    [
        ("sts", 400, "InvalidIdentityToken", ["identity provider", "audience"]),
        ("sts", 400, "ExpiredTokenException", ["expired", "renewed"]),
        ("sts", 403, "RegionDisabledException", ["switched off"]),
        ("sts", 400, "SomethingNew", ["(SomethingNew)", "trust policy"]),
    ],
)
def test_what_only_the_real_sts_refuses(
    environment: Callable[..., None], tmp_path: Path, operation: str, status: int, code: str, words: list[str]
) -> None:
    def sts(_: Request) -> Reply:
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{SECRET}</Message></Error></ErrorResponse>"
        return Reply(status, body.encode(), {"Content-Type": "text/xml"})

    (tmp_path / "token").write_text("header.payload.signature")
    with serving(sts) as url:
        environment(
            AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "token"),
            AWS_ROLE_ARN="arn:aws:iam::000000000000:role/offramp",
            AWS_ENDPOINT_URL_STS=url,
        )
        error = refusal("http://127.0.0.1:1")
    assert (type(error), error.code) == (PermanentError, "E-DDB-CREDENTIALS"), error
    for word in words:
        assert word in error.message


def test_a_clock_that_is_wrong_is_told_as_that(environment: Callable[..., None]) -> None:
    def dynamodb(_: Request) -> Reply:
        text = "Signature expired: 20200101T000000Z is now earlier than 20261130T000000Z"
        return Reply(
            400, json.dumps({"__type": "com.amazon.coral.service#InvalidSignatureException", "message": text}).encode()
        )

    environment(**KEYS)
    with serving(dynamodb) as url:
        error = refusal(url)
    assert (type(error), error.code) == (PermanentError, "E-DDB-CREDENTIALS")
    assert "clock" in error.message


def test_signed_requests_go_over_tls_or_stay_on_this_machine(environment: Callable[..., None]) -> None:
    environment(**KEYS)
    for url in ("http://dynamodb.example", "http://10.0.0.7:8000"):
        error = refusal(url)
        assert (type(error), error.code) == (PlanError, "E-DDB-ENDPOINT")
        assert "https" in error.message
        bucket = Objects("b", "", "oversize_bucket", region="eu-west-1", endpoint=url, profile=None, deadline_s=1)
        with pytest.raises(PlanError) as refused:
            bucket.check()
        assert refused.value.code == "E-S3-CLIENT"
    environment(AWS_ENDPOINT_URL_DYNAMODB="http://dynamodb.example")  # boto3 takes it from there too.
    session.cache_clear()
    assert refusal(None).code == "E-DDB-ENDPOINT"


DESCRIBE = {"Effect": "Allow", "Action": "dynamodb:DescribeTable", "Resource": "*"}


def test_the_action_that_was_refused_is_named_alone(
    aws: GuardedAws, environment: Callable[..., None], unique: str
) -> None:
    environment(**aws.user(f"nobody{unique}", []))
    error = refusal(aws.endpoint)
    assert (type(error), error.code) == (PermanentError, "E-DDB-ACCESS")
    assert "dynamodb:DescribeTable is refused (no identity-based policy allows it)" in error.message
    assert "BatchWriteItem" not in error.message

    session.cache_clear()
    environment(**aws.user(f"reader{unique}", [DESCRIBE]))
    target = DynamoDBTarget(
        DynamoDBTarget.Connection(endpoint=aws.endpoint, region="eu-west-1"), DynamoDBTarget.Placement(), unique
    )
    with pytest.raises(PermanentError) as refused:
        target.prepare()
    assert "dynamodb:CreateTable is refused" in refused.value.message
    aws.client("dynamodb").create_table(
        TableName=unique,
        KeySchema=[{"AttributeName": "_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(PermanentError) as refused:
        target.write([item({"_id": "s:1"})])
    assert (refused.value.code, "dynamodb:BatchWriteItem is refused" in refused.value.message) == ("E-DDB-ACCESS", True)
    target.close()


def test_the_action_on_a_bucket_that_was_refused_is_named_alone(
    aws: GuardedAws, environment: Callable[..., None], unique: str
) -> None:
    environment(**aws.user(f"nobody{unique}", []))
    aws.client("s3").create_bucket(Bucket=unique.lower(), CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    bucket = Objects(
        unique.lower(), "", "oversize_bucket", region="eu-west-1", endpoint=aws.endpoint, profile=None, deadline_s=1
    )
    with pytest.raises(PlanError) as refused:
        bucket.check()
    assert refused.value.code == "E-S3-ACCESS"
    assert "s3:ListBucket is refused" in refused.value.message
    with pytest.raises(PermanentError) as stopped:
        bucket.delete(["x"])
    assert "s3:DeleteObject" in stopped.value.message or stopped.value.code == "E-S3-REFUSED"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "dynamodb:Scan is refused"),
        (f"token={SECRET}", "dynamodb:Scan is refused"),
        (
            "User: arn:aws:iam::1:user/u is not authorized to perform: dynamodb:TagResource on resource: arn:aws:x"
            " because no permissions boundary allows the dynamodb:TagResource action",
            "dynamodb:TagResource is refused (no permissions boundary allows it)",
        ),
        (
            "User: u is not authorized to perform: kms:Decrypt on resource: r with an explicit deny in a service"
            " control policy",
            "kms:Decrypt is refused (an explicit deny in a service control policy)",
        ),
    ],
)
def test_the_refused_action_is_what_aws_names_else_the_operation(text: str, expected: str) -> None:
    error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": text}}, "Scan")
    assert refused_action(error, "dynamodb:Scan") == expected
