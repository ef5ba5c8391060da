"""A Ray that a run starts takes work from nobody but its run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.orchestration.ray_cluster import ray_cluster

FOLDERS = Path("/tmp")
STRANGER = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
print("taken", ray.get(ray.remote(lambda: 0).remote()))
"""


@pytest.mark.ray
@pytest.mark.process
def test_a_local_ray_takes_code_from_its_own_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ports are open to every user, and so are the folders that Ray makes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # So that what the run sets is gone after the test.
        monkeypatch.delenv(name)
    outside = {**os.environ, "RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path / "another")}

    before = {*FOLDERS.glob("offramp-ray-*/ray/session_2*/")}
    with ray_cluster(1, None):
        import ray

        (folder,) = {*FOLDERS.glob("offramp-ray-*/ray/session_2*/")} - before
        assert folder.parents[1].stat().st_mode & 0o777 == 0o700
        assert ray.get(ray.remote(lambda: 0).remote(), timeout=60) == 0
        command = [sys.executable, "-c", STRANGER, ray.get_runtime_context().gcs_address]
        stranger = subprocess.run(command, env=outside, capture_output=True, text=True, timeout=120, check=False)
    assert stranger.returncode != 0
    assert "taken" not in stranger.stdout
    assert not folder.parents[1].exists()
