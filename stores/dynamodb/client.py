"""Requests to DynamoDB about one table: prepared JSON out, JSON back, and every error by who must act."""

from __future__ import annotations

import os
import socket
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
import orjson
from botocore import exceptions as aws
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParserError
from botocore.utils import get_environ_proxies

from stores.aws import MAKING, RequestFence, session
from stores.aws_faults import (
    NetworkFault,
    error_code,
    host_of,
    http_status,
    is_known_region,
    login_fault,
    network_fault,
    refused_action,
)
from stores.contract.fence import NO_FENCE, Fence
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.throttling.backoff import TIMING, Backoff, Timing, retry
from stores.transport_security import why_no_signing

_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 30
_CONNECTIONS = 32
_CONTROL_DEADLINE_S = 30.0
"""Requests about the table itself give up sooner than writes: a wrong endpoint must not look like a hang."""

# R60: a code in none of these tables, and no server's fault by its status, stops the route.
_RETRIED = frozenset(
    (
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
        "LimitExceededException",
        "TooManyRequestsException",
        "RequestTimeoutException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "ReplicatedWriteConflictException",
        "ContinuousBackupsUnavailableException",  # Just after a table was created.
    )
)
_REFUSED = frozenset(("ValidationException", "SerializationException", "ItemCollectionSizeLimitExceededException"))
_SIGN_IN = "check the AWS credentials and this machine's clock, then run the same command"
_EXPIRED = "the session token has expired; sign in again, then run the same command"
_CLOCK = "the signature has expired: this machine's clock is wrong; correct it, then run the same command"
_STOPPED = {
    "UnrecognizedClientException": ("E-DDB-CREDENTIALS", _SIGN_IN),
    "ExpiredTokenException": ("E-DDB-CREDENTIALS", _EXPIRED),
    "ExpiredToken": ("E-DDB-CREDENTIALS", _EXPIRED),
    "InvalidSignatureException": ("E-DDB-CREDENTIALS", _SIGN_IN),
    "IncompleteSignatureException": ("E-DDB-CREDENTIALS", _SIGN_IN),
    "MissingAuthenticationTokenException": ("E-DDB-CREDENTIALS", _SIGN_IN),
    "ResourceNotFoundException": (
        "E-DDB-ABSENT",
        "it does not exist any more; find out who deleted it, then start over with backfill --restart",
    ),
    "ImportNotFoundException": (
        "E-DDB-IMPORT",
        "AWS no longer knows its import; delete the table and start over with backfill --restart",
    ),
    "ImportConflictException": (
        "E-DDB-IMPORT",
        "its import was begun with other settings; start over with backfill --restart",
    ),
    "ResourceInUseException": (
        "E-DDB-IN-USE",
        "it is being created or changed by someone else; run the same command later",
    ),
}
# What DynamoDB's texts say, in ours: theirs may quote values of the item.
_REASONS = (
    ("Item size", "the item is larger than 400 KB"),
    ("significant digits", "a number has more than 38 significant digits"),
    ("overflow", "a number is larger than 9.99E+125"),
    ("underflow", "a number is smaller than 1E-130"),
    ("numeric value", "a number is malformed"),
    ("Nesting Levels", "the item is nested deeper than 32 levels"),
    ("duplicates", "a set holds a value twice"),
    ("Type mismatch for Index Key", "an attribute that keys an index has another type than the index says"),
    ("empty string value", "an attribute of a key is empty"),
    ("does not match the schema", "the item's key attributes are not those of the table"),
    ("Missing the key", "a key attribute of the table is missing"),
    ("AttributeValue", "an attribute is not a typed value"),
    ("Invalid JSON", "the item is not JSON"),
)


class Refused(PermanentError):
    """A request was refused for what is in it; a lone item is rejected for it, anything else is at its end."""

    store_code = ""
    reason = ""
    detail = ""
    """The store's own text, which may quote values: fit to be shown only for a request without documents."""


_PREPARED = {"batch_write_item": "BatchWriteItem", "batch_get_item": "BatchGetItem", "scan": "Scan"}
"""The operations whose JSON is ours, by the client's method."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How the requests of one operation go: as botocore addressed the first."""

    operation: str
    url: str
    headers: Mapping[str, str]
    signer: Any


class _Answered:
    """What botocore looks at of an answer that it did not receive itself."""

    status_code = 200


