"""The one filter of what leaves the program: no text has a secret of the plan after it.

Errors, the words in a state, reports, logs and the terminal all pass through `masked`. A text may come from anywhere: a
driver quotes the address that it was given, a proxy repeats a header, a plug-in prints what it holds.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import logging
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK: Final = "***"
LEAST_LETTERS: Final = 4
"""A shorter secret is in every text by chance, so it is not masked."""
_WORD_LETTERS: Final = 8
"""A shorter secret, such as `test`, is masked as a word of its own only."""
_LINE_LETTERS: Final = 16
"""The lines of a longer secret, such as a key, are masked each by itself."""


class SecretFilter:
    """The secrets that are concealed so far, and the text without them; safe to share between threads."""

    def __init__(self) -> None:
        """Conceal nothing yet."""
        self._lock = Lock()
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def conceal(self, secrets: Iterable[str]) -> None:
        """From now on `masked` hides these texts, in each form that a text may have them."""
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= LEAST_LETTERS}
        with self._lock:
            if not forms <= self._known:
                self._known |= forms
                # The longest first: one may be the beginning of another.
                ordered = sorted(self._known, key=lambda form: (-len(form), form))
                self._pattern = re.compile("|".join(map(_found, ordered)))

    def forget(self) -> None:
        """Conceal nothing any more."""
        with self._lock:
            self._known.clear()
            self._pattern = None

    def masked(self, text: str) -> str:
        """Return the text with each secret that is concealed as ``***``."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def masked_content(self, value: Any) -> Any:
        """Return data of mappings, lists and dataclasses with each text masked, but for one that is a short word.

        Such a word is a name or one of ours: a password `redis` does not rename the target.
        """
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return value if len(value) < _WORD_LETTERS else self.masked(value)
        if isinstance(value, Mapping):
            return {name: self.masked_content(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.masked_content, value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [each.name for each in dataclasses.fields(value)]
            return dataclasses.replace(value, **{name: self.masked_content(getattr(value, name)) for name in names})
        return value

    def mask_logs(self) -> None:
        """Every log record that is made from now on is masked, whichever library makes it and whoever handles it."""
        make = logging.getLogRecordFactory()

        def record_masked(*arguments: Any, **named: Any) -> logging.LogRecord:
            record = make(*arguments, **named)
            self._mask(record)
            return record

        logging.setLogRecordFactory(record_masked)

    def _mask(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - a message that does not fit its arguments is reported by its handler
            return
        if (shown := self.masked(text)) != text:
            record.msg, record.args = shown, ()
        if record.exc_info and record.exc_info[0] is not None:
            trace = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if (shown := self.masked(trace)) != trace:
                record.exc_text = shown  # Which formatters take in place of the error.


_OF_THIS_PROCESS = SecretFilter()
masked = _OF_THIS_PROCESS.masked
masked_content = _OF_THIS_PROCESS.masked_content
forget_secrets = _OF_THIS_PROCESS.forget
"""For a process that is done with a plan: a short secret of one plan may be a plain word in another."""
_logs_masked = Lock()


def conceal(secrets: Iterable[str]) -> None:
    """From now on this process hides these texts, wherever its errors, words and logs go."""
    if _logs_masked.acquire(blocking=False):
        _OF_THIS_PROCESS.mask_logs()
    _OF_THIS_PROCESS.conceal(secrets)


def url_secrets(url: str) -> Iterator[str]:
    """Yield what is secret in a URL: its password, user and password together, and options that are named like one.

    The user's name alone is none. A URL whose parts cannot be told apart is secret as a whole up to its last ``@``.
    """
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    rest = url.partition("://")[2][len(authority) :]
    if "@" in rest:
        yield from _login(url.partition("://")[2].rpartition("@")[0])
    elif "@" in authority:
        yield from _login(authority.rpartition("@")[0])
    try:
        query = urlsplit(url).query
    except ValueError:
        return
    for option in query.split("&"):
        name, _, value = option.partition("=")
        if is_secret_name(name) and value:
            yield value
        yield from re.findall(r"AWS_SESSION_TOKEN:([^,&]+)", option)


def is_secret_name(name: str) -> bool:
    """Return whether a key or an option of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


_SECRET_NAME = re.compile(r"passw|passphrase|secret|token|api_?key|credential|salt|private_?key", re.IGNORECASE)


def _login(user_and_password: str) -> Iterator[str]:
    yield user_and_password
    user, colon, password = user_and_password.partition(":")
    if not colon:  # A token in place of a user, as Redis and proxies have it, or a name alone.
        return
    yield password
    for login in {f"{unquote(user)}:{unquote(password)}", user_and_password}:
        yield base64.b64encode(login.encode()).decode("ascii")


def _forms(secret: str) -> Iterator[str]:
    """Yield the secret as it is, and as URLs, Python, JSON, HTML and a terminal write it."""
    plain = {secret, unquote(secret)}
    for text in plain:
        yield text
        encoded = text.encode("utf-8", "backslashreplace").decode()
        yield from (quote(encoded, safe=""), quote_plus(encoded), quote(encoded), quote(encoded, safe="").lower())
        yield from (repr(text)[1:-1], json.dumps(text)[1:-1], html.escape(text))
        yield text.encode("unicode_escape").decode("ascii")
        lines = text.splitlines()
        yield from (line for line in lines if len(lines) > 1 and len(line) >= _LINE_LETTERS)


def _found(form: str) -> str:
    text = re.escape(form)
    return rf"(?<!\w){text}(?!\w)" if len(form) < _WORD_LETTERS else text
