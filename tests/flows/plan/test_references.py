"""What `${...}` stands for: a variable, the text of a file, a secret of a store; and what is said where it has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.plan.load import load
from flows.plan.references import FILE_LIMIT_BYTES, UnresolvedError, Value, resolve
from stores.errors import PlanError

PLAN = """\
source: {uri: "mongodb://u:${file:%s}@h", database: shop}
targets: {redis: {url: "redis://h"}}
routes: {a: {use_case: session%s}}
"""


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"h\xc3\xbcnter2", "h\xfcnter2"),
        (b" a\n\n", " a\n"),
        (b"", ""),
    ],
)
def test_a_file_stands_for_its_text_without_the_last_line_end(tmp_path: Path, content: bytes, value: str) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert resolve(f"file:{tmp_path / 'secret'}", {}) == Value(value)


def test_a_default_is_no_secret_and_a_variable_is() -> None:
    assert resolve("NAME:-shop", {}) == Value("shop", is_secret=False)
    assert resolve("NAME:-shop", {"NAME": "shop"}) == Value("shop")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("file:secret", "write its absolute path"),
        ("file:", "write its absolute path"),
        ("file:{folder}/none", "No such file"),
        ("file:{folder}", "Is a directory"),
        ("file:{folder}/\0", "NUL"),
        ("file:{folder}/binary", "is not UTF-8 text"),
        ("file:/dev/zero", f"more than {FILE_LIMIT_BYTES} bytes"),
        ("files:/x", "${file:/path}"),
        ("prefect-secret:", "a Secret block's name"),
        ("prefect-secret:A b", "a Secret block's name"),
    ],
)
def test_a_reference_without_a_value_is_named_with_what_to_do(tmp_path: Path, reference: str, said: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfehunter2")
    with pytest.raises(UnresolvedError) as refused:
        resolve(reference.format(folder=tmp_path), {})
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("more", ["", ", ttl_s: '${file:%s}'"])
def test_a_plan_takes_a_secret_from_a_file_and_no_fault_shows_it(tmp_path: Path, more: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN % (secret, more and more % secret))
    if not more:
        assert load(path, {}).source.uri == "mongodb://u:hunter2@h"
        return
    with pytest.raises(PlanError) as refused:
        load(path, {})
    assert "hunter2" not in str(refused.value)
    assert "routes.a.ttl_s: found '${file:/" in str(refused.value)


def test_the_text_of_a_plan_may_be_given_and_then_no_file_is_read(tmp_path: Path) -> None:
    text = PLAN.replace("u:${file:%s}@", "") % ""
    plan = load(tmp_path / "shop.yaml", {}, text)
    assert plan.name == "shop"
    assert plan.state == f"sqlite:///{tmp_path}/.offramp/state.db"
