"""The URLs by which a plan names servers: what would lead elsewhere, or part of a password into a message."""

from __future__ import annotations

import re
from typing import Final

_ODD: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[\[\]]")


def check_url(key: str, url: str) -> None:
    """Raise ValueError for a URL whose user or password has a character that a URL gives another meaning.

    Readers of URLs differ in what they make of it: of ``redis://ada:12#34@host`` one connects to a host `ada` at port
    12. The text of the error begins with the key, and has nothing of the URL.
    """
    if "://" not in url:
        return  # No URL, which the store says in its own words.
    if any(letter.isspace() or not letter.isprintable() for letter in url):
        raise ValueError(f"{key}: has a space or a character that does not show; write it percent-encoded, such as %20")
    rest = url.partition("://")[2]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    login = authority.rpartition("@")[0]
    if "#" in rest or "@" in rest[len(authority) :] or "@" in login or login.count(":") > 1 or _ODD.search(login):
        raise ValueError(
            f"{key}: its user or its password has a character that means something else in a URL; write it"
            " percent-encoded: %23 for #, %3F for ?, %2F for /, %40 for @, %3A for :, %25 for %"
        )
