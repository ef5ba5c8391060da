"""Hosts of a test's own: what they share, what they do not, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hosts.host import NOBODY, Host
from hosts.network import Network, networked, require_hosts
from waiting import until

ECHO = """
import socket
listener = socket.create_server(("0.0.0.0", 7))
accepted = []
while True:
    connection, peer = listener.accept()
    connection.sendall(f"{socket.gethostname()} {peer[0]}".encode())
    accepted.append(connection)  # It ends none by itself.
"""
HOLDER = """
import sys
from pathlib import Path
from hosts.network import Network
network = Network(Path(sys.argv[1]))
network.add("left").start("sleep", "600", log="sleep")
print("ready", flush=True)
sys.stdin.read()
"""
WALL_CLOCKS = """
import ctypes, datetime, time
print(time.time(), time.clock_gettime(time.CLOCK_REALTIME), ctypes.CDLL(None).time(None))
print(datetime.datetime.now().timestamp())
"""
OTHER_CLOCKS = """
import time
print(time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC_RAW))
"""
WAITS = """
import asyncio, select, threading, time
waits = [
    lambda: time.sleep(0.3),
    lambda: threading.Event().wait(0.3),
    lambda: select.select([], [], [], 0.3),
    lambda: asyncio.run(asyncio.sleep(0.3)),
]
for wait in waits:
    began = time.monotonic()
    wait()
    print(time.monotonic() - began)
"""

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def network(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    require_hosts()
    with networked(tmp_path_factory.mktemp("network")) as network:
        for name in ("a", "b", "c"):
            network.add(name).start(sys.executable, "-c", ECHO, log="echo")
        yield network


def asked(asking: Host, other: str, timeout: float = 1) -> str:
    """Return the answer of another host's server, "" without one."""
    try:
        with asking.entered(), socket.create_connection((other, 7), timeout) as connection:
            return connection.recv(100).decode()
    except OSError:
        return ""


def printed(host: Host, *command: str, user: int = 0) -> str:
    running = host.start(*command, log="printed", user=user)
    assert running.ended(30)
    return running.out.read_text() + running.err.read_text()


def test_hosts_reach_each_other_by_address_and_by_name(network: Network) -> None:
    a, b = network.hosts["a"], network.hosts["b"]
    until(lambda: asked(a, b.address) == f"b {a.address}", "answer of b to a")
    by_name = "import socket; print(socket.create_connection(('b', 7), 5).recv(100).decode())"
    assert printed(a, sys.executable, "-c", by_name) == f"b {a.address}\n"


def test_a_cut_loses_what_two_hosts_send_each_other_and_nothing_else(network: Network) -> None:
    a, b, c = (network.hosts[name] for name in "abc")
    until(lambda: asked(a, b.address) and asked(c, b.address), "answers of b")
    with network.parted(a, b):
        began = time.monotonic()
        assert asked(a, b.address) == asked(b, a.address) == ""
        assert time.monotonic() - began > 1.9, "refused, and not lost"
        assert asked(a, c.address)
        assert asked(c, b.address)
    until(lambda: asked(a, b.address), "answer of b after the cut")


def test_a_host_has_a_name_processes_and_a_folder_of_its_own(network: Network) -> None:
    a, b = network.hosts["a"], network.hosts["b"]
    (a.folder / "of-a").touch()
    assert printed(a, "sh", "-c", "hostname; id -u; ls /srv/of-a") == "a\n0\n/srv/of-a\n"
    assert printed(a, "id", "-u", user=NOBODY) == f"{NOBODY}\n"
    assert printed(a, "ls", str(a.folder.parent)) == ""
    assert "of-a" not in printed(b, "ls", "/srv")
    assert printed(b, "sh", "-c", "ls -d /proc/[0-9]* | wc -l").strip() < "9"


def test_a_paused_host_stands_still_until_it_is_woken(network: Network) -> None:
    a, b = network.hosts["a"], network.hosts["b"]
    until(lambda: asked(a, b.address), "answer of b")
    b.pause()
    try:
        assert {process.status() for process in b.processes()} == {psutil.STATUS_STOPPED}
        assert asked(a, b.address) == ""
    finally:
        b.wake()
    until(lambda: asked(a, b.address), "answer of b after its pause")


@pytest.mark.parametrize("ahead_s", [90, -90])
def test_a_host_has_a_wall_clock_of_its_own_and_waits_as_long_as_any(network: Network, ahead_s: int) -> None:
    host = network.add("clock", ahead_s=ahead_s)
    try:
        walls = [*map(float, printed(host, sys.executable, "-c", WALL_CLOCKS).split())]
        assert len(walls) == 4
        assert all(abs(wall - time.time() - ahead_s) < 20 for wall in walls), walls
        clocks = [*map(float, printed(host, sys.executable, "-c", OTHER_CLOCKS).split())]
        assert all(abs(clock - time.clock_gettime(time.CLOCK_BOOTTIME)) < 20 for clock in clocks), clocks
        waited = [*map(float, printed(host, sys.executable, "-c", WAITS).split())]
        assert len(waited) == 4
        assert all(0.3 <= each < 10 for each in waited), waited
    finally:
        network.remove(host)


def test_a_host_that_lost_its_power_says_nothing_and_can_begin_again(network: Network) -> None:
    a, gone = network.hosts["a"], network.add("gone")
    gone.start(sys.executable, "-c", ECHO, log="echo")
    until(lambda: asked(a, gone.address), "answer of the host")
    with a.entered():
        connection = socket.create_connection((gone.address, 7), 5)
    assert connection.recv(100)
    pids = [process.pid for process in gone.processes()]
    network.remove(gone)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    connection.settimeout(1)
    with connection, pytest.raises(TimeoutError):
        connection.recv(100)
    again = network.add("gone")
    assert (again.address, again.folder) == (gone.address, gone.folder)
    again.start(sys.executable, "-c", ECHO, log="echo")
    until(lambda: asked(a, again.address), "answer of the host that began again")
    network.remove(again)


def test_nothing_is_left_of_the_hosts_of_a_process_that_is_killed(starts_server: None, tmp_path: Path) -> None:
    require_hosts()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    family = psutil.Process(holder.pid).children(recursive=True)
    assert len(family) >= 5
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    left = psutil.wait_procs(family, timeout=20)[1]
    for process in left:
        process.kill()
    assert left == []
