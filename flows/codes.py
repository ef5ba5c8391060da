"""The codes of runs, plans and the command line, and every code there is: what each means and what to do."""

from __future__ import annotations

from collections.abc import Mapping

import mappers.codes
import stores.codes
from mappers.codes import Entry, entry

CODES: Mapping[str, Entry] = {
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

CATALOGUE: Mapping[str, Entry] = dict(sorted({**mappers.codes.CODES, **stores.codes.CODES, **CODES}.items()))
"""Every code that a run can show."""
