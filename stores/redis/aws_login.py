"""The login to Amazon ElastiCache and MemoryDB with IAM: a signed URL as the password, valid for 15 minutes."""

from __future__ import annotations

from threading import Lock
from typing import Any
from urllib.parse import urlencode

import redis.exceptions as driver
from redis import CredentialProvider

from stores.aws_credentials import Words, find_credentials, unsigned
from stores.errors import OfframpError
from stores.redis.configuration import Iam

_WORDS = Words("E-RDS-CREDENTIALS", "E-RDS-UNREACHABLE", "iam.profile", "iam", "logins")
_LIVES_S = 900
"""The longest that both services accept."""


class Unsigned(driver.ConnectionError):
    """There is no password: to the driver it is a connection that cannot be made, which it closes."""

    def __init__(self, fault: OfframpError) -> None:
        """Take what a person should read."""
        super().__init__(fault.message)
        self.fault = fault


class IamLogin(CredentialProvider):
    """Makes the password of each connection when that is opened, so that none is older than its connection.

    Therefore a password never expires between its making and its use, and outlives no renewal of the credentials.
    """

    def __init__(self, iam: Iam) -> None:
        """Look for no credentials yet."""
        self._iam = iam
        self._lock = Lock()
        self._signer: Any = None

    def get_credentials(self) -> tuple[str, str]:
        """Return the user and a new password; raises Unsigned where there are no credentials."""
        try:
            return self._iam.user, self._token()
        except OfframpError as fault:
            raise Unsigned(fault) from fault

    def _token(self) -> str:
        from botocore.exceptions import BotoCoreError, ClientError

        with self._lock:
            if self._signer is None:
                self._signer = self._made()
        iam = self._iam
        query = {"Action": "connect", "User": iam.user}
        if iam.serverless:
            query["ResourceType"] = "ServerlessCache"
        request = {
            "method": "GET",
            "url": f"https://{iam.cache}/?{urlencode(query)}",
            "body": {},
            "headers": {},
            "context": {},
        }
        try:
            url: str = self._signer.generate_presigned_url(
                request, operation_name="connect", expires_in=_LIVES_S, region_name=iam.region
            )
        except (BotoCoreError, ClientError, OSError) as error:
            raise unsigned(error, _WORDS) from error
        return url.removeprefix("https://")

    def _made(self) -> Any:
        from botocore.model import ServiceId
        from botocore.signers import RequestSigner

        from stores.aws import session

        iam = self._iam
        credentials = find_credentials(iam.profile, iam.region, _WORDS)
        events = session(iam.profile, iam.region).events
        return RequestSigner(ServiceId(iam.service), iam.region, iam.service, "v4", credentials, events)
