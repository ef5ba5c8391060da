"""What `${...}` in a plan stands for: an environment variable, the text of a file, or a secret in a store of those."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

SecretStore = Callable[[str], str]
"""Returns the secret of this name; raises UnresolvedError where it has none."""

FILE_LIMIT_BYTES = 1 << 20
"""A file that is longer holds no secret: it was named by mistake."""
PREFECT_SECRET = "prefect-secret"  # noqa: S105 - how a plan names such a secret

_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_BLOCK_NAME = re.compile(r"[a-z0-9-]+")
_FORMS = "write ${NAME}, ${NAME:-default}, ${file:/path}, ${" + PREFECT_SECRET + ":name}, or $${ for a literal ${"
_stores: dict[str, SecretStore] = {}


@dataclass(frozen=True, slots=True)
class Value:
    """What a reference stands for."""

    text: str
    is_secret: bool = True
    """Whether no message may show it; a default is in the plan for everyone to read."""


class UnresolvedError(Exception):
    """A reference has no value; the text says why and what to do, without a value."""


def add_secret_store(scheme: str, store: SecretStore) -> None:
    """From now on `${scheme:name}` stands for the secret of this name in the store."""
    _stores[scheme] = store


def resolve(reference: str, environment: Mapping[str, str]) -> Value:
    """Return the value of the reference, which is the text between `${` and `}`.

    The text of a file is given without the line end that most editors leave at its end. Raises UnresolvedError where
    there is no such variable, file or secret, or where the reference has none of these forms.
    """
    scheme, colon, name = reference.partition(":")
    if colon and scheme == "file":
        return Value(_file_text(name))
    if colon and scheme == PREFECT_SECRET:
        if not _BLOCK_NAME.fullmatch(name):
            raise UnresolvedError(
                f"found {name!r}; a Secret block's name has only lowercase letters, digits and dashes"
            )
        if scheme not in _stores:
            raise UnresolvedError("a Secret block of Prefect cannot be read here; take it from a file or a variable")
        return Value(_stores[scheme](name))
    variable = _VARIABLE.fullmatch(reference)
    if variable is None:
        raise UnresolvedError(f"found '${{{reference}}}'; {_FORMS}")
    if variable[1] in environment:
        return Value(environment[variable[1]])
    if variable[2] is None:
        name = variable[1]
        raise UnresolvedError(
            f"the environment variable {name} is not set; set it, or write a default: ${{{name}:-default}}"
        )
    return Value(variable[2], is_secret=False)


def _file_text(name: str) -> str:
    path = Path(name)
    if not path.is_absolute():
        raise UnresolvedError(f"found the file {name!r}; write its absolute path: ${{file:/run/secrets/name}}")
    try:
        with path.open("rb") as file:
            content = file.read(FILE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its path has a NUL character"
        raise UnresolvedError(f"the file {name!r} cannot be read: {reason}; make it readable here") from None
    if len(content) > FILE_LIMIT_BYTES:
        raise UnresolvedError(
            f"the file {name!r} has more than {FILE_LIMIT_BYTES} bytes; name one that holds the value"
        )
    try:
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UnresolvedError(f"the file {name!r} is not UTF-8 text; name one that holds the value as text") from None
