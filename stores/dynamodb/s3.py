"""Objects of S3: what is too large for an item, written before the item that needs it, and the files of an import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore import exceptions as aws
from botocore.config import Config

from stores.aws import MAKING, RequestFence, session
from stores.aws_faults import error_code, http_status, login_fault, network_fault, refused_action
from stores.contract.fence import NO_FENCE, Fence
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.throttling.backoff import Backoff, retry
from stores.throttling.batches import cut
from stores.transport_security import why_no_signing

_ABSENT = frozenset(("NoSuchKey", "404", "NotFound"))
_BUSY = frozenset(("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted"))
_LOGIN_CODES = {
    "InvalidAccessKeyId": "the access key does not exist; correct the AWS credentials",
    "SignatureDoesNotMatch": "the secret key is wrong; correct the AWS credentials",
    "ExpiredToken": "the session token has expired; sign in again, then run the same command",
    "InvalidToken": "the session token is wrong; sign in again, then run the same command",
    "RequestTimeTooSkewed": "this machine's clock is wrong; correct it, then run the same command",
}
_ACTIONS = {"ListObjectsV2": "ListBucket", "DeleteObjects": "DeleteObject"}
"""Operations whose action has another name."""
_DELETE_LIMIT = 1000
_CONTROL_DEADLINE_S = 30.0


class Objects:
    """The objects of one bucket whose names begin with a prefix; names are given whole."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        option: str,
        *,
        region: str | None,
        endpoint: str | None,
        profile: str | None,
        deadline_s: float,
        fence: Fence = NO_FENCE,
    ) -> None:
        """Keep what the client is made of at the first call; `option` is the key of the plan that names the bucket."""
        self._bucket = bucket
        self._prefix = prefix
        self._option = option
        self._region = region
        self._endpoint = endpoint
        self._profile = profile
        self._deadline_s = deadline_s
        self._fence = fence
        self._request_fence = RequestFence()
        self._client: Any = None

    def check(self) -> None:
        """Return if the bucket is there and may be listed; raises PlanError otherwise."""
        try:
            self._called(
                "list_objects_v2", deadline_s=_CONTROL_DEADLINE_S, Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1
            )
        except PermanentError as error:
            raise PlanError(error.code, error.message) from error

    def put(self, pieces: Mapping[str, bytes], owner: Mapping[str, Any]) -> None:
        """Every object is held and acknowledged."""
        for name, content in pieces.items():
            kind = "application/gzip" if name.endswith(".gz") else "application/zstd"
            self._called("put_object", fence=self._fence, Bucket=self._bucket, Key=name, Body=content, ContentType=kind)

    def get(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return the objects of these names; an absent object is not in the answer."""
        contents: dict[str, bytes] = {}
        for name in names:
            content = self._called("get_object", _content, Bucket=self._bucket, Key=name)
            if content is not None:
                contents[name] = content
        return contents

    def delete(self, names: Sequence[str]) -> None:
        """There are no objects of these names."""
        for batch in cut(names, _DELETE_LIMIT):
            keys = [{"Key": name} for name in batch]
            answer = self._called(
                "delete_objects", fence=self._fence, Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True}
            )
            if answer.get("Errors"):
                code = answer["Errors"][0].get("Code", "")
                raise PermanentError("E-S3-REFUSED", f"bucket {self._bucket!r}: delete is refused ({code}); allow it")

    def names(self) -> Iterator[str]:
        """Yield the name of every object under the prefix."""
        yield from (name for name, _ in self.sizes())

    def sizes(self, below: str = "") -> Iterator[tuple[str, int]]:
        """Yield the name and the size of every object under the prefix and what is `below` it."""
        position: dict[str, Any] = {}
        while True:
            page = self._called("list_objects_v2", Bucket=self._bucket, Prefix=self._prefix + below, **position)
            for listed in page.get("Contents", ()):
                yield listed["Key"], listed["Size"]
            if not page.get("IsTruncated"):
                return
            position = {"ContinuationToken": page["NextContinuationToken"]}

    def close(self) -> None:
        """Release connections; a later call opens new ones."""
        with MAKING:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _called(
        self,
        method: str,
        take: Callable[[Any], Any] = lambda answer: answer,
        *,
        deadline_s: float | None = None,
        fence: Fence = NO_FENCE,
        **arguments: Any,
    ) -> Any:
        """Return what `take` makes of the answer, None where there is no such object; transient errors are retried.

        The fence is looked at right before each request is sent.
        """

        def call() -> Any:
            try:
                with self._request_fence.under(fence):
                    return take(getattr(self._made(), method)(**arguments))
            except (aws.BotoCoreError, aws.ClientError, OSError) as error:
                if isinstance(error, aws.ClientError) and error_code(error) in _ABSENT:
                    return None
                raise self._translated(error) from error

        return retry(call, Backoff(self._deadline_s if deadline_s is None else deadline_s))

    def _made(self) -> Any:
        with MAKING:
            if self._client is None:
                config = Config(
                    connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 1}
                )
                if self._endpoint is not None:  # Another server than AWS's has no host name for each bucket.
                    config = config.merge(Config(s3={"addressing_style": "path"}))
                try:
                    client = session(self._profile, self._region).client(
                        "s3", endpoint_url=self._endpoint, config=config
                    )
                except (aws.ProfileNotFound, aws.NoRegionError, ValueError) as error:
                    text = (
                        "`region`, `profile` or `s3_endpoint` is not usable for S3; correct it under targets.dynamodb"
                    )
                    raise PlanError("E-S3-CLIENT", text) from error
                if (reason := why_no_signing("s3_endpoint", client.meta.endpoint_url)) is not None:
                    raise PlanError("E-S3-CLIENT", reason)
                self._request_fence.watch(client, "s3")
                self._client = client
            return self._client

    def _translated(self, error: Exception) -> OfframpError:
        """Return the error by who must act; nothing of AWS's own texts, which may quote secrets."""
        at = f"bucket {self._bucket!r}: "
        if (fault := network_fault(error, "s3_endpoint")) is not None:
            if not fault.passes:
                return PermanentError("E-S3-TLS", f"{at}{fault.text}")
            return TransientError("E-S3-NETWORK", f"{at}{fault.text}")
        if (reason := login_fault(error)) is not None:
            return PermanentError("E-S3-CREDENTIALS", f"{at}{reason}")
        if not isinstance(error, aws.ClientError):
            return PermanentError("E-S3-UNKNOWN", f"{at}{type(error).__name__}; check credentials and `s3_endpoint`")
        code, status = error_code(error), http_status(error)
        if code == "NoSuchBucket":
            return PermanentError(
                "E-S3-BUCKET", f"{at}it does not exist; create it, or name another in `{self._option}`"
            )
        if code in _BUSY or status >= 500 or status == 429:
            return TransientError("E-S3-BUSY", f"{at}{code or status}; the same command resumes later")
        if code in _LOGIN_CODES:
            return PermanentError("E-S3-CREDENTIALS", f"{at}{code}: {_LOGIN_CODES[code]}")
        if status == 403:
            action = refused_action(error, f"s3:{_ACTIONS.get(error.operation_name, error.operation_name)}")
            text = f"{at}{action}; allow it to these credentials (docs/permissions.md)"
            return PermanentError("E-S3-ACCESS", text)
        return PermanentError("E-S3-UNKNOWN", f"{at}{code or status}, an error that offramp does not know")


def _content(answer: Any) -> bytes:
    with answer["Body"] as body:
        content: bytes = body.read()
        return content
