"""Why a request to a cluster, or one document of it, was not carried out: by who must act, and quoting no document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stores.connection_faults import ConnectionFault, Kind
from stores.elasticsearch.spots import Refusal
from stores.errors import PermanentError, TransientError

NO_ANSWER = 0
DROPPED = "dropped by the ingest pipeline"
"""The kind of a fault that no server names: it acknowledges such a document and keeps nothing."""
_PASSING_STATUS = frozenset({NO_ANSWER, 429, 502, 503, 504})
# What passes although its status does not say so: a node that left (500) or a shard that moved (404).
_PASSING_KINDS = frozenset(
    {
        "circuit_breaking_exception",
        "es_rejected_execution_exception",
        "rejected_execution_exception",  # OpenSearch
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
    ( failed\ to\ parse\ field\ \[(?P<parsed>[^\]]*)\]\ of\ type\ \[\w+\]
    | mapping\ set\ to\ strict,\ dynamic\ introduction\ of\ \[(?P<new>[^\]]*)\]
      \ within\ \[(?P<within>[^\]]*)\]\ is\ not\ allowed
    | object\ mapping\ for\ \[(?P<object>[^\]]*)\]
      \ tried\ to\ parse\ field\ \[[^\]]*\]\ as\ object,\ but\ found\ a\ concrete\ value
    | Document\ contains\ at\ least\ one\ immense\ term\ in\ field="(?P<immense>[^"]*)"
    | DocValuesField\ "(?P<column>[^"]*)"\ is\ too\ large,\ must\ be\ <=\ \d+
    | Name\ length\ \(\d+\)\ exceeds\ the\ maximum\ allowed\ \(\d+
    | Limit\ of\ [a-z ]+\ \[\d+\]\ has\ been\ exceeded
    | The\ depth\ of\ the\ (?:nested\ array\ )?field\ has\ exceeded\ the\ allowed\ limit\ of\ \[\d+\]
    | The\ provided\ \[flattened\]\ field\ \[(?P<flattened>[^\]]*)\]\ exceeds\ the\ maximum\ depth\ limit\ of\ \[\d+\]
    | Field\ \[(?P<metadata>[^\]]*)\]\ is\ a\ metadata\ field\ and\ cannot\ be\ added\ inside\ a\ document
    | The\ number\ of\ nested\ documents\ has\ exceeded\ the\ allowed\ limit\ of\ \[\d+\]
    | field\ name\ cannot\ be\ an\ empty\ string )""",
    re.VERBOSE,
)
# What a security plugin, or Amazon, names as refused; what follows in its text may be a user or an index.
_DENIED = re.compile(
    r"action \[([\w:/*\[\]-]+)\] is unauthorized|no permissions for \[([\w:/*, -]+)\]|to perform: (es:\w+)"
)
# The fields by which OpenSearch indexes a flat_object below the path of its own.
_VALUE, _VALUE_AND_PATH = "._value", "._valueAndPath"
_BLOCK = re.compile(r"\[[A-Z_]{1,40}/\d{1,4}/[A-Za-z0-9 ()/.,:_-]{1,120}\]")
"""A block as a server names it, such as ``[FORBIDDEN/8/index write (api)]``."""
_KIND = re.compile(r"[a-z][a-z0-9_]{0,79}")
_LONGEST_CHAIN = 10
_LONGEST_FIELD = 500
ADVICE: Mapping[Kind, str] = {
    "closed_port": "start it, or correct host and port in `url`",
    "unknown_host": "correct the host in `url`, or this machine's name service",
    "name_service": "check this machine's name service",
    "no_route": "check the network between this machine and it",
    "timeout": "check the cluster, and what is in between (a firewall, a proxy)",
    "hang_up": "check that `url` leads to the cluster, and whether it wants https",
    "no_tls": "write http:// in `url`, or correct its port",
    "wants_tls": "write https:// in `url`",
    "untrusted": "set `ca_certs` to the certificate of its authority",
    "other_host": "name the host in `url` as the certificate does",
    "expired": "renew its certificate, or correct this machine's clock",
    "client_certificate": "set `client_cert` and `client_key` to a certificate that it accepts",
    "file": "correct `ca_certs` or `client_cert`",
    "tls": "check `url` and `ca_certs`",
}
"""What to do about each fault of a connection."""


