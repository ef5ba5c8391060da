"""The generated part of docs/values.md: the fate of every BSON type, the policies and the losses, from the code.

`python -m flows.docgen.values` prints it; `--write` and `--check` are about the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from flows import generated_file
from flows.plan.validation import schema
from mappers.policies import LOSSES, HashPolicies, IndexPolicies, ItemPolicies, JsonPolicies
from mappers.type_matrix import TABLE, Form, Row, declared, written

FILE = Path(__file__).parents[2] / "docs" / "values.md"
_BEGIN = (
    "<!-- made by `python -m flows.docgen.values --write`; change mappers/type_matrix.py and mappers/policies.py -->\n"
)
_END = "<!-- end of what is made -->\n"
_FORMS = {
    ItemPolicies: "DynamoDB item",
    JsonPolicies: "Redis string",
    IndexPolicies: "Elasticsearch document",
    HashPolicies: "Redis hash",
}


def tables() -> str:
    """Return the generated part."""
    types = [
        [row.type, *(_cell(row, form) for form in ("dynamodb", "redis", "hash")), row.note or " "] for row in TABLE
    ]
    return "\n".join(
        [
            _table(["BSON type", "DynamoDB", "Redis string, Elasticsearch", "Redis hash field", "more"], types),
            "## Policies",
            "",
            "A route may say otherwise under its key `values`. The defaults lose nothing.",
            "",
            _table(["policy", "of", "values, the default first", "what it decides"], _policies()),
            "## Losses",
            "",
            _table(["kind", "what was lost"], [[f"`{kind}`", text] for kind, text in LOSSES.items()]),
        ]
    )


def page(current: str) -> str:
    """Return the page with its generated part made anew; raises ValueError for a page without its marks."""
    before, begin, rest = current.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{FILE} has lost the marks around its generated part")
    return f"{before}{begin}\n{tables()}\n{end}{after}"


def _cell(row: Row, form: Form) -> str:
    content = written(row, form)
    if content is None:
        return declared(row, form)
    shown = content.decode(errors="backslashreplace").replace("\x00", "\\x00").replace("|", "\\|")
    return f"{declared(row, form)} `{shown}`"


def _policies() -> list[list[str]]:
    rows: dict[tuple[str, str], list[str]] = {}
    for kind, form in _FORMS.items():
        for name, key in schema(kind)["properties"].items():
            if (known := (name, key["description"])) in rows:
                rows[known][1] += f", {form}"
                continue
            values = [key["default"], *(value for value in key["enum"] if value != key["default"])]
            rows[known] = [
                f"`{name}`",
                form,
                ", ".join(f"`{value}`" for value in values),
                " ".join(key["description"].split()),
            ]
    for row in rows.values():
        if row[1] == ", ".join(_FORMS.values()):
            row[1] = "all"
    return list(rows.values())


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def main(arguments: Sequence[str]) -> int:
    """Print, write or check the page; returns the exit code."""
    return generated_file.run(arguments, "flows.docgen.values", FILE, page, show=tables)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
