"""What keeps a request from AWS: no valid credentials, no connection, or an action that is not allowed.

AWS's own texts are not passed on, because they may quote secrets; names of actions and of operations are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import botocore.session
from botocore import exceptions as aws

from stores.connection_faults import Kind, connection_fault
from stores.urls import hosts_of

_LOGIN_OPERATIONS = frozenset(
    (
        "AssumeRole",
        "AssumeRoleWithSAML",
        "AssumeRoleWithWebIdentity",
        "GetSessionToken",
        "GetRoleCredentials",
        "CreateToken",
        "CreateOAuth2Token",
    )
)
"""What botocore asks of AWS STS or IAM Identity Center before it asks what it was told to."""

_NO_TRUST = (
    "the role's trust policy does not trust this identity, or the identity may not assume it; correct the trust policy"
    " or the role's ARN"
)
_REFUSED_LOGINS: Mapping[str, str] = {
    "AccessDenied": _NO_TRUST,
    "AccessDeniedException": _NO_TRUST,
    "InvalidIdentityToken": (
        "the web identity token is not accepted; check the identity provider of the account and the token's audience"
    ),
    "IDPRejectedClaim": "the web identity token is not accepted; check the token's audience and subject",
    "ExpiredTokenException": "the web identity token or session has expired; have it renewed",
    "ExpiredToken": "the session that assumes the role has expired; sign in again",
    "InvalidClientTokenId": "the access key that assumes the role does not exist; correct it",
    "SignatureDoesNotMatch": "the secret key that assumes the role is wrong, or this machine's clock; correct it",
    "RegionDisabledException": "AWS STS is switched off in this region; switch it on, or set another region",
    "ValidationError": "the role's ARN or the token is malformed; correct AWS_ROLE_ARN or the profile's role_arn",
}
_PASSING_LOGINS = frozenset(("Throttling", "ThrottlingException", "IDPCommunicationError", "RequestLimitExceeded"))

_ADVICE: Mapping[Kind, str] = {
    "closed_port": "start what should listen there, or correct `{endpoint}`",
    "unknown_host": "correct `{endpoint}` or `region`, or this machine's name service",
    "name_service": "check this machine's name service",
    "no_route": "check the network between this machine and it",
    "timeout": "check the network between this machine and it (a firewall, a missing VPC endpoint)",
    "hang_up": "check that `{endpoint}` leads to the service, and whether it wants https",
    "no_tls": "write http:// in `{endpoint}`, or correct its port",
    "wants_tls": "write https:// in `{endpoint}`",
    "untrusted": "set AWS_CA_BUNDLE to the certificate of its authority",
    "other_host": "name the host in `{endpoint}` as the certificate does",
    "expired": "renew its certificate, or correct this machine's clock",
    "client_certificate": "name an `{endpoint}` that takes no client certificates",
    "file": "correct AWS_CA_BUNDLE",
    "tls": "check `{endpoint}` and AWS_CA_BUNDLE",
}

_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")
_NOTHING_ALLOWS = re.compile(r"\bno [a-z-]+(?: [a-z-]+){0,3} allows\b")
_DENIES = re.compile(r"\ban explicit deny in an? [a-z-]+(?: [a-z-]+){0,3}")


@dataclass(frozen=True, slots=True)
class NetworkFault:
    """Why no whole answer came."""

    text: str
    """Host and port, the cause and what to do."""
    passes: bool
    """Whether the same request may succeed later."""
    unknown_host: bool = False


def login_fault(error: Exception) -> str | None:
    """Return why there are no valid credentials and what to do; None for an error of another kind.

    Only what waiting does not help: AWS STS that is busy is no fault of the credentials.
    """
    if isinstance(error, OSError):  # botocore wraps those of connections; these are of the files that it reads.
        reason = error.strerror or type(error).__name__
        file = f"the file {str(error.filename)!r}" if error.filename else "a file"
        return f"{file} of the AWS credentials cannot be read ({reason}); correct it"
    if isinstance(error, aws.ClientError):
        code = error_code(error)
        if error.operation_name not in _LOGIN_OPERATIONS or code in _PASSING_LOGINS or http_status(error) >= 500:
            return None
        reason = _REFUSED_LOGINS.get(code, "check the role, its trust policy and what signs in")
        return f"{error.operation_name} is refused ({code}): {reason}"
    name = type(error).__name__
    if isinstance(error, aws.NoCredentialsError):
        return (
            f"{name}: there are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile,"
            " or run as a role (docs/permissions.md)"
        )
    if isinstance(error, aws.PartialCredentialsError):
        return f"{name}: the credentials of {error.kwargs['provider']} lack {error.kwargs['cred_var']}; add it"
    if isinstance(error, aws.CredentialRetrievalError):
        return f"{name}: the source {error.kwargs['provider']!r} gives no AWS credentials; correct it, then run again"
    if isinstance(error, aws.SSOError | aws.TokenRetrievalError | aws.NoAuthTokenError):
        return f"{name}: the sign-in of the profile has expired; run aws sso login"
    if isinstance(error, aws.MetadataRetrievalError):
        return f"{name}: the container or machine gives no credentials; check the role that it is given"
    if isinstance(error, aws.InvalidConfigError | aws.ConfigParseError | aws.ConfigNotFound):
        return f"{name}: the AWS configuration is invalid; correct the profile in AWS's configuration files"
    if name.startswith("Login"):  # `aws login`, which older releases of botocore do not know.
        return f"{name}: the sign-in of the profile has expired; run aws login"
    return None


def network_fault(error: Exception, endpoint: str) -> NetworkFault | None:
    """Return why no whole answer came; None for an error of another kind.

    `endpoint` is the key of the plan that names the server.
    """
    if not isinstance(error, aws.HTTPClientError | aws.ConnectionError | aws.IncompleteReadError | aws.ChecksumError):
        return None
    details: Mapping[str, object] = getattr(error, "kwargs", {})
    inner = details.get("error")
    at = host_of(str(details.get("endpoint_url") or ""))
    name = type(error).__name__
    if isinstance(error, aws.ProxyConnectionError):
        at = f"the proxy {host_of(str(details.get('proxy_url') or ''))}"
    while isinstance(inner, Exception) and isinstance(cause := inner.__cause__ or inner.__context__, Exception):
        inner = cause
    if isinstance(inner, FileNotFoundError | PermissionError):
        text = f"{at} was not asked: a file of certificates cannot be read ({inner.strerror}); correct AWS_CA_BUNDLE"
        return NetworkFault(text, passes=False)
    fault = connection_fault(f"{error} {inner}")
    if fault is None:
        return NetworkFault(f"{at} gives no answer ({name}); the same command resumes", passes=True)
    advice = _ADVICE[fault.kind].format(endpoint=endpoint)
    text = f"{at} cannot be reached: {fault.cause} ({name}); {advice}, then run the same command"
    return NetworkFault(text, fault.passes, fault.kind == "unknown_host")


@cache  # It reads botocore's descriptions anew, and each attempt at an unknown host asks.
def is_known_region(region: str, service: str) -> bool:
    """Return whether the installed botocore knows the region for the service; a newer region it may not know."""
    session = botocore.session.get_session()
    return any(
        region in session.get_available_regions(service, partition, allow_non_regional=True)
        for partition in session.get_available_partitions()
    )


def refused_action(error: aws.ClientError, action: str) -> str:
    """Return that AWS refuses an action, and why as far as it says; `action` is meant where it names none."""
    text = str(error.response.get("Error", {}).get("Message", ""))
    named, allowing, denying = _ACTION.search(text), _NOTHING_ALLOWS.search(text), _DENIES.search(text)
    why = f" ({allowing[0]} it)" if allowing else f" ({denying[0]})" if denying else ""
    return f"{named[1] if named else action} is refused{why}"


def host_of(url: str) -> str:
    """Return the host and port of a URL, without anything that may be a login."""
    return hosts_of(url) or "the server"


def error_code(error: aws.ClientError) -> str:
    """Return AWS's code of an error, "" if it has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: aws.ClientError) -> int:
    """Return the HTTP status of an error answer, 0 if it has none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