def _is_kind(kind: object) -> bool:
    """Return whether the type of an error is one that Elasticsearch may have, and no text of somebody else."""
    return isinstance(kind, str) and _KIND.fullmatch(kind) is not None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request, or one document of it, was not carried out."""

    status: int
    kinds: tuple[str, ...] = ()
    """The types of the error and of its causes."""
    reasons: tuple[str, ...] = ()
    """Their texts, which may quote the document."""
    network: ConnectionFault | None = None
    """Why no answer came."""

    @classmethod
    def of(cls, status: int, error: Any) -> Fault:
        """Return the fault of an `error` object, its causes unrolled."""
        chain: list[tuple[str, str]] = []
        while isinstance(error, dict):
            kind = error.get("type", "")
            chain.append((kind if kind == "" or _is_kind(kind) else "an unknown type", str(error.get("reason", ""))))
            error = error.get("caused_by") if len(chain) < _LONGEST_CHAIN else None
        kinds = tuple(kind for kind, _ in chain if kind)
        return cls(status, kinds, tuple(reason for _, reason in chain))

    @property
    def text(self) -> str:
        """The fault in words that quote no document."""
        if self.network is not None:
            return self.network.cause
        telling = self._telling
        reason_shown = "" if telling is None else telling[1]
        kinds = " < ".join(self.kinds) or "no error type"
        return f"{kinds} ({self.status or 'no answer'})" + (f": {reason_shown}" if reason_shown else "")

    @property
    def _telling(self) -> re.Match[str] | None:
        """The first reason's beginning that may be shown."""
        return next((match for reason in self.reasons if (match := _TELLING.match(reason))), None)

    @property
    def field(self) -> str:
        """The path of the field that the server names, as the index has it, in one line; "" for none."""
        telling = self._telling
        if telling is None:
            return ""
        named = {group: name for group, name in telling.groupdict().items() if name is not None}
        within = named.pop("within", "_doc")
        name = next(iter(named.values()), "")
        if "immense" in named or "column" in named:
            name = name.removesuffix(_VALUE_AND_PATH).removesuffix(_VALUE)
        path = name if within == "_doc" else f"{within}.{name}"
        return "".join(letter if letter.isprintable() else "?" for letter in path[:_LONGEST_FIELD])

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

    def refusal(self) -> Refusal:
        """Return code, reason and field of the document's reject."""
        if DROPPED in self.kinds:
            return Refusal("E-ES-PIPELINE", DROPPED)
        return Refusal("E-ES-SIZE" if self.status == 413 else "E-ES-REJECTED", self.text, self.field)

    def away(self, where: str) -> TransientError:
        """Return the error for a fault that did not pass in time."""
        advice = "the same command resumes" if self.network is None else ADVICE[self.network.kind]
        return TransientError("E-ES-AWAY", f"{where}: {self.text}; tried again until its deadline was over; {advice}")

    def error(self, where: str) -> PermanentError:
        """Return the error for a fault that will not pass."""
        if self.no_index:
            return PermanentError(
                "E-ES-NOINDEX",
                f"{where}: the index does not exist any more; find out who deleted it, then start over with backfill"
                " --restart",
            )
        if not {"cluster_block_exception", "index_closed_exception"}.isdisjoint(self.kinds):
            return PermanentError(
                "E-ES-BLOCKED", f"{where}: {self._blocks()}; remove the block, then run the same command"
            )
        if self.status in (401, 403):
            return PermanentError("E-ES-AUTH", f"{where}: {self._access()}")
        return PermanentError("E-ES-ANSWER", f"{where}: the server refused the request: {self.text}")

    def _blocks(self) -> str:
        """Return the blocks that the reasons name, in Elasticsearch's words and none of anybody else's."""
        named = dict.fromkeys(block for reason in self.reasons for block in _BLOCK.findall(reason))
        return f"blocked by {', '.join(named)}" if named else " < ".join(self.kinds)

    def _access(self) -> str:
        """Return whether the login or a privilege is at fault, and what to do."""
        reasons = " ".join(self.reasons)
        if "signature" in reasons.lower() and "not match" in reasons:
            return (
                f"the AWS signature is refused ({self.status}): the secret key is wrong, or this machine's clock;"
                " correct it (the identity needs es:ESHttpGet, ESHttpPut, ESHttpPost and ESHttpDelete on the domain)"
            )
        if "security token" in reasons and "expired" in reasons:
            return f"the AWS session token has expired ({self.status}); sign in again, then run the same command"
        if self.status == 401:
            return f"the login is refused ({self.text}); correct api_key, or username and password"
        match = _DENIED.search(reasons)
        denied = f"{next(filter(None, match.groups()))} is not allowed" if match else "the request is not allowed"
        return (
            f"{denied} ({self.text}); give it to this login. A run needs monitor on the cluster, and create_index,"
            " view_index_metadata, read, write and maintenance on the index, an AWS identity es:ESHttpGet, ESHttpPut,"
            " ESHttpPost and ESHttpDelete on the domain (docs/permissions.md)"
        )
