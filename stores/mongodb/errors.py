"""The MongoDB driver's errors, translated by who must act."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    ExecutionTimeout,
    OperationFailure,
    ProtocolError,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from stores.connection_faults import Kind
from stores.errors import OfframpError, PermanentError, TransientError
from stores.mongodb.answer_codes import ATLAS_CODE, AUTH_CODES, LOGIN_CODE, TRANSIENT_CODES
from stores.mongodb.client import Client

_ACTION = re.compile(r"\(action: (\w+)\)|to execute command \{ ?(\w+):|to do action \[(\w+)\]")
"""The name of what was refused; what follows it in the server's text may be values of a query."""
_NESTED = re.compile(r"\{.*\}")
"""A document within the server's text, which may have values of the user's."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_WORD = re.compile(r"\$?[A-Za-z]{1,40}")
"""What a server may quote of a command: an operator, an option."""
_LONGEST_TEXT = 200
_WIRE_VERSION = re.compile(r"reports wire version (\d+)")
_MADE_BY: Mapping[int, str] = {
    6: "MongoDB 3.6 or Amazon DocumentDB 3.6",
    7: "MongoDB 4.0 or Amazon DocumentDB 4.0",
    8: "MongoDB 4.2",
}
"""What speaks the versions of the wire protocol that the driver does not."""
_MANY_CURSORS = "too many cursors"
_SRV = re.compile(r"_\w+\._tcp\.[\w.-]+")

_ADVICE: Mapping[Kind, str] = {
    "closed_port": "start it, or correct host and port in source.uri",
    "unknown_host": "correct the host in source.uri, or this machine's name service",
    "name_service": "check this machine's name service",
    "no_route": "check the network between this machine and it",
    "timeout": "check host and port in source.uri, and what is in between (a firewall, an IP access list)",
    "hang_up": "check that it is a MongoDB, and whether it wants TLS (tls=true in source.uri)",
    "no_tls": "correct the port in source.uri, or remove tls=true",
    "wants_tls": "add tls=true to source.uri",
    "untrusted": "set tlsCAFile in source.uri to the certificate of its authority",
    "other_host": "name the host in source.uri as the certificate does",
    "expired": "renew its certificate, or correct this machine's clock",
    "client_certificate": "set tlsCertificateKeyFile in source.uri to a certificate that it accepts",
    "file": "correct tlsCAFile or tlsCertificateKeyFile in source.uri",
    "tls": "check the tls options of source.uri",
}


def translated(collection: str, client: Client, operation: str = "the read") -> AbstractContextManager[None]:
    """The driver's errors of reading the collection come out as this program's own; a refusal names the operation."""
    return translating(lambda error: translate(collection, error, client, operation))


@contextmanager
def translating(translate: Callable[[PyMongoError], OfframpError]) -> Iterator[None]:
    """The driver's errors come out as the function has them."""
    try:
        yield
    except PyMongoError as error:
        raise translate(error) from error


def translate(what: str, error: PyMongoError, client: Client, operation: str = "the read") -> OfframpError:
    """Return the error of reading a collection, or what is named, by who must act; what is unknown needs a person."""
    name = type(error).__name__
    if isinstance(error, ConfigurationError) and (found := unresolved(what, error)) is not None:
        return found
    if isinstance(error, ConfigurationError) and (match := _WIRE_VERSION.search(str(error))) is not None:
        return _too_old(what, int(match[1]))
    if isinstance(error, CursorNotFound | ExecutionTimeout):
        return TransientError("E-SRC-AWAY", f"reading {what!r}: the source does not answer ({name})")
    if isinstance(error, AutoReconnect | WaitQueueTimeoutError | ConnectionFailure | ProtocolError):
        return _away(what, error, client)
    if isinstance(error, OperationFailure):
        code = error.code or 0
        if _MANY_CURSORS in str(error).lower():
            return TransientError(
                "E-SRC-CURSORS",
                f"reading {what!r}: the source's instance has as many open cursors as it allows; lower run.workers, or"
                " take a larger instance class",
            )
        if code in TRANSIENT_CODES:
            return TransientError("E-SRC-AWAY", f"reading {what!r}: the source interrupted the read ({code})")
        if code in AUTH_CODES:
            return PermanentError("E-SRC-AUTH", f"reading {what!r}: {refused_access(error)}")
        return PermanentError(
            "E-SRC-REFUSED",
            f"reading {what!r}: the source refused {operation} ({refusal(error)}). If the server is not what"
            " offramp check says it is, name it in source.flavour; offramp check --probe shows what it can do",
        )
    return PermanentError("E-SRC-FAILED", f"reading {what!r}: {name}")


