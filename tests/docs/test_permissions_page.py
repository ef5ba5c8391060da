"""docs/permissions.md lists what the code really asks of the stores: nothing is missing, and nothing is made up."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.session import get_session

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "permissions.md").read_text(encoding="utf-8")
_OTHER_NAMES = {"CreateMultipartUpload": "PutObject", "ListObjectsV2": "ListBucket", "DeleteObjects": "DeleteObject"}
"""Operations whose action has another name."""
_NO_COMMANDS = frozenset(
    [
        "SAMPLES",
        "MATCH",
        "COUNT",
        "USAGE",
        "NODES",
        "GROUPS",
        "UTC",
        "BUSY",
        "TRYAGAIN",
        "OOM",
        "MISCONF",
        "ASK",
        "MOVED",
        "CLUSTERDOWN",
        "MASTERDOWN",
        "READONLY",
        "NOREPLICAS",
        "WRONGTYPE",
        "EXECABORT",
        "NOPERM",
    ]
)
"""Parts of commands, codes of errors, and a time zone."""
_REDIS = re.compile(r"[A-Z]{3,}(?:\.[A-Z]+)?")


def section(heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def constants(folder: str) -> set[str]:
    """Every text in the code of a store, docstrings and comments aside where they are longer than a name."""
    return {
        node.value
        for path in sorted((ROOT / "stores" / folder).glob("*.py"))
        if path.name != "error_codes.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def methods(module: str) -> set[str]:
    """Every attribute that the code of a module of `stores` names."""
    tree = ast.parse((ROOT / "stores" / module).read_text(encoding="utf-8"))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def aws_actions(service: str) -> set[str]:
    """The actions of the requests that the code sends: it names each by boto3's method."""
    named = constants("dynamodb") | (methods("s3_folder.py") if service == "s3" else set())
    operations = get_session().get_service_model(service).operation_names
    asked = {name for name in operations if xform_name(name) in named}
    return {f"{service}:{_OTHER_NAMES.get(name, name)}" for name in asked}


def test_the_actions_of_dynamodb_and_s3_are_those_that_the_code_asks_for() -> None:
    listed = set(re.findall(r"`((?:dynamodb|s3):\w+)`", section("AWS")))
    assert listed == aws_actions("dynamodb") | aws_actions("s3")


def test_the_commands_of_redis_are_those_that_the_code_sends() -> None:
    listed = set(re.findall(r"`([A-Z]+(?:\.[A-Z]+)?)`", section("Redis and Valkey")))
    sent = {text for text in constants("redis") if _REDIS.fullmatch(text)} - _NO_COMMANDS
    assert sent - listed == set()
    source = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "stores" / "redis").glob("*.py"))
    assert {name for name in listed if not re.search(rf"\b{re.escape(name)}\b", source)} == set()


@pytest.mark.parametrize("heading", ["AWS", "MongoDB", "Redis and Valkey", "Elasticsearch and OpenSearch"])
def test_every_store_has_its_list(heading: str) -> None:
    assert section(heading).count("\n| ") > 4
