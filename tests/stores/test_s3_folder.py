"""A folder in S3: files are written whole, and what keeps them from it is known before and told without a secret."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from guarded_aws import ROOT, GuardedAws, guarded_aws
from http_servers import Reply, Request, serving

from flows.demo import servers
from stores.aws import session
from stores.errors import OfframpError, PermanentError, TransientError
from stores.s3_folder import S3Folder

Use = Callable[..., None]


@pytest.fixture(scope="module")
def aws(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedAws]:
    with guarded_aws(tmp_path_factory.mktemp("guarded")) as server:
        yield server


@pytest.fixture
def use(starts_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Use]:
    """Set the settings of AWS of this process, which has no others: ``use(endpoint, **variables)``."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def set_all(endpoint: str, **variables: str) -> None:
        keys = {"AWS_ACCESS_KEY_ID": ROOT, "AWS_SECRET_ACCESS_KEY": ROOT, "AWS_DEFAULT_REGION": "eu-west-1"}
        for name, value in {**keys, "AWS_ENDPOINT_URL_S3": endpoint, **variables}.items():
            monkeypatch.setenv(name, value)
        session.cache_clear()

    yield set_all
    session.cache_clear()


@pytest.fixture
def bucket(aws: GuardedAws, unique: str) -> str:
    client = aws.client("s3")
    client.create_bucket(Bucket=unique, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return unique


def held(aws: GuardedAws, bucket: str) -> dict[str, bytes]:
    """Return what the bucket holds, by name; no upload is left under way."""
    client = aws.client("s3")
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    listed: Sequence[Any] = client.list_objects_v2(Bucket=bucket).get("Contents", ())
    return {each["Key"]: client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in listed}


def refusal(folder: S3Folder, write: Callable[[S3Folder], None]) -> OfframpError:
    with pytest.raises(OfframpError) as refused:
        write(folder)
    return refused.value


def check(folder: S3Folder) -> None:
    folder.check("report.json")


def put(folder: S3Folder) -> None:
    folder.put("report.json", b"{}", "application/json")


@pytest.mark.parametrize(
    ("path", "prefix"), [("", ""), ("/", ""), ("/shop", "shop/"), ("/teams/a b/Ä/", "teams/a b/Ä/")]
)
def test_files_are_objects_below_the_prefix(aws: GuardedAws, use: Use, bucket: str, path: str, prefix: str) -> None:
    use(aws.endpoint)
    folder = S3Folder(f"s3://{bucket}{path}", "--report")
    check(folder)
    assert held(aws, bucket) == {}, "a check writes nothing"
    for content in (b"first", b"second"):
        folder.put("report.json", content, "application/json")
        assert held(aws, bucket) == {f"{prefix}report.json": content}
    check(folder)
    assert held(aws, bucket) == {f"{prefix}report.json": b"second"}, "and changes nothing"
    kept = aws.client("s3").head_object(Bucket=bucket, Key=f"{prefix}report.json")
    assert kept["ContentType"] == "application/json"
    assert str(folder) == f"s3://{bucket}/{prefix}".rstrip("/")
    assert folder.url_of("report.json") == f"s3://{bucket}/{prefix}report.json"


@pytest.mark.parametrize("write", [check, put])
def test_a_bucket_that_is_not_there_is_refused(aws: GuardedAws, use: Use, unique: str, write: Any) -> None:
    use(aws.endpoint)
    error = refusal(S3Folder(f"s3://{unique}/x", "--report"), write)
    assert (type(error), error.code) == (PermanentError, "E-S3-BUCKET")
    assert error.message == f"bucket {unique!r}: it does not exist; create it, or name another in --report"


def test_writing_and_looking_need_just_the_documented_actions(aws: GuardedAws, use: Use, bucket: str) -> None:
    allowed = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:AbortMultipartUpload"]}
    only = {**allowed, "Resource": f"arn:aws:s3:::{bucket}/reports/*"}
    use(aws.endpoint, **aws.user(f"writer-{bucket}", [only]))
    folder = S3Folder(f"s3://{bucket}/reports", "--report")
    check(folder)
    put(folder)
    assert [*held(aws, bucket)] == ["reports/report.json"]
    elsewhere = S3Folder(f"s3://{bucket}/other", "--report")
    for write in (check, put):
        error = refusal(elsewhere, write)
        assert (type(error), error.code) == (PermanentError, "E-S3-ACCESS")
        assert "s3:PutObject is refused" in error.message
        assert "allow it to these credentials (docs/permissions.md)" in error.message


def test_a_bucket_of_another_region_is_named_as_such(use: Use) -> None:
    def answer(request: Request) -> Reply:
        if request.method == "HEAD":  # botocore asks for the region, which only AWS tells.
            return Reply(404, b"")
        body = b"<Error><Code>PermanentRedirect</Code><Message>secret words</Message></Error>"
        return Reply(301, body, {"content-type": "application/xml"})

    with serving(answer) as url:
        use(url)
        for write in (check, put):
            error = refusal(S3Folder("s3://bucket/x", "--report", 0), write)
            assert error.code == "E-S3-BUCKET"
            assert error.message == (
                "bucket 'bucket': it is in another region; name that as the region of AWS's settings"
            )


def test_a_server_that_is_away_or_busy_may_be_asked_again(use: Use) -> None:
    use(f"http://127.0.0.1:{servers.free_port()}")
    error = refusal(S3Folder("s3://bucket/x", "--report", 0), check)
    assert (type(error), error.code) == (TransientError, "E-S3-NETWORK")
    answers = iter([503, 503])

    def busy_once(_: Request) -> Reply:
        return Reply(next(answers, 200), b"")

    with serving(busy_once) as url:
        use(url)
        put(S3Folder("s3://bucket/x", "--report"))
    assert next(answers, None) is None


def test_wrong_credentials_and_plain_http_elsewhere_are_refused(aws: GuardedAws, use: Use, bucket: str) -> None:
    use(aws.endpoint, AWS_ACCESS_KEY_ID="AKIANOBODY", AWS_SECRET_ACCESS_KEY="planted-secret")
    error = refusal(S3Folder(f"s3://{bucket}/x", "--report"), check)
    assert error.code == "E-S3-CREDENTIALS"
    assert "planted-secret" not in error.message
    use("http://store.example:9000")
    assert refusal(S3Folder(f"s3://{bucket}/x", "--report"), check).code == "E-S3-CLIENT"


@pytest.mark.parametrize(
    "url",
    [
        *("s3://", "s3:///x", "s3://Bucket/x", "s3://b/x", "s3://key:secret@bucket/x", "s3://bucket/x?versionId=1"),
        *("s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/a\nb", "S3://bucket/x", f"s3://bucket/{'x' * 1_020}"),
    ],
)
def test_another_url_is_no_folder(url: str) -> None:
    with pytest.raises(ValueError, match=r"^write s3://bucket/prefix$"):
        S3Folder(url, "--report")
