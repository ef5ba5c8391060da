"""One Elasticsearch cluster over HTTP: every answer is taken, waited out or translated into an error of ours (R79)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import orjson

from stores.connection_faults import connection_fault
from stores.contract.fence import NO_FENCE, Fence
from stores.elasticsearch.aws_signing import Signer
from stores.elasticsearch.configuration import Connection, has_port
from stores.elasticsearch.faults import ADVICE, NO_ANSWER, Fault
from stores.errors import PermanentError, PlanError, redacted
from stores.protocol_probe import PlainQuestion, TlsCheck
from stores.throttling.backoff import TIMING, Backoff, Timing, retry
from stores.transport_security import is_this_machine, unchecked, unencrypted, unprotected_host
from stores.urls import hosts_of

if TYPE_CHECKING:
    from elastic_transport import Urllib3HttpNode

# The media types of the official client end in `compatible-with=9`, which a server of version 8 refuses, and its
# `perform_request` rewrites plain ones; its HTTP layer beneath sends what it is given (R87).
JSON = "application/json"
NDJSON = "application/x-ndjson"

_TIMEOUT_S = 90.0
_HEAD = PlainQuestion(
    b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    # A server of https that is asked by http may say so in plain words, with 400.
    lambda answer: answer.startswith(b"HTTP/") and answer.split(b" ")[1:2] != [b"400"],
)
_CONNECTIONS = 32


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
        for name in ("ca_certs", "client_cert"):
            if getattr(connection, name) and parts.scheme != "https":
                raise ValueError(f"{name} needs an https url")
        if connection.client_key and not connection.client_cert:
            raise ValueError("client_key needs client_cert, the certificate that it is the key of")
        if connection.client_cert and not connection.verify_certs:
            raise ValueError("client_cert needs verify_certs: true; another server could use what it proves")
        self.name = redacted(connection.url)
        self.timing = timing
        self.opensearch = connection.flavour == "opensearch"
        self._signer = _signer(connection, parts)
        base = f"{parts.scheme}://{hosts_of(connection.url)}"
        self._base = base + ("/" + parts.path.strip("/") if parts.path.strip("/") else "")
        self._connection = connection
        self._lock = Lock()
        self._node: Urllib3HttpNode | None = None
        encrypted = parts.scheme == "https"
        self._at = (parts.hostname or "", parts.port or (443 if encrypted else 80))
        self._tls = TlsCheck(_HEAD, encrypted=encrypted)

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

    def transport_notes(self) -> Iterator[str]:
        """Yield what a person should know of the way to the cluster; nothing for one on this machine."""
        parts = urlsplit(self._connection.url)
        if is_this_machine(parts.hostname or ""):
            return
        if parts.scheme == "http":
            yield unencrypted(self.name, "write https:// in `url`")
        elif not self._connection.verify_certs:
            yield unchecked(self.name, "set verify_certs: true, and ca_certs to its authority")

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
        from elastic_transport import HttpHeaders, TransportError

        headers = {"accept": JSON} if body is None else {"accept": JSON, "content-type": media}
        if self._signer is not None:
            # Anew for each attempt: a signature is good for some minutes, and is for these very bytes.
            headers = self._signer.signed(method, self._base + target, body, headers)
        node = self._connected()
        fence.ensure()
        try:
            response = node.perform_request(method, target, body, HttpHeaders(headers))
        except TransportError as error:
            fault = self._tls.explain(connection_fault(str(error)), *self._at)
            if fault is not None and not fault.passes:
                raise PermanentError("E-ES-TLS", f"{self.name}: {fault.cause}; {ADVICE[fault.kind]}") from error
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
                _check_files(connection)
                self._node = Urllib3HttpNode(
                    config.replace(
                        headers=headers,
                        ca_certs=connection.ca_certs,
                        verify_certs=connection.verify_certs,
                        client_cert=connection.client_cert,
                        client_key=connection.client_key,
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
            return Fault(NO_ANSWER, (type(self.cause).__name__,), network=connection_fault(str(self.cause)))
        error = self.part("error", default=None) if isinstance(self.content, dict) else None
        if error is None and isinstance(self.content, dict):  # Amazon's own gateway has another form of error.
            error = {"reason": self.content.get("Message") or self.content.get("message") or ""}
        return Fault.of(self.status, error)

    def unclear(self, what: str) -> PermanentError:
        """Return the error for an answer that does not tell what became of the request."""
        return PermanentError(
            "E-ES-ANSWER",
            f"the answer ({self.status}) does not tell what was asked: {what}; check what is in between (a proxy, a"
            " gateway)",
        )


def _check_files(connection: Connection) -> None:
    """Return if the files of certificates can be used; raises PlanError otherwise."""
    try:
        if connection.ca_certs is not None:
            ssl.create_default_context(cafile=connection.ca_certs)
    except OSError as error:  # Also what OpenSSL says of a file.
        raise _unusable("ca_certs", error) from None
    try:
        if connection.client_cert is not None:
            # A password: without one OpenSSL would ask for it at the terminal.
            context = ssl.create_default_context()
            context.load_cert_chain(connection.client_cert, connection.client_key, password="")
    except OSError as error:
        raise _unusable("client_cert or client_key", error) from None


def _unusable(key: str, error: OSError) -> PlanError:
    reason = "it is not in PEM format, or not the key of the certificate"
    if not isinstance(error, ssl.SSLError) and error.strerror:
        reason = error.strerror
    return PlanError("E-ES-TLS", f"the file of {key} cannot be used: {reason}; correct it under the target")


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
    if unprotected_host(connection.url) is not None:
        raise ValueError("aws_region: signed requests over http could be read and sent again by others; write https://")
    if connection.flavour != "opensearch":
        raise ValueError("aws_region: is only for Amazon OpenSearch Service; set flavour: opensearch")
    if connection.api_key is not None or connection.username is not None or parts.username is not None:
        raise ValueError("aws_region: signed requests take no other login; remove api_key, username and password")
    return Signer(connection.aws_region, connection.aws_profile)
