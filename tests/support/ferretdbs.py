"""FerretDB, a server of another maker that speaks MongoDB's protocol, built once from its published Go module.

The program is kept in the user's cache, under a name made of the sources here, which pin each module by its checksum.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from flows.demo.server_process import LAUNCH, Server, made, serving
from flows.demo.servers import answers_hello

_SOURCES = Path(__file__).parent / "ferretdb"
_FILES = ("main.go", "go.mod", "go.sum")
_BUILD_LIMIT_S = 900


def require_go() -> None:
    """Skip the test where Go is missing, and FerretDB was not built before; in CI it must be there."""
    if not _program().exists() and shutil.which("go") is None:
        reason = "FerretDB is built with Go, which is missing (Debian: apt install golang; or https://go.dev/dl)"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)


@contextmanager
def ferretdb(directory: Path) -> Iterator[str]:
    """Yield the URL of a FerretDB whose data is in the directory."""
    program = _built()
    directory = made(directory)
    data = made(directory / "data")
    server = Server(
        name="FerretDB",
        directory=directory,
        command=lambda port: (str(program), f"127.0.0.1:{port}", str(data)),
        answers=answers_hello,
        url="mongodb://127.0.0.1:{port}/",
        launch=LAUNCH,
    )
    with serving(server) as url:
        yield url


def _built() -> Path:
    """Return the program, which is built where it is not in the cache: minutes at the first time, seconds later."""
    program = _program()
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        for name in _FILES:
            shutil.copy(_SOURCES / name, folder)
        command = ["go", "build", "-mod=readonly", "-trimpath", "-o", "ferretdb", "."]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_LIMIT_S, check=False)
        assert done.returncode == 0, f"FerretDB could not be built: {done.stderr[-2000:]}"
        # Another process may have built it meanwhile: the last one stays, and each is whole.
        (Path(folder) / "ferretdb").replace(program)
    return program


def _program() -> Path:
    content = b"\0".join((_SOURCES / name).read_bytes() for name in _FILES)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "offramp-tests" / f"ferretdb-{sha256(content).hexdigest()[:16]}"
