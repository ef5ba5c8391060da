"""One Elasticsearch cluster over HTTP: every answer is taken, waited out or translated into an error of ours (R79)."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import orjson

from stores.contract.fence import NO_FENCE, Fence
from stores.elasticsearch.aws_signing import Signer
from stores.elasticsearch.configuration import Connection, has_port
from stores.errors import PermanentError, TransientError, redacted
from stores.throttling.backoff import TIMING, Backoff, Timing, retry

if TYPE_CHECKING:
    from elastic_transport import Urllib3HttpNode

# The media types of the official client end in `compatible-with=9`, which a server of version 8 refuses, and its
# `perform_request` rewrites plain ones; its HTTP layer beneath sends what it is given (R87).
JSON = "application/json"
NDJSON = "application/x-ndjson"

_TIMEOUT_S = 90.0
_CONNECTIONS = 32

NO_ANSWER = 0
DROPPED = "dropped by the ingest pipeline"
"""The kind of a fault that no server names: it acknowledges such a document and keeps nothing."""
_PASSING_STATUS = frozenset({NO_ANSWER, 429, 502, 503, 504})
# What passes although its status does not say so: a node that left (500) or a shard that moved (404).
_PASSING_KINDS = frozenset(
    {
        "circuit_breaking_exception",
        "es_rejected_execution_exception",
        "connect_transport_exception",
        "node_closed_exception",
        "node_disconnected_exception",
        "node_not_connected_exception",
        "no_shard_available_action_exception",
        "receive_timeout_transport_exception",
        "shard_not_found_exception",
        "illegal_index_shard_state_exception",
        "unavailable_shards_exception",
    }
)
# Elasticsearch quotes values in its reasons ("Preview of field's value: …", "failed to parse date field […]", the bytes
# of an immense term): only these beginnings, which name fields, types and limits, leave this module.
_TELLING = re.compile(
    r"""(?:\[-?\d+:-?\d+\]\ )?
    ( failed\ to\ parse\ field\ \[[^\]]*\]\ of\ type\ \[\w+\]
    | mapping\ set\ to\ strict,\ dynamic\ introduction\ of\ \[[^\]]*\]\ within\ \[[^\]]*\]\ is\ not\ allowed
    | object\ mapping\ for\ \[[^\]]*\]\ tried\ to\ parse\ field\ \[[^\]]*\]\ as\ object,\ but\ found\ a\ concrete\ value
    | Document\ contains\ at\ least\ one\ immense\ term\ in\ field="[^"]*"
    | Limit\ of\ [a-z ]+\ \[\d+\]\ has\ been\ exceeded
    | The\ number\ of\ nested\ documents\ has\ exceeded\ the\ allowed\ limit\ of\ \[\d+\]
    | field\ name\ cannot\ be\ an\ empty\ string )""",
    re.VERBOSE,
)


class Cluster:
    """Requests to one cluster, repeated while what stops them may pass."""

    def __init__(self, connection: Connection, *, timing: Timing = TIMING) -> None:
        """Take the address; raises ValueError for a malformed address, or for two ways to log in."""
        parts = urlsplit(connection.url)
        # An @ in the path is a password with a slash in it, which must not end up in a message.
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.path or not has_port(parts):
            raise ValueError("the url of Elasticsearch must be http(s)://host:port, user and password percent-encoded")
        if sum(login is not None for login in (connection.api_key, connection.username, parts.username)) > 1:
            raise ValueError(
                "found more than one login for Elasticsearch; write one of api_key, username and password, or user"
                " and password in the url"
            )
        if (connection.username is None) != (connection.password is None):
            raise ValueError("found only one of username and password for Elasticsearch; set both")
        if connection.ca_certs and parts.scheme != "https":
            raise ValueError("ca_certs needs an https url")
        self.name = redacted(connection.url)
        self.timing = timing
        self.opensearch = connection.flavour == "opensearch"
        self._signer = _signer(connection, parts)
        base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._base = base + ("/" + parts.path.strip("/") if parts.path.strip("/") else "")
        self._connection = connection
        self._lock = Lock()
        self._node: Urllib3HttpNode | None = None

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        deadline_s: float,
        fence: Fence = NO_FENCE,
        media: str = JSON,
        allowed: Container[int] = (),
        parsed: Callable[[bytes], Any] = orjson.loads,
    ) -> Answer:
        """Return the answer if it is 2xx or of an allowed status, waiting out what passes; raises for any other.

        The fence is looked at right before each request: pass one with each that changes something. `parsed` reads the
        content of a 200, and raises ValueError for what it cannot read.
        """
        return retry(
            lambda: self.once(method, target, body, fence=fence, media=media, allowed=allowed, parsed=parsed),
            Backoff(deadline_s, timing=self.timing),
        )

    def once(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        fence: Fence = NO_FENCE,
        media: str = JSON,
        allowed: Container[int] = (),
        parsed: Callable[[bytes], Any] = orjson.loads,
    ) -> Answer:
        """Return the answer to one request; raises TransientError for what passes, else as `ask`."""
        answer = self._sent(method, target, body, fence, media, parsed)
        if 200 <= answer.status < 300 or answer.status in allowed:
            return answer
        fault = answer.fault()
        if fault.passes:
            raise fault.away(self.name) from answer.cause
        raise fault.error(self.name)

    def close(self) -> None:
        """Release connections."""
        with self._lock:
            if self._node is not None:
                self._node.close()
                self._node = None

    def _sent(
        self,
        method: str,
        target: str,
        body: bytes | None,
        fence: Fence,
        media: str,
        parsed: Callable[[bytes], Any],
    ) -> Answer:
        from elastic_transport import HttpHeaders, TlsError, TransportError

        headers = {"accept": JSON} if body is None else {"accept": JSON, "content-type": media}
        if self._signer is not None:
            # Anew for each attempt: a signature is good for some minutes, and is for these very bytes.
            headers = self._signer.signed(method, self._base + target, body, headers)
        node = self._connected()
        fence.ensure()
        try:
            response = node.perform_request(method, target, body, HttpHeaders(headers))
        except TransportError as error:
            if isinstance(error, TlsError) and "certificate" in str(error).lower():
                raise PermanentError(
                    "E-ES-TLS",
                    f"{self.name}: its certificate is not trusted; set ca_certs to the certificate of its authority",
                ) from error
            return Answer(NO_ANSWER, "", None, error)
        try:
            content = (parsed if response.meta.status == 200 else orjson.loads)(response.body)
        except ValueError:
            content = None
        return Answer(response.meta.status, response.meta.headers.get("x-elastic-product") or "", content)

    def _connected(self) -> Urllib3HttpNode:
        with self._lock:
            if self._node is None:
                # Here, not above: it takes 0.2 s to import, and most runs have other targets too.
                from elastic_transport import Urllib3HttpNode
                from elastic_transport.client_utils import basic_auth_to_header, url_to_node_config

                connection = self._connection
                config = url_to_node_config(connection.url, use_default_ports_for_scheme=True)
                headers = dict(config.headers)
                if connection.api_key is not None:
                    headers["authorization"] = f"ApiKey {connection.api_key}"
                if connection.username is not None and connection.password is not None:
                    headers["authorization"] = basic_auth_to_header((connection.username, connection.password))
                self._node = Urllib3HttpNode(
                    config.replace(
                        headers=headers,
                        ca_certs=connection.ca_certs,
                        verify_certs=connection.verify_certs,
                        request_timeout=_TIMEOUT_S,
                        connections_per_node=_CONNECTIONS,
                    )
                )
            return self._node


_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, or the want of one (status 0)."""

    status: int
    product: str
    content: Any
    """The JSON, None for anything else."""
    cause: Exception | None = None

    def part(self, *path: str, default: Any = _REQUIRED) -> Any:
        """Return the value at the path; raises PermanentError for an answer without it, unless a default is given."""
        found = self.content
        if not path and not isinstance(found, dict):
            raise self.unclear("a JSON object")
        for name in path:
            if not isinstance(found, dict) or name not in found:
                if default is _REQUIRED:
                    raise self.unclear("/".join(path))
                return default
            found = found[name]
        return found

    def fault(self) -> Fault:
        """Return what the answer complains about."""
        if self.cause is not None:
            return Fault(NO_ANSWER, (type(self.cause).__name__,))
        return Fault.of(self.status, self.part("error", default=None))

    def unclear(self, what: str) -> PermanentError:
        """Return the error for an answer that does not tell what became of the request."""
        return PermanentError(
            "E-ES-ANSWER",
            f"the answer ({self.status}) does not tell what was asked: {what}; check what is in between (a proxy, a"
            " gateway)",
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request, or one document of it, was not carried out."""

    status: int
    kinds: tuple[str, ...] = ()
    """The types of the error and of its causes."""
    reasons: tuple[str, ...] = ()
    """Their texts, which may quote the document."""

    @classmethod
    def of(cls, status: int, error: Any) -> Fault:
        """Return the fault of an `error` object, its causes unrolled."""
        chain: list[tuple[str, str]] = []
        while isinstance(error, dict):
            chain.append((str(error.get("type", "")), str(error.get("reason", ""))))
            error = error.get("caused_by")
        return cls(status, tuple(kind for kind, _ in chain), tuple(reason for _, reason in chain))

    @property
    def text(self) -> str:
        """The fault in words that quote no document."""
        reason_shown = next((match[1] for reason in self.reasons if (match := _TELLING.match(reason))), "")
        kinds = " < ".join(self.kinds) or "no error type"
        return f"{kinds} ({self.status or 'no answer'})" + (f": {reason_shown}" if reason_shown else "")

    @property
    def no_index(self) -> bool:
        """Whether the index is not there."""
        return "index_not_found_exception" in self.kinds

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        if "cluster_block_exception" in self.kinds:
            # Block 12 is the flood stage of a full disk, which lifts itself (R93); 8 and 5 were set by somebody.
            return self.status in _PASSING_STATUS or any("/12/" in reason for reason in self.reasons)
        return self.status in _PASSING_STATUS or not _PASSING_KINDS.isdisjoint(self.kinds)

    @property
    def blames_document(self) -> bool:
        """Whether it is this document that Elasticsearch does not take."""
        return DROPPED in self.kinds or (self.status in (400, 413) and "index_closed_exception" not in self.kinds)

    def refusal(self) -> tuple[str, str]:
        """Return code and reason of the document's reject."""
        if DROPPED in self.kinds:
            return "E-ES-PIPELINE", DROPPED
        return ("E-ES-SIZE" if self.status == 413 else "E-ES-REJECTED", self.text)

    def away(self, where: str) -> TransientError:
        """Return the error for a fault that did not pass in time."""
        return TransientError("E-ES-AWAY", f"{where}: {self.text} until the deadline; the same command resumes")

    def error(self, where: str) -> PermanentError:
        """Return the error for a fault that will not pass."""
        if self.no_index:
            return PermanentError(
                "E-ES-NOINDEX", f"{where}: the index no longer exists; start over with backfill --restart"
            )
        if not {"cluster_block_exception", "index_closed_exception"}.isdisjoint(self.kinds):
            return PermanentError(
                "E-ES-BLOCKED", f"{where}: {'; '.join(self.reasons)}; remove the block, then run the same command"
            )
        if self.status in (401, 403):
            return PermanentError(
                "E-ES-AUTH",
                f"{where}: {self.text}; the login needs monitor on the cluster, and create_index, view_index_metadata,"
                " read, write and maintenance on the index (manage where versioned or load_* are used); an AWS identity"
                " needs es:ESHttpGet, ESHttpPut, ESHttpPost and ESHttpDelete on the domain",
            )
        return PermanentError("E-ES-ANSWER", f"{where}: the server refused the request: {self.text}")


def _signer(connection: Connection, parts: SplitResult) -> Signer | None:
    """Return what signs the requests, None where nothing does; raises ValueError for what cannot be signed."""
    if (parts.hostname or "").endswith(".aoss.amazonaws.com"):
        raise ValueError(
            "OpenSearch Serverless (aoss) has no refresh, no scroll and no read of what was just written, so nothing"
            " could be verified there; use an Amazon OpenSearch Service domain"
        )
    if connection.aws_region is None:
        if connection.aws_profile is not None:
            raise ValueError("aws_profile: needs aws_region, the region to sign requests for")
        return None
    if connection.flavour != "opensearch":
        raise ValueError("aws_region: is only for Amazon OpenSearch Service; set flavour: opensearch")
    if connection.api_key is not None or connection.username is not None or parts.username is not None:
        raise ValueError("aws_region: signed requests take no other login; remove api_key, username and password")
    return Signer(connection.aws_region, connection.aws_profile)
