"""A folder of an S3 bucket, to which files are written as objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore import exceptions as aws

from stores.aws import MAKING
from stores.s3 import Wording, make_client, s3_error
from stores.throttling.backoff import Backoff, retry

SCHEME: Final = "s3://"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LONGEST_KEY_BYTES = 1024
_DEADLINE_S = 30.0


class S3Folder:
    """The objects of a bucket whose names begin with a prefix, by AWS's own settings of this process."""

    def __init__(self, url: str, option: str, deadline_s: float = _DEADLINE_S) -> None:
        """Take ``s3://bucket/prefix``; `option` is the one that names it. Raises ValueError for what is no such URL.

        S3 is asked again for so long where it does not answer.
        """
        bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
        prefix = prefix.strip("/")
        if not url.startswith(SCHEME) or not _BUCKET.fullmatch(bucket) or not _is_prefix(prefix):
            raise ValueError("write s3://bucket/prefix")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._deadline_s = deadline_s
        self._wording = Wording(
            bucket=option,
            endpoint="AWS_ENDPOINT_URL_S3",
            client="the settings of AWS are not usable for S3; correct AWS_PROFILE, AWS_DEFAULT_REGION or the profile",
        )

    def __str__(self) -> str:
        return f"{SCHEME}{self._bucket}/{self._prefix}".rstrip("/")

    def url_of(self, name: str) -> str:
        """Return the URL of the object of this name in the folder."""
        return f"{SCHEME}{self._bucket}/{self._prefix}{name}"

    def check(self, name: str) -> None:
        """Return if an object of this name may be written; it stays as it is.

        An upload is begun and given up, which asks for what writing asks for. Raises the errors of `put`.
        """

        def ask(client: Any, at: Mapping[str, str]) -> None:
            upload = client.create_multipart_upload(**at)["UploadId"]
            client.abort_multipart_upload(**at, UploadId=upload)

        self._call(name, ask)

    def put(self, name: str, content: bytes, content_type: str) -> None:
        """The object of this name has this content, all of it or what it had; the bucket's own settings encrypt it.

        Raises PlanError and PermanentError for what lasts, TransientError where S3 does not answer.
        """
        self._call(name, lambda client, at: client.put_object(**at, Body=content, ContentType=content_type))

    def _call(self, name: str, ask: Callable[[Any, Mapping[str, str]], object]) -> None:
        with MAKING:
            client = make_client(self._wording)
        at = {"Bucket": self._bucket, "Key": f"{self._prefix}{name}"}

        def attempt() -> None:
            try:
                ask(client, at)
            except (aws.BotoCoreError, aws.ClientError, OSError) as error:
                raise s3_error(error, self._bucket, self._wording) from error

        try:
            retry(attempt, Backoff(self._deadline_s))
        finally:
            client.close()


def _is_prefix(prefix: str) -> bool:
    """Return whether the text may begin the names of objects: no query, no empty or relative part, not too long."""
    parts = prefix.split("/") if prefix else []
    fits = len(prefix.encode()) < _LONGEST_KEY_BYTES - len("/report.json") and prefix.isprintable()
    return fits and not any(part in ("", ".", "..") for part in parts) and not set(prefix) & set("?#@")
