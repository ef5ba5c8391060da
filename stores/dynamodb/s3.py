"""Objects of S3: what is too large for an item, written before the item that needs it, and the files of an import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore import exceptions as aws

from stores.aws import MAKING, RequestFence
from stores.aws_faults import error_code
from stores.contract.fence import NO_FENCE, Fence
from stores.errors import PermanentError, PlanError
from stores.s3 import Wording, make_client, s3_error
from stores.throttling.backoff import Backoff, retry
from stores.throttling.batches import cut

_ABSENT = frozenset(("NoSuchKey", "404", "NotFound"))
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
        self._wording = Wording(
            bucket=f"`{option}`",
            endpoint="s3_endpoint",
            client="`region`, `profile` or `s3_endpoint` is not usable for S3; correct it under targets.dynamodb",
        )
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
                raise s3_error(error, self._bucket, self._wording) from error

        return retry(call, Backoff(self._deadline_s if deadline_s is None else deadline_s))

    def _made(self) -> Any:
        with MAKING:
            if self._client is None:
                self._client = make_client(self._wording, self._region, self._endpoint, self._profile)
                self._request_fence.watch(self._client, "s3")
            return self._client


def _content(answer: Any) -> bytes:
    with answer["Body"] as body:
        content: bytes = body.read()
        return content
