"""A headless Chromium, for tests that look at a page as a person would."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # A container's user is often root.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # What it asks for of its own leads nowhere.
    "--enable-logging=stderr",
)
_ITS_MAKER = (".google.com", ".googleapis.com", ".gvt1.com")
"""Whom Chromium itself asks for the time and for updates, whatever it is told."""
LIMIT_S = 120

Chromium = Callable[..., subprocess.CompletedProcess[str]]


def run_chromium(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Chromium to its end, its profile in the folder."""
    named = os.environ.get("CHROMIUM")
    program = named or next((found for name in _NAMES if (found := shutil.which(name))), None)
    assert program, "install Debian's package chromium, or name a browser of its kind by CHROMIUM"
    done = subprocess.run(
        [program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def asked_for(net_log: Path) -> set[str]:
    """Return the addresses that pages asked for by HTTP or WebSocket, from a log of `--log-net-log`."""
    urls = set(re.findall(r'"url":"((?:https?|wss?):[^"]*)"', net_log.read_text("utf-8")))
    return {url for url in urls if not (urlsplit(url).hostname or "").endswith(_ITS_MAKER)}


def corner(png: Path) -> tuple[int, int, int]:
    """Return the colour of the first pixel, which no filter of PNG changes."""
    content = png.read_bytes()
    data, at = b"", 8
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind == b"IDAT":
            data += content[at + 8 : at + 8 + length]
        at += 12 + length
    red, green, blue = zlib.decompress(data)[1:4]
    return red, green, blue
