"""Plans in blocks of a Prefect server, for workers whose machine does not have the plan's file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect import get_client
from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from pydantic import Field

from flows.orchestration.server_faults import server_faults, server_name
from stores.errors import PlanError

_SLUG = "offramp-plan"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class OfframpPlan(Block):
    """A plan of offramp as YAML. References to secrets stand in it as they were written."""

    _block_type_name = "Offramp Plan"
    _block_type_slug = _SLUG
    _description = "A plan of offramp, as YAML: which collection goes to which store."

    text: str = Field(description="The plan as YAML, with references in the place of secrets.")
    files: dict[str, str] = Field(
        default_factory=dict, description="The files of mappers that the plan names in `use`, by their names there."
    )


@dataclass(frozen=True, slots=True)
class PlanBlock:
    """What a block holds of a plan."""

    text: str
    files: Mapping[str, str] = field(default_factory=dict)


def check_block_name(name: str) -> None:
    """Raise PlanError unless a block may have this name."""
    if not _NAME.fullmatch(name):
        raise PlanError(
            "E-DEPLOY-BLOCK", f"found the block {name!r}; its name has lowercase letters, digits and single dashes"
        )


def save_plan_block(name: str, text: str, files: Mapping[str, bytes] | None = None) -> None:
    """The block of this name holds the plan's text and the files that it names, whatever it held before.

    Raises PlanError for a file that is no text in UTF-8.
    """
    check_block_name(name)
    OfframpPlan(text=text, files={each: _text(each, content) for each, content in (files or {}).items()}).save(
        name, overwrite=True
    )


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise PlanError("E-DEPLOY-BLOCK", f"the file {name!r} is not UTF-8 text; write it in UTF-8") from None


def read_plan_block(name: str) -> PlanBlock:
    """Return what the block holds of the plan; one of an earlier release has no files.

    Raises PlanError if there is no such block or the server asks for other credentials, TransientError if it does not
    answer or refuses.
    """
    check_block_name(name)
    try:
        with server_faults(), get_client(sync_client=True) as client:
            document = client.read_block_document_by_name(name, _SLUG)
    except ObjectNotFound:
        raise PlanError(
            "E-DEPLOY-BLOCK",
            f"{server_name()} has no plan in a block {name!r}; run offramp deploy PLAN --plan-block {name}",
        ) from None
    files = document.data.get("files") or {}
    return PlanBlock(str(document.data.get("text", "")), {str(each): str(text) for each, text in files.items()})
