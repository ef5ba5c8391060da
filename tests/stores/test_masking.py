"""A secret of the plan is in no text, whatever form it has there; the words around it stay."""

from __future__ import annotations

import base64
import html
import io
import json
import logging
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import PermanentError
from stores.masking import MASK, SecretFilter, conceal, url_secrets

SECRET = "p4ss w/ö'\"<&:@#?\n\x1bé"


@pytest.fixture
def secrets() -> SecretFilter:
    return SecretFilter()


FORMS = {
    "as it is": SECRET,
    "in a URL": quote(SECRET, safe=""),
    "in a form": quote_plus(SECRET),
    "in Python": repr(SECRET)[1:-1],
    "in JSON": json.dumps(SECRET)[1:-1],
    "in HTML": html.escape(SECRET),
    "on a terminal": SECRET.encode("unicode_escape").decode(),
    "in basic auth": base64.b64encode(f"ada:{SECRET}".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_masked_in_each_form(form: str, secrets: SecretFilter) -> None:
    secrets.conceal(url_secrets(f"redis://ada:{quote(SECRET, safe='')}@host:6379/0"))
    assert secrets.masked(f"before {FORMS[form]} after") == f"before {MASK} after"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mongodb://ada:hunter2@h1:1,h2:2/db", {"hunter2", "ada:hunter2", "YWRhOmh1bnRlcjI="}),
        ("redis://:hunter2@h", {"hunter2", ":hunter2", "Omh1bnRlcjI="}),
        ("https://t0ken-t0ken@h", {"t0ken-t0ken"}),
        ("https://h:9200/path", set()),
        ("redis://h/0?password=hunter2&db=1", {"hunter2"}),
        ("mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:abc,X:y", {"abc"}),
        ("mongodb://h/?tlsCertificateKeyFilePassword=hunter2", {"hunter2"}),
        ("redis://ada:hun/ter#2@h", {"ada:hun/ter#2", "hun/ter#2"}),
        ("redis://[", set()),
        ("not a url", set()),
        ("postgresql://h/db?scram_client_key=planted&scram_server_key=other", {"planted", "other"}),
    ],
)
def test_what_is_secret_in_a_url(url: str, expected: set[str]) -> None:
    assert expected <= set(url_secrets(url))
    assert not set(url_secrets(url)) & {"h", "ada"}


def test_a_short_secret_is_masked_as_a_word_and_a_shorter_one_not_at_all(secrets: SecretFilter) -> None:
    secrets.conceal(["sesam", "abc", "12345"])
    assert (
        secrets.masked("sesam the latest sesams: 12345, 123456, abc")
        == f"{MASK} the latest sesams: {MASK}, 123456, abc"
    )
    assert secrets.masked_content({"target": "sesam", "why": "login sesam failed", "n": 12345}) == {
        "target": "sesam",
        "why": f"login {MASK} failed",
        "n": 12345,
    }


OPEN = ("/srv/plans/spring-sale.yaml", "spring-sale", "session:{_id}")
OPEN_WORDS = ("test", "Demo", "marketplace", "spring-sale", "plans")


@pytest.mark.parametrize("secret", OPEN_WORDS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", " is written"),
        ("offramp backfill /srv/", "/plan.yaml"),
        ("report: ", ".yaml"),
        ("table '", "': not there"),
        ("http://127.0.0.1:9200/", "/_doc"),
    ],
)
def test_a_secret_that_is_an_open_word_stays_in_ordinary_text(
    secret: str, before: str, after: str, secrets: SecretFilter
) -> None:
    secrets.conceal([secret], OPEN)
    assert secrets.masked(f"{before}{secret}{after}") == f"{before}{secret}{after}"


@pytest.mark.parametrize("secret", OPEN_WORDS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("redis://:", "@host:6379/0"),
        ("mongodb://ada:", "@host/shop"),
        ("https://", "@host"),
        ("tried password=", "&ssl=true"),
        ('{"password": "', '"}'),
        ("'api_key': '", "'"),
        ("invalid token: ", ""),
        ("wrong password ", ", twice"),
        ("unknown command AUTH default ", ""),
    ],
)
def test_a_secret_that_is_an_open_word_is_masked_where_it_is_shown_as_a_secret(
    secret: str, before: str, after: str, secrets: SecretFilter
) -> None:
    secrets.conceal([secret], OPEN)
    assert secrets.masked(f"{before}{secret}{after}") == f"{before}{MASK}{after}"


def test_the_lines_of_a_key_are_masked_each_by_itself(secrets: SecretFilter) -> None:
    secrets.conceal(["-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEAAo\n-----END KEY-----"])
    assert secrets.masked("near 'BAQEFAASCBKcwggSjAgEAAo'") == f"near '{MASK}'"


@given(st.text(min_size=4), st.text())
def test_a_secret_is_never_left(secret: str, text: str) -> None:
    secrets = SecretFilter()
    secrets.conceal([secret])
    assert len(secret) < 8 or secret in MASK or secret not in secrets.masked(f"{text}{secret}{text}")


def test_an_error_has_no_secret() -> None:
    conceal(["hunter2-of-masking"])
    error = PermanentError("E-X", "login hunter2-of-masking was refused", ["with hunter2-of-masking"])
    assert "hunter2" not in f"{error} {error.args} {error.lines} {error.message}"


def test_no_log_has_a_secret_whichever_library_writes_it() -> None:
    conceal(["hunter2-of-masking"])
    stream = io.StringIO()
    log = logging.getLogger("some.library")
    log.addHandler(handler := logging.StreamHandler(stream))
    try:
        log.warning("sent %s to %s", "hunter2-of-masking", "host")
        log.warning("an argument is %s missing from %s")
        try:
            raise ValueError("of hunter2-of-masking")
        except ValueError:
            log.exception("it failed")
    finally:
        log.removeHandler(handler)
    assert "hunter2" not in stream.getvalue()
    assert f"sent {MASK} to host\n" in stream.getvalue()
    assert f"ValueError: of {MASK}" in stream.getvalue()
    assert "Traceback" in stream.getvalue()
