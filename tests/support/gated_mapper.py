"""A route whose mapper waits at a document until a file appears, or ends its process there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plans import Stores, write_plan
from pymongo.database import Database

DOCUMENTS = 3_500
MAPPERS = '''
import os, signal, threading
from pathlib import Path
from mappers.redis import String
from mappers.identity import identity
from stores.contract.stop import PROCESS_STOP

def wait(document, *, gate, prefix):
    """Wait at a document until the file appears, or this process is told to stop."""
    if document["n"] == 2_600:
        Path(gate + ".reached").touch()
    while document["n"] == 2_600 and not Path(gate).exists() and not PROCESS_STOP.is_set():
        threading.Event().wait(0.02)
    return [String(prefix + identity(document), str(document["n"]).encode())]

def die(document, *, gate, prefix):
    """End the process without a word at a document, once or as long as the file is there."""
    if document["n"] == 2_600 and Path(gate).exists():
        if not Path(gate).read_text():
            Path(gate).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return [String(prefix + identity(document), str(document["n"]).encode())]
'''


def gated_plan(
    use: str,
    gate: Path,
    stores: Stores,
    database: Database[dict[str, Any]],
    unique: str,
    run: Mapping[str, Any],
    *,
    name: str = "plan",
    **route: Any,
) -> Path:
    """Write a plan beside the gate, and documents for its route `things`, whose mapper is `wait` or `die`."""
    (gate.parent / "own.py").write_text(MAPPERS, encoding="utf-8")
    database.things.insert_many([{"_id": number, "n": number} for number in range(DOCUMENTS)])
    things = {
        "target": "redis",
        "use": f"own.py:{use}",
        "options": {"gate": str(gate), "prefix": f"{unique}:"},
        "key": f"{unique}:{{_id}}",
        **route,
    }
    return write_plan(gate.parent, stores, database.name, {"things": things}, name=name, run=run)


def reached_file(gate: Path) -> Path:
    """Return the file that is there once the mapper waits."""
    return Path(f"{gate}.reached")
