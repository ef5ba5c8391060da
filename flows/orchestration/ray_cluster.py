"""Ray as the cluster of a run: one elsewhere, or one that the run starts on its own machine."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from flows.orchestration import worker_entry
from flows.orchestration.clusters import ClusterGoneError, WorkerDiedError, gone
from flows.orchestration.worker_entry import Answer, Parcel, Setup
from flows.run.attempts import DEATHS

_SHORT = "/tmp"  # noqa: S108 - a socket's path has 107 bytes at most, and Ray adds 70
# By name, as these are classes of several modules of Ray.
_DEATHS = frozenset(("NodeDiedError", "OutOfMemoryError", "WorkerCrashedError"))


@contextmanager
def ray_cluster(workers: int, address: str | None) -> Iterator[RayCluster]:
    """Give the cluster at the address, or one of so many processes that is started here and ends with the body.

    Raises TransientError E-CLUSTER-GONE where none answers.
    """
    with TemporaryDirectory(prefix="offramp-ray-", dir=_SHORT, ignore_cleanup_errors=True) as folder:
        if address is None:
            options = local_ray(workers, folder)
            _ask_for_token(os.environ)
        else:
            options = {"address": address}
        import ray  # It reads how to sign in when it is imported.

        try:
            ray.init(**options, log_to_driver=False, ignore_reinit_error=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise gone("Ray", f"{address}: {error}".partition("\n")[0]) from error
        try:
            yield RayCluster()
        finally:
            ray.shutdown()


def local_ray(workers: int, folder: str) -> dict[str, Any]:
    """Return the arguments of a Ray of so many processes; what it keeps on disk is below `folder`.

    Nobody else may enter that. Ray lets every user write to its own folders, by default below /tmp: to those of its
    sockets, of its logs and of the code that its workers import.
    """
    return {"num_cpus": workers, "include_dashboard": False, "_temp_dir": f"{folder}/ray"}


def _ask_for_token(environment: MutableMapping[str, str]) -> None:
    """The parts of a Ray that begins with this environment take work from those alone that have its token.

    A Ray runs whatever code it is sent, and its ports are open to every user of the machine. Ray's own token would be
    in a file that every user may read where they may enter the home of this one.
    """
    mode = environment.setdefault("RAY_AUTH_MODE", "token")
    if mode == "token" and "RAY_AUTH_TOKEN_PATH" not in environment:
        environment.setdefault("RAY_AUTH_TOKEN", token_hex())


class RayCluster:
    """`clusters.Cluster` on the Ray that this process is connected with."""

    name = "Ray"

    def __init__(self) -> None:
        """Have nothing but the function that workers run."""
        import ray

        # An error of the job is a value, so that only the death of a worker begins it again.
        self._remote = ray.remote(max_retries=DEATHS - 1, num_cpus=1)(_do_parcel)

    def submit(self, parcel: Parcel, avoided: frozenset[str]) -> _Ref:
        """Give the job to a worker; one that is tried again goes where there is most room."""
        task = self._remote.options(scheduling_strategy="SPREAD") if avoided else self._remote
        try:
            return _Ref(task.remote(parcel.setup, parcel.job))
        except Exception as error:
            raise ClusterGoneError(f"{type(error).__name__}: {error}") from error

    def slots(self) -> None:
        """Return None: Ray gives a job to a worker when one has nothing to do."""

    def workers(self) -> Sequence[str]:
        """Return the ids of the nodes."""
        return [str(node["NodeID"]) for node in self._nodes()]

    def hosts(self) -> Sequence[str]:
        """Return the addresses of the nodes."""
        return [str(node["NodeManagerAddress"]) for node in self._nodes()]

    def _nodes(self) -> Sequence[dict[str, Any]]:
        import ray

        try:
            return [node for node in ray.nodes() if node["Alive"]]
        except Exception as error:
            raise ClusterGoneError(f"{type(error).__name__}: {error}") from error


def _do_parcel(setup: tuple[str, str], job: bytes) -> bytes:
    import ray

    return worker_entry.do_parcel(setup, job, ray.get_runtime_context().get_node_id())


class _Ref:
    """`clusters.Submitted` for a task of Ray."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref

    def wait(self, seconds: float) -> bool:
        import ray

        try:
            return bool(ray.wait([self._ref], timeout=seconds)[0])
        except Exception:  # noqa: BLE001 - `answer` raises it
            return True

    def answer(self) -> Answer:
        import ray
        from ray.exceptions import RayTaskError

        try:
            found: Answer = pickle.loads(ray.get(self._ref))  # noqa: S301 - our own worker's
        except RayTaskError as error:
            fault = worker_entry.setup_error(f"it cannot begin one ({type(error.cause).__name__})", Setup.here())
            return Answer("", fault)
        except Exception as error:
            if any(kind.__name__ in _DEATHS for kind in type(error).__mro__):
                raise WorkerDiedError(f"was lost {DEATHS} times ({type(error).__name__})") from error
            raise ClusterGoneError(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
        return found

    def cancel(self) -> None:
        import ray

        ray.cancel(self._ref)
