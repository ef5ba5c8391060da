"""`offramp explain`."""

from __future__ import annotations

import click

from flows.cli.options import JSON
from flows.terminal import echo, print_json


@click.command()
@click.argument("code", metavar="CODE")
@JSON
def explain(code: str, as_json: bool) -> None:
    """Explain an error code such as E-DDB-KEYS: what it means, what offramp did, and what to do."""
    import difflib

    from flows.error_codes import CATALOGUE, explained
    from mappers.error_codes import EFFECTS

    name = code.upper()
    if (entry := CATALOGUE.get(name)) is None:
        near = ", ".join(difflib.get_close_matches(name, CATALOGUE, 4))
        meant = f"did you mean {near}?" if near else "docs/errors.md lists them"
        raise click.BadParameter(f"{name} is not one of offramp's codes; {meant}")
    if as_json:
        effects = {effect: EFFECTS[effect] for effect in entry.effects}
        print_json({"code": name, "meaning": entry.meaning, "effects": effects, "remedy": entry.remedy})
    else:
        echo(*explained(name, entry).splitlines())
