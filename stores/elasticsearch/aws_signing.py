"""Requests to Amazon OpenSearch Service signed with AWS credentials (SigV4), by opensearch-py's own signer."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from stores.aws_credentials import Words, find_credentials, unsigned

_SERVICE = "es"
_WORDS = Words("E-ES-CREDENTIALS", "E-ES-AWAY", "aws_profile", "url", "requests")

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
            raise unsigned(error, _WORDS) from error

    def _made(self) -> Sign:
        from opensearchpy import Urllib3AWSV4SignerAuth

        credentials = find_credentials(self._profile, self._region, _WORDS)
        sign: Sign = Urllib3AWSV4SignerAuth(credentials, self._region, _SERVICE)
        return sign
