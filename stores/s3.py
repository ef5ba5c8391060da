"""What every client of S3 shares: how it is made, and its errors by who must act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as aws
from botocore.config import Config

from stores.aws import session
from stores.aws_faults import error_code, http_status, login_fault, network_fault, refused_action
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.transport_security import why_no_signing

_BUSY = frozenset(("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted"))
_ELSEWHERE = frozenset(("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"))
_LOGIN_CODES = {
    "InvalidAccessKeyId": "the access key does not exist; correct the AWS credentials",
    "SignatureDoesNotMatch": "the secret key is wrong; correct the AWS credentials",
    "ExpiredToken": "the session token has expired; sign in again, then run the same command",
    "InvalidToken": "the session token is wrong; sign in again, then run the same command",
    "RequestTimeTooSkewed": "this machine's clock is wrong; correct it, then run the same command",
}
_ACTIONS = {
    "ListObjectsV2": "ListBucket",
    "DeleteObjects": "DeleteObject",
    "CreateMultipartUpload": "PutObject",
}
"""Operations whose action has another name."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What the messages of a client name."""

    bucket: str
    """Where another bucket is named."""
    endpoint: str
    """Where the server is named."""
    client: str
    """What is said where no client can be made."""


def make_client(
    wording: Wording, region: str | None = None, endpoint: str | None = None, profile: str | None = None
) -> Any:
    """Return a client of S3, by AWS's own settings unless they are given; the caller holds `MAKING`.

    Raises PlanError for settings that are unusable, and for a server elsewhere that is asked without TLS.
    """
    config = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 1})
    try:
        made = session(profile, region)
        client = made.client("s3", endpoint_url=endpoint, config=config)
        if not _is_of_aws(client.meta.endpoint_url):  # Another server than AWS's has no host name for each bucket.
            client = made.client(
                "s3", endpoint_url=endpoint, config=config.merge(Config(s3={"addressing_style": "path"}))
            )
    except (aws.ProfileNotFound, aws.NoRegionError, ValueError) as error:
        raise PlanError("E-S3-CLIENT", wording.client) from error
    if (reason := why_no_signing(wording.endpoint, client.meta.endpoint_url)) is not None:
        raise PlanError("E-S3-CLIENT", reason)
    return client


def _is_of_aws(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def s3_error(error: Exception, bucket: str, wording: Wording) -> OfframpError:
    """Return the error by who must act; nothing of AWS's own texts, which may quote secrets."""
    at = f"bucket {bucket!r}: "
    if (fault := network_fault(error, wording.endpoint)) is not None:
        if not fault.passes:
            return PermanentError("E-S3-TLS", f"{at}{fault.text}")
        return TransientError("E-S3-NETWORK", f"{at}{fault.text}")
    if (reason := login_fault(error)) is not None:
        return PermanentError("E-S3-CREDENTIALS", f"{at}{reason}")
    if not isinstance(error, aws.ClientError):
        return PermanentError("E-S3-UNKNOWN", f"{at}{type(error).__name__}; check credentials and `{wording.endpoint}`")
    code, status = error_code(error), http_status(error)
    if code == "NoSuchBucket":
        return PermanentError("E-S3-BUCKET", f"{at}it does not exist; create it, or name another in {wording.bucket}")
    if code in _ELSEWHERE:
        return PermanentError("E-S3-BUCKET", f"{at}it is in another region; name that as the region of AWS's settings")
    if code in _BUSY or status >= 500 or status == 429:
        return TransientError("E-S3-BUSY", f"{at}{code or status}; the same command resumes later")
    if code in _LOGIN_CODES:
        return PermanentError("E-S3-CREDENTIALS", f"{at}{code}: {_LOGIN_CODES[code]}")
    if status == 403:
        action = refused_action(error, f"s3:{_ACTIONS.get(error.operation_name, error.operation_name)}")
        return PermanentError("E-S3-ACCESS", f"{at}{action}; allow it to these credentials (docs/permissions.md)")
    return PermanentError("E-S3-UNKNOWN", f"{at}{code or status}, an error that offramp does not know")
