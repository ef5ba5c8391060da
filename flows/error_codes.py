"""The codes of runs, plans and the command line, and every code there is: what each means and what to do."""

from __future__ import annotations

from collections.abc import Mapping

import mappers.error_codes
import stores.error_codes
from mappers.error_codes import EFFECTS, Entry, entry

CODES: Mapping[str, Entry] = {
    "E-DEMO-WRITER": entry(
        "stopped",
        "The process that writes to the demo's source ended before its time.",
        "Run the demo again.",
    ),
    "E-DEPLOY-NAME": entry(
        "refused",
        "The plan's name has letters that no deployment's name may have.",
        "Say another `name` in the plan, before its first run.",
    ),
    "E-DEPLOY-POOL": entry(
        "refused",
        "The work pool is absent, or its runs would not see the plan's file.",
        "Make it, or name another; `--plan-at` says where its runs find the plan.",
    ),
    "E-DEPLOY-SERVER": entry(
        "refused paused",
        "No Prefect server is named, or the one that is does not answer as it should.",
        "Start one, and let PREFECT_API_URL name its address, with /api at the end; then run the same command.",
    ),
    "E-INTERNAL-PARTITIONS": entry(
        "stopped",
        "The ranges that a verification was to read do not cover the collection exactly once.",
        "Please report it; nothing was compared.",
    ),
    "E-KEY-NOTDERIVABLE": entry(
        "refused",
        "Where a route's records are depends on other fields than `_id`, so a changed document could leave its old"
        " record behind.",
        "Run the command of the message, which has the source keep what documents were, then `backfill --restart`;"
        " or key the records by `_id`.",
    ),
    "E-MAP-DIRECT": entry(
        "stopped",
        "The compiled mapper and the one in Python make different records of a document; nothing of its batch was"
        " written.",
        "Set OFFRAMP_COMPILED=0, which runs without the compiled one, and verify what was copied before; please report"
        " it with the document's structure.",
    ),
    "E-NOT-COPIED": entry(
        "stopped",
        "The route was never copied, so there is nothing to retry or repair.",
        "Run `backfill` first.",
    ),
    "E-REJECTS-BUDGET": entry(
        "stopped",
        "A route has more rejects than the plan's budget allows, so it stopped at a checkpoint, with exit code 1.",
        "See `offramp rejects list`; mend the plan, the mapper or the documents, or raise the budget. The same "
        "command goes on.",
    ),
    "E-REJECTS-FILE": entry(
        "refused",
        "The file for the rejects exists, or cannot be written.",
        "Name another.",
    ),
    "E-REJECTS-NONE": entry(
        "refused",
        "No reject on record is as asked.",
        "`offramp rejects list` shows what there is.",
    ),
    "E-REPAIR-SYSTEMIC": entry(
        "refused",
        "So much of a route is wrong that it is no accident; repairing it would hide the cause.",
        "Find the cause and begin anew with `backfill --restart`, or say `--all`.",
    ),
    "E-SYNC-BACKFILL": entry(
        "refused",
        "The route was not copied to its end, or what an earlier run left is not swept.",
        "Run `backfill`, which goes on.",
    ),
    "E-SYNC-HALTED": entry(
        "stopped",
        "Something happened to the collection of which its changes tell no more, such as a drop or a rename.",
        "Do as the message says; most often `backfill --restart` of that route.",
    ),
    "E-SYNC-POSITION": entry(
        "refused",
        "The route's backfill noted no position in the source's changes that this kind of sync could go on from.",
        "Begin anew with `backfill --restart`.",
    ),
    "E-SYNC-STREAM": entry(
        "refused",
        "The collection has no stream of changes.",
        "Do as the message says, or say `sync: rescan` or `sync: watermark` in the route.",
    ),
    "E-VERIFY-CANARY": entry(
        "stopped",
        "Verification did not find damage that was planted for it, or found some where there was none; no verdict "
        "counts.",
        "Report it with the versions you use; if the scratch area could not be made, give the rights the message "
        "names.",
    ),
    "E-CENSUS": entry(
        "refused stopped",
        "Looking at the documents, to design the target's place, failed or led to no design that serves them.",
        "Do as the message says; a mapping of your own in the route needs no census.",
    ),
    "E-CONFIG-CHANGED": entry(
        "refused stopped",
        "The plan makes other records, or puts them elsewhere, than when the route was begun.",
        "Undo the change, or begin anew with `backfill --restart`.",
    ),
    "E-DEMO-DIR": entry(
        "refused",
        "The demo's folder is in use, cannot be written, or holds something else.",
        "Name another with `--dir`.",
    ),
    "E-DEMO-INSTALL": entry(
        "refused",
        "A server of the demo is not installed.",
        "Install `mongo-offramp[demo]` for this interpreter.",
    ),
    "E-DEMO-SEED": entry("stopped", "The demo's source did not take its documents.", "Run the demo again."),
    "E-DEMO-START": entry(
        "stopped",
        "A server of the demo ended, or did not answer in time; the message quotes the end of its log.",
        "See the log, then run the demo again.",
    ),
    "E-INTERNAL": entry(
        "stopped",
        "Something happened that offramp does not expect; the message names its kind and line, never a value.",
        "Run the same command again, with `--verbose` to see where; please report it.",
    ),
    "E-MADE-ANEW": entry(
        "stopped",
        "The collection, or the target's place, was dropped and made anew since the run began: checkpoints say nothing"
        " about it.",
        "Begin anew with `backfill --restart`.",
    ),
    "E-NOT-LOADED": entry(
        "paused",
        "The records are staged but not loaded yet, so there is nothing to verify.",
        "Run `backfill`, which goes on.",
    ),
    "E-PLAN": entry(
        "refused",
        "The plan cannot be read, or has the faults that the message lists with their lines.",
        "Correct them; config/plan.example.yaml shows every key.",
    ),
    "E-PLAN-ROUTE": entry(
        "refused", "The plan has no route of this name.", "Name one of those that the message lists."
    ),
    "E-REPORT-DIR": entry("refused", "The report cannot be written there.", "Name another folder with `--report`."),
    "E-REPORT-NONE": entry(
        "refused",
        "No run of the plan has ended yet, so there is no report to write again.",
        "Run `backfill` or `verify` first.",
    ),
    "E-STATE-GONE": entry(
        "stopped",
        "The state lost the route's partitions during the run.",
        "Let nothing else change the state; begin anew with `backfill --restart`.",
    ),
    "E-STOPPED": entry(
        "paused",
        "A signal stopped the run while it waited; what AWS or a server does meanwhile goes on.",
        "Run the same command.",
    ),
    "E-USAGE": entry("refused", "The command line is wrong.", "See `offramp COMMAND --help`."),
    "E-WORKER-DIED": entry(
        "paused",
        "The process at work on a partition was killed, most often for want of memory.",
        "Lower `run.workers` or `run.window`, then run the same command.",
    ),
}

CATALOGUE: Mapping[str, Entry] = dict(
    sorted({**mappers.error_codes.CODES, **stores.error_codes.CODES, **CODES}.items())
)
"""Every code that a run can show."""


def explained(code: str, entry: Entry) -> str:
    """Return the entry as lines for a terminal."""
    did = "\n".join(f"what offramp did: {EFFECTS[effect]}".replace("`", "") for effect in entry.effects)
    return f"{code}: {entry.meaning}\n{did}\nwhat to do: {entry.remedy}".replace("`", "")
