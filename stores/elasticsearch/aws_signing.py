"""Requests to Amazon OpenSearch Service signed with AWS credentials (SigV4), by opensearch-py's own signer."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from stores.errors import OfframpError, PermanentError, PlanError, TransientError

_SERVICE = "es"

Sign = Callable[[str, str, Any, dict[str, str]], dict[str, str]]


class Signer:
    """Signs for one region, with credentials that are looked up at the first request and renewed as they expire."""

    def __init__(self, region: str, profile: str | None) -> None:
        """Take region and profile; raises ValueError where the extra is not installed."""
        from importlib.util import find_spec

        if find_spec("opensearchpy") is None:
            raise ValueError(
                "aws_region: needs opensearch-py to sign requests; run pip install 'opensearch-py>=2.7,<4'"
            )
        self._region = region
        self._profile = profile
        self._lock = Lock()
        self._sign: Sign | None = None

    def signed(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> dict[str, str]:
        """Return the headers and those that prove this very request; raises PermanentError without credentials."""
        from botocore.exceptions import BotoCoreError, ClientError

        with self._lock:
            if self._sign is None:
                self._sign = self._made()
        try:
            return self._sign(method, url, body, headers)
        except (BotoCoreError, ClientError, OSError) as error:
            raise _unsigned(error) from error

    def _made(self) -> Sign:
        from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound
        from opensearchpy import Urllib3AWSV4SignerAuth

        from stores.aws import MAKING, session

        try:
            with MAKING:
                credentials = session(self._profile, self._region).get_credentials()
        except ProfileNotFound as error:
            raise PlanError(
                "E-ES-CREDENTIALS", f"there is no AWS profile {self._profile!r}; set aws_profile to one that exists"
            ) from error
        except (BotoCoreError, ClientError, OSError) as error:
            raise _unsigned(error) from error
        if credentials is None:
            raise PermanentError(
                "E-ES-CREDENTIALS",
                "there are no AWS credentials to sign requests with; set aws_profile, or give the process a role or"
                " credentials in its environment",
            )
        sign: Sign = Urllib3AWSV4SignerAuth(credentials, self._region, _SERVICE)
        return sign


def _unsigned(error: Exception) -> OfframpError:
    """Return the error of a request that could not be signed, by who must act."""
    from stores.aws_faults import login_fault, network_fault

    if (fault := network_fault(error, "url")) is not None and fault.passes:
        return TransientError("E-ES-AWAY", f"AWS credentials cannot be renewed: {fault.text}")
    # The driver's own text may quote what a credential process printed.
    reason = (fault.text if fault is not None else login_fault(error)) or type(error).__name__
    return PermanentError("E-ES-CREDENTIALS", f"there are no valid AWS credentials to sign with: {reason}")
