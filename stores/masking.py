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
from urllib.parse import quote, quote_plus, unquote

from stores.urls import login_of, split_url

MASK: Final = "***"
LEAST_LETTERS: Final = 4
"""A shorter secret is in every text by chance, so it is not masked."""
_WORD_LETTERS: Final = 8
"""A shorter secret, such as `test`, is masked as a word of its own only."""
_LINE_LETTERS: Final = 16
"""The lines of a longer secret, such as a key, are masked each by itself."""
_COMMON: Final = """
account admin administrator adminadmin amazon analytics application archive backfill backup bucket cache changeme
check cluster collection config connection copy customer customers data database date default demo demodemo deploy
dev development docker document documents dummy dynamo dynamodb elastic elasticsearch example false field fields
file files guest host http https index indexer item items key keys local localhost log login main manager market
marketplace master migrate migration minio mongo mongodb mongosh name none null offramp open opensearch order orders
pass passphrase passwd password plan plans postgres prefect private prod product production products project public
read reader record records redis reject rejects repair replica report reports root route routes secret server
service session sessions shop source sqlite stage staging state status store stream sync system table target team
temp test tester testing tests text token true type user username users valkey value values verify version worker
write writer
"""
"""Words of this program, its stores and their guides."""
_COMMON_WORDS: Final = frozenset(_COMMON.split())


class SecretFilter:
    """The secrets that are concealed so far, and the text without them; safe to share between threads."""

    def __init__(self) -> None:
        """Conceal nothing yet."""
        self._lock = Lock()
        self._known: set[str] = set()
        self._open: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def conceal(self, secrets: Iterable[str], open_texts: Iterable[str] = ()) -> None:
        """From now on `masked` hides the secrets, in each form that a text may have them.

        `open_texts` are no secret: names, paths and whatever else anybody may read. A secret that is one of them, a
        word of one, or a common word, is hidden only where the text shows it as a secret: after a word such as
        `password`, or as the password of a URL. Hidden elsewhere it would be given away, by the gap in a known text.
        """
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= LEAST_LETTERS}
        words = {word.casefold() for text in open_texts for word in (text, *_WORD.findall(text))}
        with self._lock:
            if forms <= self._known and words <= self._open:
                return
            self._known |= forms
            self._open |= words
            # The longest first: one may be the beginning of another.
            ordered = sorted(self._known, key=lambda form: (-len(form), form))
            patterns = [_found(form, self._is_open(form)) for form in ordered]
            self._pattern = re.compile("|".join(patterns)) if patterns else None

    def _is_open(self, form: str) -> bool:
        return form.casefold() in _COMMON_WORDS or form.casefold() in self._open

    def forget(self) -> None:
        """Conceal nothing any more."""
        with self._lock:
            self._known.clear()
            self._open.clear()
            self._pattern = None

    def masked(self, text: str) -> str:
        """Return the text with each secret that is concealed as ``***``."""
        return text if self._pattern is None else self._pattern.sub(_mask_in, text)

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


def conceal(secrets: Iterable[str], open_texts: Iterable[str] = ()) -> None:
    """From now on this process hides the secrets, wherever its errors, words and logs go; see `SecretFilter`."""
    if _logs_masked.acquire(blocking=False):
        _OF_THIS_PROCESS.mask_logs()
    _OF_THIS_PROCESS.conceal(secrets, open_texts)


def url_secrets(url: str) -> Iterator[str]:
    """Yield what is secret in a URL: its password, user and password together, and options that are named like one.

    The user's name alone is none. A URL whose parts cannot be told apart is secret as a whole up to its last ``@``.
    """
    authority, rest = split_url(url)
    if "@" in rest:
        yield from _login((authority + rest).rpartition("@")[0])
    elif "@" in authority:
        yield from _login(login_of(url))
    for option in rest.partition("?")[2].partition("#")[0].split("&"):
        name, _, value = option.partition("=")
        if is_secret_name(name) and value:
            yield value
        yield from re.findall(r"AWS_SESSION_TOKEN:([^,&]+)", option)


def is_secret_name(name: str) -> bool:
    """Return whether a key or an option of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def is_common_word(text: str) -> bool:
    """Return whether the text is a word that guides write in the place of a secret, such as ``<password>``."""
    return text.strip("<>{}[]()*._-").casefold() in _COMMON_WORDS | {""}


_SECRET_NAME = re.compile(
    r"passw|passphrase|secret|token|api_?key|credential|salt|private_?key|scram_(?:client|server)_key", re.IGNORECASE
)
_WORD = re.compile(r"\w+")


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


def _found(form: str, is_open: bool) -> str:
    """Return the pattern of a form; what of a match stays is its last group that matched."""
    text = re.escape(form)
    if is_open:
        named = (
            rf"((?i:{_SECRET_NAME.pattern}|pwd|auth|bearer)\w*\W{{1,4}}(?:(?:is|was|default)\W{{1,3}})?){text}(?!\w)"
        )
        return rf"{named}|(?<=[:/]){text}(?=@)"
    return rf"(?<!\w){text}(?!\w)" if len(form) < _WORD_LETTERS else text


def _mask_in(found: re.Match[str]) -> str:
    return f"{found[found.lastindex] if found.lastindex else ''}{MASK}"
