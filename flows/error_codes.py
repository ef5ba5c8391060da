"""The error codes of plans, runs and the command line, and the catalogue of all codes: meaning and remedy of each."""

from __future__ import annotations

from collections.abc import Mapping

import mappers.error_codes
import stores.error_codes
from mappers.error_codes import EFFECTS, Entry, entry

CODES: Mapping[str, Entry] = {
    "E-DEMO-RUN": entry(
        "failed",
        "The command that the demo runs on its Dask workers ended without a report.",
        "See what it printed, then run the demo again.",
    ),
    "E-DEMO-WRITER": entry(
        "failed",
        "The process that writes to the demo's source ended too early.",
        "Run the demo again.",
    ),
    "E-DEPLOY-AUTH": entry(
        "refused",
        "The Prefect server asks for credentials that are not set here or are not its own.",
        "Set PREFECT_API_AUTH_STRING to the server's PREFECT_SERVER_API_AUTH_STRING.",
    ),
    "E-DEPLOY-BLOCK": entry(
        "refused",
        "There is no block of this name with a plan on the Prefect server, or a block cannot have this name, or this"
        " plan: one in whose text a secret can be read.",
        "Run `offramp deploy PLAN --plan-block NAME`; write ${NAME} in the place of a secret.",
    ),
    "E-DEPLOY-NAME": entry(
        "refused",
        "The plan's name has characters that a deployment's name must not have.",
        "Set another `name` in the plan, before its first run.",
    ),
    "E-DEPLOY-POOL": entry(
        "refused",
        "The work pool does not exist, or its runs would not see the plan's file.",
        "Create it or name another with `--work-pool`; `--plan-at` says where its runs find the plan, `--run-in` with"
        " `--plan-block` where they work.",
    ),
    "E-DEPLOY-SERVER": entry(
        "refused failed",
        "PREFECT_API_URL is not set, or its server does not answer as a Prefect server.",
        "Start a server and set PREFECT_API_URL to its address, with /api at the end; then run the same command.",
    ),
    "E-PREFECT-SERVER": entry(
        "refused failed",
        "No Prefect server is named, and the temporary one of the run did not answer in time or is not allowed.",
        "Set PREFECT_API_URL to the address of a server that runs, or "
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS to more seconds; then run the same command.",
    ),
    "E-INTERNAL-PARTITIONS": entry(
        "stopped",
        "The partitions of a verification do not cover the collection exactly once; nothing was compared.",
        "Please report it.",
    ),
    "E-KEY-NOTDERIVABLE": entry(
        "refused ended",
        "The route's addresses depend on other fields than `_id`, so a changed document could leave its"
        " old record behind.",
        "Do as the message says, which makes the source keep documents as they were, then start over "
        "with `offramp backfill PLAN --restart --route ROUTE`; or build the key from `_id` and start "
        "over likewise.",
    ),
    "E-MAP-DIRECT": entry(
        "stopped",
        "The compiled mapper and the Python mapper make different records of a document; nothing of its batch "
        "was written.",
        "Set OFFRAMP_COMPILED=0 to run without the compiled mapper, and verify what was copied before. Please "
        "report it with the document's structure.",
    ),
    "E-NOT-COPIED": entry(
        "stopped",
        "The route was never copied, so there is nothing to verify, retry or repair.",
        "Run `offramp backfill PLAN --route ROUTE` first.",
    ),
    "E-REJECTS-ALL": entry(
        "refused",
        "`offramp check PLAN` mapped documents of the route as a backfill does, and each that it looked at would be"
        " rejected.",
        "Look up the code in the message, the most frequent first; then correct the route in the plan, or the"
        " documents.",
    ),
    "E-REJECTS-BUDGET": entry(
        "limited",
        "The route has more rejects than the plan allows. What was written until then stays in the target and"
        " is counted.",
        "See `offramp rejects list PLAN`; correct the documents, or raise the limit under `rejects`, and run "
        "the same command, which resumes. After a change of the route or its mapper run `offramp backfill "
        "PLAN --restart --route ROUTE`.",
    ),
    "E-REJECTS-FILE": entry(
        "refused",
        "The file for the rejects exists already, or cannot be written.",
        "Name another file with `--out`.",
    ),
    "E-REJECTS-NONE": entry(
        "refused",
        "No reject on record matches these options.",
        "`offramp rejects list PLAN` shows those that are open, with `--accepted` those that are accepted.",
    ),
    "E-REPAIR-SYSTEMIC": entry(
        "refused",
        "So much of the route is wrong that there must be a common cause, which a repair would hide.",
        "Find the cause and start over with `offramp backfill PLAN --restart --route ROUTE`, or repair anyway"
        " with `--all`.",
    ),
    "E-SYNC-BACKFILL": entry(
        "refused stopped",
        "The route was not copied to its end, or records of an earlier run are still to be deleted.",
        "Run `offramp backfill PLAN --route ROUTE`, which resumes.",
    ),
    "E-SYNC-HALTED": entry(
        "ended",
        "The collection was dropped, renamed or the like, so its changes no longer say what happened.",
        "Look at the collection, then do as the message says; usually start over with `offramp backfill"
        " PLAN --restart --route ROUTE`.",
    ),
    "E-SYNC-POSITION": entry(
        "refused ended",
        "The route's backfill saved no position in the source's changes from which this kind of sync could go on.",
        "Start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-SYNC-STREAM": entry(
        "refused stopped",
        "The collection has no change stream.",
        "Do as the message says, or set `sync: rescan` or `sync: watermark` in the route.",
    ),
    "E-VERIFY-CANARY": entry(
        "stopped",
        "Verification missed damage that was planted for it, or reported damage that is not there; no verdict counts.",
        "Please report it with the versions you use. If the scratch area could not be created, give the rights "
        "that the message names.",
    ),
    "E-CENSUS": entry(
        "refused stopped",
        "The census, which reads documents to design the target's index, failed or found no design that fits.",
        "Do as the message says; a route with its own `mapping` needs no census.",
    ),
    "E-CONFIG-CHANGED": entry(
        "refused stopped",
        "The plan now makes other records, or puts them elsewhere, than when the route's run began.",
        "Undo the change and run the same command, or start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-DEMO-DIR": entry(
        "refused",
        "The demo's folder is in use, cannot be written, or holds other files.",
        "Name another folder with `--dir`.",
    ),
    "E-DEMO-INSTALL": entry(
        "refused",
        "A server of the demo is not installed.",
        "Run the command in the message in offramp's clone: it installs all servers of the demo.",
    ),
    "E-DEMO-SEED": entry(
        "failed",
        "The demo's source did not accept its documents.",
        "Run the demo again.",
    ),
    "E-DEMO-START": entry(
        "failed",
        "A server of the demo ended or did not answer in time; the message quotes the end of its log.",
        "See the log, then run the demo again.",
    ),
    "E-INTERNAL": entry(
        "stopped",
        "Something happened that offramp does not expect; the message names its kind and line, never a value.",
        "Run the same command again, with `-v` to see where; please report it.",
    ),
    "E-MADE-ANEW": entry(
        "ended",
        "The collection, or the target's table, index or keys, was deleted, or deleted and recreated, "
        "since the run began: its checkpoints no longer apply.",
        "Find out who deleted it, then start over with `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-NOT-LOADED": entry(
        "paused",
        "The records are staged but not loaded yet, so there is nothing to verify.",
        "Run `offramp backfill PLAN --route ROUTE`, which resumes.",
    ),
    "E-PLAN": entry(
        "refused stopped",
        "The plan cannot be read, or has the faults that the message lists; whatever the codes of these "
        "faults say, nothing was written.",
        "Correct them; config/plan.example.yaml shows every key.",
    ),
    "E-PLAN-ROUTE": entry(
        "refused",
        "The plan has no route of this name.",
        "Name one of those that the message lists.",
    ),
    "E-REPORT-DIR": entry(
        "refused",
        "The report cannot be written to this folder, or other users could put their files in its place.",
        "Name another folder with `--report` (`--out` of `offramp report PLAN`).",
    ),
    "E-REPORT-NONE": entry(
        "refused",
        "No run of the plan has ended yet, so there is no report.",
        "Run `backfill` or `verify` first.",
    ),
    "E-STOPPED": entry(
        "interrupted",
        "A signal stopped the run before its end; work that AWS or a server does meanwhile goes on.",
        "Run the same command.",
    ),
    "E-STORES": entry(
        "paused",
        "Several stores cannot be used; each is named with its own code.",
        "Do what each of these codes says, then run the same command.",
    ),
    "E-USAGE": entry(
        "refused",
        "The command line is wrong.",
        "See `offramp COMMAND --help`.",
    ),
    "E-CLUSTER-GONE": entry(
        "paused",
        "The cluster of Dask or Ray that `run.address` names does not answer, or no longer.",
        "See that its scheduler runs and can be reached; then run the same command, which resumes.",
    ),
    "E-WORKER-DIED": entry(
        "paused",
        "A worker was killed each time that its partition was begun, usually because it ran out of memory.",
        "Lower `run.workers` or `run.window`, then run the same command.",
    ),
    "E-WORKER-PLAN": entry(
        "stopped",
        "A worker would work by another plan than its run: a variable is missing there, or its environment, its release"
        " or the stores that it reaches are others; or the plan in the state is not what the run put there.",
        "Give the worker the environment, the credentials and the release of the run.",
    ),
    "E-WORKER-LEFT": entry(
        "paused",
        "A worker of a cluster was ended at a checkpoint each time, and none other finished its partition.",
        "Run the same command, which resumes.",
    ),
    "E-WORKER-SETUP": entry(
        "stopped",
        "A worker of a cluster has not the release of offramp, the Python or the packages of the run.",
        "Install there what the message names, such as by the same container image, then run the same command.",
    ),
}

_TABLES = (mappers.error_codes.CODES, stores.error_codes.CODES, *stores.error_codes.target_codes().values(), CODES)
CATALOGUE: Mapping[str, Entry] = dict(sorted((code, entry) for table in _TABLES for code, entry in table.items()))
"""Every code that a run can show."""


def explained(code: str, entry: Entry) -> str:
    """Return the entry as lines for a terminal."""
    done = [EFFECTS[effect] for effect in entry.effects]
    one_of = done[0] if len(done) == 1 else "\n- ".join(["one of these; the exit code says which", *done])
    return f"{code}: {entry.meaning}\nwhat offramp did: {one_of}\nwhat to do: {entry.remedy}".replace("`", "'")