class Calls:
    """One client, shared by all threads, and the requests it makes about one table."""

    def __init__(
        self,
        table: str,
        *,
        region: str | None,
        endpoint: str | None,
        profile: str | None,
        timing: Timing = TIMING,
    ) -> None:
        """Keep what the client is made of at the first call."""
        self.timing = timing
        self._table = table
        self._region = region
        self._endpoint = endpoint
        self._profile = profile
        self._client: Any = None
        self._http: Any = None
        self._local = threading.local()
        """The prepared JSON of the request that a thread is making."""
        self._fence = RequestFence()
        self._ways: dict[str, _Way] = {}

    def client(self) -> Any:
        """Return the boto3 client, made at the first call; raises PlanError if it cannot be."""
        with MAKING:
            if self._client is None:
                self._client = self._made()
            return self._client

    def host(self) -> str:
        """Return the host and port that requests go to, without a login; raises PlanError as `client` does."""
        return host_of(str(self.client().meta.endpoint_url))

    def close(self) -> None:
        """Release connections; a later call opens new ones."""
        with MAKING:
            if self._client is not None:
                self._client.close()
                self._http.close()
                self._client = None
                self._ways.clear()

    def once(self, method: str, /, fence: Fence = NO_FENCE, **arguments: Any) -> Mapping[str, Any]:
        """Return the answer to one request; the fence is looked at right before it is sent."""
        client = self.client()
        try:
            with self._fence.under(fence):
                answer: dict[str, Any] = getattr(client, method)(**arguments)
        except (aws.BotoCoreError, aws.ClientError, ResponseParserError, OSError) as error:
            raise self._translated(error) from error
        return answer

    def prepared(self, method: str, body: bytes, /, fence: Fence = NO_FENCE, **arguments: Any) -> Mapping[str, Any]:
        """Return the answer to one BatchWriteItem, BatchGetItem or Scan, given its whole JSON.

        The arguments name the table, from which botocore finds the endpoint. The answer is the JSON that DynamoDB
        gave: binary values are base64 text in it. The fence is looked at right before the request is sent.
        """
        client = self.client()
        try:
            with self._fence.under(fence):
                if method in self._ways:
                    content = self._sent(self._ways[method], body)
                else:
                    content = self._handed(client, method, body, arguments)
            answer: dict[str, Any] = orjson.loads(content)
        except (aws.BotoCoreError, aws.ClientError, orjson.JSONDecodeError, OSError) as error:
            raise self._translated(error) from error
        return answer

    def patiently(self, deadline_s: float, ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the answer to a request, tried again after transient errors until the deadline."""
        return retry(ask, Backoff(deadline_s, timing=self.timing))

    def control(self, method: str, /, fence: Fence = NO_FENCE, **arguments: Any) -> Mapping[str, Any]:
        """Return the answer to a request about the table itself; raises PlanError where it is refused."""
        return self.asked(method, fence, TableName=self._table, **arguments)

    def asked(self, method: str, /, fence: Fence = NO_FENCE, **arguments: Any) -> Mapping[str, Any]:
        """Return the answer to a request without documents; raises PlanError where it is refused."""
        try:
            return self.patiently(_CONTROL_DEADLINE_S, partial(self.once, method, fence, **arguments))
        except Refused as error:
            text = f"table {self._table!r}: {method} is refused: {error.detail}; change what it names in the plan"
            raise PlanError("E-DDB-TABLE", text) from error

    def no_answer(self) -> PermanentError:
        """Return the error for an answer that DynamoDB does not give: nothing is known of what was done or held."""
        text = (
            f"table {self._table!r}: the answer does not come from DynamoDB; check `endpoint` and any proxy in between"
        )
        return PermanentError("E-DDB-ANSWER", text)

    def _made(self) -> Any:
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            max_pool_connections=_CONNECTIONS,
            parameter_validation=False,
            # Retries are ours alone: they know what is unprocessed, and botocore's fourth attempt is its last (R47).
            retries={"mode": "standard", "total_max_attempts": 1},
            tcp_keepalive=True,
        )
        try:
            made = session(self._profile, self._region)
            client = made.client("dynamodb", endpoint_url=self._endpoint, config=config)
        except aws.ProfileNotFound as error:
            known = ", ".join(boto3.Session().available_profiles) or "none"
            text = f"there is no AWS profile {self._profile!r}; set `profile` to one of: {known}"
            raise PlanError("E-DDB-PROFILE", text) from error
        except aws.NoRegionError as error:
            raise PlanError("E-DDB-REGION", "no AWS region is set; set `region` under targets.dynamodb") from error
        except ValueError as error:
            raise PlanError(
                "E-DDB-ENDPOINT",
                "`endpoint` or `region` is malformed; correct it under targets.dynamodb",
            ) from error
        except (aws.BotoCoreError, aws.ClientError, OSError) as error:
            raise self._translated(error) from error
        if (reason := why_no_signing("endpoint", client.meta.endpoint_url)) is not None:
            raise PlanError("E-DDB-ENDPOINT", reason)
        for method, operation in _PREPARED.items():
            client.meta.events.register(f"before-call.dynamodb.{operation}", partial(self._learn, method))
        self._fence.watch(client, "dynamodb")
        self._http = URLLib3Session(
            verify=made._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE", True),
            proxies=get_environ_proxies(client.meta.endpoint_url),
            timeout=(_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S),
            max_pool_connections=_CONNECTIONS,
            socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        return client

    def _handed(self, client: Any, method: str, body: bytes, arguments: Mapping[str, Any]) -> bytes:
        """Return the JSON of the first answer of an operation, for which botocore finds the way."""
        self._local.prepared = body
        try:
            content: bytes = getattr(client, method)(**arguments)["json"]
        finally:
            del self._local.prepared
        return content

    def _learn(
        self, method: str, model: Any, params: dict[str, Any], request_signer: Any, **_: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Send this thread's prepared JSON to the endpoint that botocore found; later requests go there too.

        botocore takes what an event handler returns in place of its own request and answer. Its own serializing and
        parsing, and finding the endpoint again, each take longer than all the rest of a batch (docs/decisions.md).
        """
        headers = {name: value for name, value in params["headers"].items() if name != "Content-Length"}
        way = _Way(model.name, params["url"], headers | {"Accept-Encoding": "identity"}, request_signer)
        content = self._sent(way, self._local.prepared)
        self._ways[method] = way
        return _Answered(), {"json": content}

    def _sent(self, way: _Way, body: bytes) -> bytes:
        """Return the JSON of the answer to a request signed by botocore, with the credentials of now."""
        request = AWSRequest("POST", way.url, way.headers, body)
        way.signer.sign(way.operation, request)
        ready = request.prepare()
        # Whoever watches what boto3 sends, or answers in DynamoDB's place, is asked here as well.
        name = f"before-send.dynamodb.{way.operation}"
        response = self._client.meta.events.emit_until_response(name, request=ready)[1] or self._http.send(ready)
        content: bytes = response.content
        if response.status_code != 200:
            raise aws.ClientError(_fault(response.status_code, content), way.operation)
        checksum = response.headers.get("x-amz-crc32")
        if checksum is not None and int(checksum) != zlib.crc32(content):
            raise aws.ChecksumError(checksum_type="crc32", expected_checksum=checksum, actual_checksum="another")
        return content

    def _translated(self, error: Exception) -> OfframpError:
        """Return the error by who must act (R60, R143); nothing of AWS's own texts, which may quote secrets."""
        at = f"table {self._table!r}: "
        if (fault := network_fault(error, "endpoint")) is not None:
            return self._away(at, fault)
        if isinstance(error, ResponseParserError | orjson.JSONDecodeError):
            return self.no_answer()
        if (reason := login_fault(error)) is not None:
            return PermanentError("E-DDB-CREDENTIALS", f"{at}{reason}")
        if not isinstance(error, aws.ClientError):
            return PermanentError("E-DDB-UNKNOWN", f"{at}{type(error).__name__}, an error that offramp does not know")
        code, status = error_code(error), http_status(error)
        if code == "AccessDeniedException":
            action = refused_action(error, f"dynamodb:{error.operation_name}")
            text = f"{at}{action}; allow it to these credentials (docs/permissions.md)"
            return PermanentError("E-DDB-ACCESS", text)
        if code in _STOPPED:
            ours, advice = _STOPPED[code]
            if "Signature expired" in str(error.response["Error"].get("Message", "")):
                advice = _CLOCK
            return PermanentError(ours, f"{at}{code}: {advice}")
        if code in _REFUSED or status == 413:
            return _refusal(at, code, error.response["Error"].get("Message", ""))
        if code in _RETRIED or status >= 500 or status == 429:
            return TransientError("E-DDB-BUSY", f"{at}{code}; raise its capacity, or run the same command later")
        return PermanentError("E-DDB-UNKNOWN", f"{at}{code or status}, an error that offramp does not know")

    def _away(self, at: str, fault: NetworkFault) -> OfframpError:
        if fault.unknown_host and self._endpoint is None and self._client is not None:
            region = self._client.meta.region_name
            if not is_known_region(region, "dynamodb"):
                text = f"{at}there is no AWS region {region!r} ({fault.text}); correct `region` under targets.dynamodb"
                return PlanError("E-DDB-REGION", text)
        if not fault.passes:
            return PermanentError("E-DDB-TLS", f"{at}{fault.text}")
        return TransientError("E-DDB-NETWORK", f"{at}{fault.text}")


def _refusal(at: str, code: str, text: str) -> Refused:
    reason = next((ours for theirs, ours in _REASONS if theirs in text), "DynamoDB refuses the request")
    refused = Refused("E-DDB-REFUSED", f"{at}{code}: {reason}; correct the mapper or `key`")
    refused.store_code, refused.reason, refused.detail = code, reason, text
    return refused


def _fault(status: int, content: bytes) -> dict[str, Any]:
    """Return an error answer in the form botocore gives it; the code is what follows the # of its type."""
    try:
        answer = orjson.loads(content)
        code, text = str(answer.get("__type", "")).rpartition("#")[2], answer.get("message", answer.get("Message", ""))
    except (orjson.JSONDecodeError, AttributeError):  # A proxy's page.
        code, text = "", ""
    return {"Error": {"Code": code, "Message": str(text)}, "ResponseMetadata": {"HTTPStatusCode": status}}
