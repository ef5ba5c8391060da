"""The URLs by which a plan names servers: their parts, and what would lead elsewhere or show part of a password."""

from __future__ import annotations

import re
from typing import Final

_ODD: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[\[\]]")


def split_url(url: str) -> tuple[str, str]:
    """Return the authority of a URL, which is login and hosts, and what follows it; its scheme is left out.

    Of any text, and without errors: a URL may have several hosts, or none.
    """
    rest = url.partition("://")[2]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    return authority, rest[len(authority) :]


def login_of(url: str) -> str:
    """Return user and password of a URL as they are written there, "" without."""
    return split_url(url)[0].rpartition("@")[0]


def hosts_of(url: str) -> str:
    """Return the hosts of a URL with their ports, without its login."""
    return split_url(url)[0].rpartition("@")[2]


def check_url(key: str, url: str) -> None:
    """Raise ValueError for a URL whose user or password has a character that a URL gives another meaning.

    Readers of URLs differ in what they make of it: of ``redis://ada:12#34@host`` one connects to a host `ada` at port
    12. The text of the error begins with the key, and has nothing of the URL.
    """
    if "://" not in url:
        return  # No URL, which the store says in its own words.
    if any(letter.isspace() or not letter.isprintable() for letter in url):
        raise ValueError(f"{key}: has a space or a character that does not show; write it percent-encoded, such as %20")
    rest, login = split_url(url)[1], login_of(url)
    if "#" in rest or "@" in rest or "@" in login or login.count(":") > 1 or _ODD.search(login):
        raise ValueError(
            f"{key}: its user or its password has a character that means something else in a URL; write it"
            " percent-encoded: %23 for #, %3F for ?, %2F for /, %40 for @, %3A for :, %25 for %"
        )
