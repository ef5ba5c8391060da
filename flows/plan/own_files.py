"""The files that a plan names beside itself: in its folder, or in memory where the plan came as a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class OwnFileError(ValueError):
    """A file that a plan names cannot be had; the text says why."""


class OwnFiles(Protocol):
    """Where the files are that a plan names."""

    def read(self, name: str) -> bytes:
        """Return the content of the file, named as the plan names it; raises OwnFileError where it cannot be read."""

    def place(self, name: str) -> str:
        """Return the path that the file has here, or what tracebacks show in its place."""


@dataclass(frozen=True, slots=True)
class FilesBeside:
    """Files in the folder of the plan."""

    folder: Path

    def read(self, name: str) -> bytes:
        """Return the content of the file, whose path begins in the folder."""
        path = self.folder / name
        if not path.is_file():
            raise OwnFileError(f"there is no such file beside the plan (looked in {self.folder.resolve()})")
        try:
            return path.read_bytes()
        except OSError as error:
            raise OwnFileError(f"the file cannot be read: {error.strerror}; make it readable") from error

    def place(self, name: str) -> str:
        """Return the absolute path of the file."""
        return str((self.folder / name).resolve())


@dataclass(frozen=True, slots=True)
class FilesInMemory:
    """Files that came with the text of a plan, by the names that the plan gives them."""

    contents: Mapping[str, bytes]
    origin: str
    """Where they came from, such as `state of shop`."""

    def read(self, name: str) -> bytes:
        """Return the content of the file."""
        if name not in self.contents:
            names = ", ".join(sorted(self.contents)) or "none"
            raise OwnFileError(f"the file did not come with the plan ({self.origin}); there are: {names}")
        return self.contents[name]

    def place(self, name: str) -> str:
        """Return a name that is no path on this machine."""
        return f"<{self.origin}>/{name}"


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """The files of a plan, each read once, so that every route has the same content of a file."""

    files: OwnFiles
    contents: dict[str, bytes] = field(default_factory=dict)
    """The content of each file that was read, by its name in the plan."""

    def read(self, name: str) -> bytes:
        """Return the content that the file had when it was first asked for."""
        if name not in self.contents:
            self.contents[name] = self.files.read(name)
        return self.contents[name]

    def place(self, name: str) -> str:
        """Return what its `files` say."""
        return self.files.place(name)
