"""Plans in blocks of a Prefect server, for workers whose machine does not have the plan's file."""

from __future__ import annotations

import re

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


def check_block_name(name: str) -> None:
    """Raise PlanError unless a block may have this name."""
    if not _NAME.fullmatch(name):
        raise PlanError(
            "E-DEPLOY-BLOCK", f"found the block {name!r}; its name has lowercase letters, digits and single dashes"
        )


def save_plan_block(name: str, text: str) -> None:
    """The block of this name holds the plan's text, whatever it held before."""
    check_block_name(name)
    OfframpPlan(text=text).save(name, overwrite=True)


def read_plan_block(name: str) -> str:
    """Return the plan's text in the block.

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
    return str(document.data.get("text", ""))
