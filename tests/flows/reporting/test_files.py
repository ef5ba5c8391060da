"""Where the reports of a plan go."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.plan.load import load
from flows.reporting.files import default_folder, refuse_unwritable
from stores.errors import PlanError

PLAN = (
    "name: {name!r}\nsource: {{uri: 'mongodb://h', database: d}}\ntargets: {{redis: {{url: 'redis://h'}}}}\n"
    "routes: {{a: {{use_case: session}}}}\n"
)


@pytest.mark.parametrize("name", ["shop", "../../elsewhere", "/etc", "..", "a/b", "~root"])
def test_reports_go_to_a_folder_beside_the_plan_whatever_its_name_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(name=name))
    folder = default_folder(load(path))
    assert folder.parent == tmp_path / ".offramp" / "reports"
    assert folder.resolve() == folder


def test_the_error_of_an_unsafe_folder_has_one_way_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(PlanError) as error:
        refuse_unwritable(tmp_path)
    assert error.value.message == (
        f"the report cannot be written to {str(tmp_path)!r}: every user may write to it; name another place in a folder"
        " of your own with --report"
    )
    (tmp_path / "file").touch()
    with pytest.raises(PlanError, match="; name another folder with --out"):
        refuse_unwritable(tmp_path / "file", "--out")