def refusal(error: OperationFailure) -> str:
    """Return the code of a refusal, its name and the server's own text, without values that the text may quote."""
    details = error.details or {}
    text = " ".join(str(details.get("errmsg", "")).split())
    text = _QUOTED.sub(
        lambda quoted: quoted[0] if _WORD.fullmatch(quoted[0][1:-1]) else "...", _NESTED.sub("{...}", text)
    )
    named = ", ".join(str(each) for each in (details.get("codeName"), error.code) if each is not None) or "no code"
    return f"{named}: {text[:_LONGEST_TEXT]}" if text else named


def _too_old(what: str, wire_version: int) -> OfframpError:
    made_by = _MADE_BY.get(wire_version, "an older MongoDB")
    return PermanentError(
        "E-SRC-VERSION",
        f"reading {what!r}: the source speaks version {wire_version} of the wire protocol, as {made_by} does; the"
        " oldest that can be read are MongoDB 4.4 and Amazon DocumentDB 5.0 (docs/documentdb.md)",
    )


def refused_access(error: OperationFailure) -> str:
    """Return whether the login or a privilege is at fault, and what to do; quotes no value of a query."""
    text = str((error.details or {}).get("errmsg", ""))
    if error.code == LOGIN_CODE or (error.code == ATLAS_CODE and "auth" in text.lower()):
        return (
            f"the source refuses the login (code {error.code}): the user is unknown, the password is wrong, or the user"
            " belongs to another database than authSource; correct them in source.uri"
        )
    if "requires authentication" in text:
        return f"the source wants a login (code {error.code}); write user and password in source.uri"
    match = _ACTION.search(text)
    action = f" for {next(filter(None, match.groups()))}" if match else ""
    return (
        f"the source's user has no permission{action} (code {error.code}); give it the role read on this database,"
        " which allows find and changeStream"
    )


def _away(what: str, error: PyMongoError, client: Client) -> OfframpError:
    """Return the error of a source that cannot be spoken to; a lasting one if no server can be."""
    at = f"reading {what!r}: "
    strangers = client.strangers()
    if strangers:
        hosts = ", ".join(strangers)
        text = f"{at}what answers at {hosts} is no MongoDB; correct host and port in source.uri"
        return PermanentError("E-SRC-SERVER", text)
    if other_sets := client.other_sets():
        known = ", ".join(
            f"{server} is in the replica set {name!r}" if name else f"{server} is in no replica set"
            for server, name in other_sets.items()
        )
        wanted = client.topology_description.replica_set_name
        text = f"{at}source.uri names the replica set {wanted!r}, but {known}; correct replicaSet in source.uri"
        return PermanentError("E-SRC-SERVER", text)
    selecting = isinstance(error, ServerSelectionTimeoutError)
    silent = client.silent() if selecting else []
    faults = client.faults(silent)
    if not faults:
        return TransientError("E-SRC-AWAY", f"{at}the source does not answer ({type(error).__name__})")
    causes = "; ".join(f"{server}: {fault.cause}" for server, fault in faults.items())
    advice = " or ".join(dict.fromkeys(_ADVICE[fault.kind] for fault in faults.values()))
    text = f"{at}the source cannot be reached ({causes}); {advice}"
    if (
        selecting
        and len(faults) == len(client.answers.by_server()) + len(silent)
        and not any(fault.passes for fault in faults.values())
    ):
        return PermanentError("E-SRC-TLS", text)
    return TransientError("E-SRC-AWAY", text)


def unresolved(what: str, error: ConfigurationError) -> OfframpError | None:
    """Return the error of a mongodb+srv name that leads to no servers; None for any other error."""
    text, cause = str(error), error.__cause__
    match = _SRV.search(text)
    name = f"the SRV record {match[0].rstrip('.')}" if match else "the SRV record of source.uri"
    if text.startswith("Invalid SRV host"):
        return PermanentError(
            "E-SRC-SRV", f"reading {what!r}: {name} names hosts of another domain; correct the host in source.uri"
        )
    if cause is None or not type(cause).__module__.startswith("dns."):
        return None
    if type(cause).__name__ in ("NXDOMAIN", "NoAnswer"):
        return PermanentError(
            "E-SRC-SRV",
            f"reading {what!r}: {name} does not exist; correct the host in source.uri, or write mongodb:// and its"
            " hosts",
        )
    return TransientError(
        "E-SRC-AWAY", f"reading {what!r}: the name service does not give {name}; check this machine's name service"
    )
