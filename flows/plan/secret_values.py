"""Which values of a plan are secret: what nothing that leaves the program may show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flows.plan.yaml_file import REFERENCE, PlanFile, Where
from stores.masking import LEAST_LETTERS, is_common_word, is_secret_name, url_secrets
from stores.urls import login_of

_CONNECTIONS: Final = ("source", "targets")
_SECRET_IF_REFERRED_TO: Final = ("options", "where", "transforms")
"""Keys of a route whose values from the environment have only digests in a fingerprint too (R145)."""
_NAMES: Final = frozenset(
    (
        *("database", "read_preference", "time_zone", "region", "endpoint", "profile", "s3_endpoint", "table_prefix"),
        *("flavour", "aws_region", "aws_profile", "username", "sentinel_username", "ca_certs", "client_cert"),
        *("cache", "user", "index_prefix"),
    )
)
"""Keys of a connection that name something which messages and reports are about, wherever the value comes from."""
_WITH_TOKENS: Final = ("http://", "https://", "redis://", "rediss://", "redis-sentinel://", "rediss-sentinel://")
"""The schemes in whose URLs a token may take the place of user and password."""
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'`]+@", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[-+]?[0-9.]+")
"""A limit or a time; the number of a key that is named like a secret is one all the same."""


def secret_values(file: PlanFile) -> Iterator[str]:
    """Yield every text of the plan that is secret, whether or not the plan is right otherwise.

    Secret are passwords, and options of a connection that are named like one, wherever their value is written; what
    comes from a file of secrets or a Secret block; and what comes from the environment, unless it is the name of
    something: of a host, a region, a database, a table or an index.
    """
    for where, value in _leaves((), file.value):
        text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
        if text in ("", "true", "false"):
            continue
        if "://" in text:
            yield from url_secrets(text)
        if is_secret_name(_name(where)) and (where[0] in _CONNECTIONS or _is_sealed(where)):
            yield text
        referred = file.secrets_at.get(where, ())
        if referred and "://" not in text and not _NUMBER.fullmatch(text) and _may_be_secret(where):
            yield from (text, *referred)
        elif _from_secret_store(file.written.get(where, "")):
            yield from (secret for secret in referred if "://" not in secret)


def readable_keys(file: PlanFile) -> list[str]:
    """Return the keys, each with its line, whose secret is written in the plan for everybody to read.

    So are comments that have an address with a password, such as that of a source which was there before. A default of
    a reference is no secret. A user's name alone is one only where it may be a token.
    """
    found: dict[str, None] = {}
    for where, value in _leaves((), file.value):
        written = file.written.get(where, value)
        if isinstance(written, bool) or not isinstance(written, str | int | float):
            continue
        text = str(written)
        if "://" in text:
            is_readable = bool(_url_secrets(text, "a") & _url_secrets(text, "b"))
        else:
            named = is_secret_name(_name(where)) and (where[0] in _CONNECTIONS or _is_sealed(where))
            is_readable = named and bool(text) and "${" not in text
        if is_readable:
            found[f"{'.'.join(map(str, where))} (line {file.lines[where]})"] = None
    for number, line in enumerate(file.text.splitlines(), start=1):
        if (comment := _COMMENT.search(line)) and any(map(_has_password, _URL.findall(comment[0]))):
            found[f"a comment (line {number})"] = None
    return list(found)


def _has_password(url: str) -> bool:
    password = login_of(url).partition(":")[2]
    return len(password) >= LEAST_LETTERS and not REFERENCE.search(password) and not is_common_word(password)


def _url_secrets(written: str, filled: str) -> set[str]:
    """Return what is secret in a URL whose references all stand for this text."""
    url = REFERENCE.sub(filled, written)
    login = login_of(url)
    if not login.strip(":") or (":" not in login and not url.startswith(_WITH_TOKENS)):
        url = url.replace(f"{login}@", "", 1)
    return set(url_secrets(url))


def open_texts(file: PlanFile) -> Iterator[str]:
    """Yield what of the plan is no secret: the parts of its path, its keys, and the values that are written in it.

    A value that is a URL, or at a key that is named like a secret, is not among them.
    """
    for part in file.path.absolute().parts:
        yield from (part, part.partition(".")[0])
    for where, value in _leaves((), file.value):
        yield from map(str, where)
        is_written = where not in file.written or (where[0] in _CONNECTIONS and _name(where) in _NAMES)
        if isinstance(value, str) and "://" not in value and is_written and not is_secret_name(_name(where)):
            yield value


def _may_be_secret(where: Where) -> bool:
    return (where[0] in _CONNECTIONS and _name(where) not in _NAMES) or _is_sealed(where)


def _is_sealed(where: Where) -> bool:
    return where[0] == "routes" and len(where) > 2 and where[2] in _SECRET_IF_REFERRED_TO


def _from_secret_store(written: str) -> bool:
    return "${file:" in written or "${prefect-secret:" in written


def _name(where: Where) -> str:
    return next((part for part in reversed(where) if isinstance(part, str)), "")


def _leaves(where: Where, value: Any) -> Iterator[tuple[Where, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves((*where, name), inner)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _leaves((*where, at), inner)
    elif where:
        yield where, value
