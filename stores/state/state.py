"""The state of a plan: what its runs must remember, in one transactional database (R130)."""

from __future__ import annotations

from stores.errors import OfframpError
from stores.state.claims import Claims
from stores.state.database import Database
from stores.state.designs import Designs
from stores.state.document_hashes import DocumentHashes
from stores.state.journal import StateJournal
from stores.state.late_writes import LateWrites
from stores.state.leases import Lease, Leases
from stores.state.made_places import MadePlaces
from stores.state.moves import refuse_moved
from stores.state.partitions import Partitions
from stores.state.plans import Plans
from stores.state.rejects import Rejects
from stores.state.repairs import Repairs
from stores.state.runs import Runs
from stores.state.steps import Steps
from stores.state.sync_positions import SyncPositions
from stores.state.verification import Verification
from stores.state.work_requests import WorkRequests


class State:
    """The state of every route of one plan, one attribute for each kind of record; safe to share between threads."""

    def __init__(self, url: str, plan: str, lease_s: float = 60, *, read_only: bool = False) -> None:
        """Open the database, making its file and tables where absent; raises PlanError if it cannot be used.

        That is so too where the plan's state was moved elsewhere (E-STATE-MOVED).

        With `read_only` the file must be there, and nothing is made or changed.
        """
        self._database = database = Database(url, plan, read_only=read_only)
        try:
            with database.reading() as db:
                refuse_moved(db, plan, database.place)
        except OfframpError:
            database.close()
            raise
        self.leases = leases = Leases(database, lease_s)
        self.claims = Claims(database, leases)
        self.partitions = Partitions(database, leases)
        self.rejects = Rejects(database, leases)
        self.designs = Designs(database, leases)
        self.work_requests = WorkRequests(database, leases)
        self.steps = Steps(database, leases)
        self.sync_positions = SyncPositions(database, leases)
        self.document_hashes = DocumentHashes(database, leases)
        self.verification = Verification(database, leases)
        self.repairs = Repairs(database, leases)
        self.late_writes = LateWrites(database, leases)
        self.made_places = MadePlaces(database, leases)
        self.runs = Runs(database)
        self.plans = Plans(database)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def is_usable(self) -> bool:
        """Return whether the database answers, and is the one that was opened."""
        return self._database.is_usable()

    def journal(self, lease: Lease, *, documents: bool = False) -> StateJournal:
        """Return the route's checkpoints and rejects as the run that has this lease may write them.

        With `documents` the rejected documents are kept.
        """
        return StateJournal(self.leases, self.partitions, self.rejects, self.late_writes, lease, documents)
