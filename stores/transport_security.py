"""What may travel unencrypted: to this machine alone, and what a person should know of anything else."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_this_machine(host: str) -> bool:
    """Return whether the name or address is of this machine itself, by its form: no name service is asked."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def unprotected_host(url: str) -> str | None:
    """Return the host of a URL whose requests others may read; None for https, and for this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return None if parts.scheme == "https" or is_this_machine(host) else host


def why_no_signing(key: str, url: str) -> str | None:
    """Return why no signed request is sent to this URL, which a key of the plan names; None where it may be."""
    if (host := unprotected_host(url)) is None:
        return None
    return (
        f"`{key}` leads to {host} by http, where signed requests could be read and sent again by others;"
        " write https:// (http is for this machine alone)"
    )


def unencrypted(place: str, remedy: str) -> str:
    """Return the note on a connection without TLS."""
    return f"{place} is reached without TLS: documents and logins can be read on the way; {remedy}"


def unchecked(place: str, remedy: str) -> str:
    """Return the note on a connection whose certificate is not checked."""
    return f"the certificate of {place} is not checked, so another server could take its place; {remedy}"
