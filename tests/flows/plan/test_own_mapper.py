"""The user's own mapper runs from the text that was digested, with its lines in tracebacks, wherever it came from."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from flows.plan.own_files import FilesBeside, FilesInMemory, OwnFiles, ReadFiles
from flows.plan.own_mapper import user_function
from flows.plan.plugins import PluginError

CODE = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Made:
    number: int

def made(document, *, add=0):
    return [Made(document["n"] + add)]
"""


def beside(folder: Path) -> FilesBeside:
    (folder / "own.py").write_text(CODE)
    return FilesBeside(folder)


def in_memory(_folder: Path) -> FilesInMemory:
    return FilesInMemory({"own.py": CODE.encode()}, "state of shop")


@pytest.mark.parametrize(("files_in", "place"), [(beside, "{folder}/own.py"), (in_memory, "<state of shop>/own.py")])
def test_a_file_runs_and_its_tracebacks_show_its_lines(tmp_path: Path, files_in: Any, place: str) -> None:
    files: OwnFiles = files_in(tmp_path)
    function, digest = user_function("own.py:made", files, {"add": 2})
    (record,) = function({"n": 5})
    assert (record.number, digest) == (7, sha256(CODE.encode()).hexdigest())  # type: ignore[attr-defined]
    with pytest.raises(KeyError) as raised:
        function({})
    (frame,) = [each for each in traceback.extract_tb(raised.value.__traceback__) if each.name == "made"]
    assert frame.filename == place.format(folder=tmp_path.resolve())
    assert frame.line == 'return [Made(document["n"] + add)]'
    assert [path.name for path in tmp_path.rglob("*") if path.is_dir()] == [], "no compiled code is left beside it"


def test_what_one_machine_pickles_another_reads(tmp_path: Path) -> None:
    there, _ = user_function("own.py:made", in_memory(tmp_path), {})
    (record,) = there({"n": 5})
    sent = pickle.dumps(record)
    del sys.modules[type(record).__module__]
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(sent)
    here, _ = user_function("own.py:made", beside(tmp_path), {})
    assert [pickle.loads(sent)] == here({"n": 5})


def test_an_edit_of_the_same_size_at_the_same_time_is_another_mapper(tmp_path: Path) -> None:
    files = beside(tmp_path)
    before = (tmp_path / "own.py").stat()
    function, digest = user_function("own.py:made", files, {})
    assert function({"n": 5}) != function({"n": 6})
    (tmp_path / "own.py").write_text(CODE.replace("+ add", "- add"))
    os.utime(tmp_path / "own.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    edited, edited_digest = user_function("own.py:made", files, {"add": 2})
    assert [each.number for each in edited({"n": 5})] == [3]  # type: ignore[attr-defined]
    assert edited_digest != digest


def test_each_file_of_a_plan_is_read_once(tmp_path: Path) -> None:
    files = ReadFiles(beside(tmp_path))
    assert files.read("own.py") == CODE.encode()
    (tmp_path / "own.py").unlink()
    assert files.read("own.py") == CODE.encode()
    assert files.contents == {"own.py": CODE.encode()}


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "the file did not come with the plan (state of shop); there are: none"),
        ({"own.py": b"def made(:"}, "the file fails when it is loaded: SyntaxError at own.py line 1: invalid syntax"),
        (
            {"own.py": b"from pathlib import Path\nTABLE = (Path(__file__).parent / 'table.csv').read_text()"},
            "the file fails when it is loaded: FileNotFoundError (No such file or directory)",
        ),
        ({"own.py": b"import sys\nsys.exit(1)"}, "the file fails when it is loaded: SystemExit at own.py line 2"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_by_its_name(contents: Mapping[str, bytes], message: str) -> None:
    modules = {*sys.modules}
    with pytest.raises(PluginError) as refused:
        user_function("own.py:made", FilesInMemory(contents, "state of shop"), {})
    assert message in str(refused.value)
    assert {name for name in {*sys.modules} - modules if name.startswith("offramp_user")} == set()
