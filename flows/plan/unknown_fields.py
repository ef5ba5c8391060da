"""Fields that a route names and no document has: most are misspelt, and a plan with one may copy without an error."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from flows.plan.model import Route
from flows.quantities import counted
from mappers.contract import Document, MappingError, option_declarations
from mappers.losses import Losses
from mappers.values.field_names import elasticsearch_name

Path = tuple[str, ...]


def find_unknown_fields(route: Route, documents: Sequence[Document]) -> list[str]:
    """Return a sentence for each key of the route that names a field which none of these documents has.

    It names the key, the field, the number of documents, and the field most like it. `fields`, the first transform and
    `watermark` read documents as they are stored, other transforms also what those before them make, and a mapper what
    comes of all of them. Without documents there is nothing to say.
    """
    if not documents:
        return []
    stored = field_paths(documents)
    made = field_paths(_transformed(route, documents))
    fields, transforms = route.keys.fields, route.keys.transforms
    read: list[tuple[str, str]] = [("fields.keep", path) for path in fields.keep or ()]
    read += [("fields.drop", path) for path in fields.drop or ()]
    if route.keys.watermark is not None:
        read.append(("watermark", route.keys.watermark))
    between = stored | made | {_split(path) for transform in transforms for path in transform.makes()}
    steps = [(f"transforms.{transform.name}", path) for transform in transforms for _, path in transform.reads()]
    mapped = [("mapping", path) for path in _mapping(route)]
    indexed = {tuple(elasticsearch_name(name, not at) for at, name in enumerate(path)) for path in made}
    count = len(documents)
    return [
        *_sentences(read, stored, count),
        *_sentences(steps, between, count),
        *_sentences(option_declarations(route.options).field_options(), made, count),
        *_sentences(mapped, made | indexed, count),
    ]


def field_paths(documents: Iterable[Document]) -> set[Path]:
    """Return the path of every field of these documents, within the objects of arrays too."""
    paths: set[Path] = set()
    waiting: list[tuple[Path, Any]] = [((), document) for document in documents]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            for name, inner in value.items():
                paths.add((*path, name))
                waiting.append(((*path, name), inner))
        elif isinstance(value, list):
            waiting += [(path, element) for element in value]
    return paths


def _transformed(route: Route, documents: Sequence[Document]) -> Iterator[Document]:
    change = route.transformation(Losses())
    for document in documents:
        try:
            yield from change(document)
        except MappingError:
            continue  # It will be a reject.


def _mapping(route: Route) -> Collection[str]:
    """Return the paths that the placement maps; none where the design of the index makes names of its own."""
    found: Mapping[str, Any] = getattr(route.placement, "mapping", None) or {}
    return [] if getattr(route.options, "conflict", "") == "split" else found.keys()


def _sentences(named: Iterable[tuple[str, str]], known: Collection[Path], documents: int) -> Iterator[str]:
    texts = {".".join(path) for path in known}
    for key, path in dict.fromkeys(named):
        # An element of an array by its number says nothing of names.
        if ".".join(name for name in _split(path) if not name.isdecimal()) in texts or path in texts:
            continue
        near = get_close_matches(path, sorted(texts), n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        yield f"{key}: none of the {counted(documents, 'document')} looked at has the field {path!r}{meant}"


def _split(path: str) -> Path:
    return tuple(path.split("."))
