"""All transforms, and the function that applies a list of them to a document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mappers.contract import Document
from mappers.losses import Losses
from mappers.transforms import fields, privacy, shape, values
from mappers.transforms.transform import Transform

Transformation = Callable[[Document], Iterable[Document]]

TRANSFORMS: Mapping[str, type[Transform]] = {
    transform.name: transform for module in (fields, values, privacy, shape) for transform in module.TRANSFORMS
}
"""The transforms by the name that a plan gives them."""


def compose(transforms: Sequence[Transform], losses: Losses) -> Transformation:
    """Return the function that applies the transforms in their order; what they lose is added to `losses`.

    The function gives the documents made of one, none where it is dropped on purpose, and raises MappingError where one
    cannot be made. The list must be without the faults that `mappers.transforms.validation` finds.
    """
    if not transforms:
        return unchanged

    def transformation(document: Document) -> Iterable[Document]:
        documents: Iterable[Document] = (document,)
        for transform in transforms:
            documents = [result for each in documents for result in transform.apply(each, losses)]
        return documents

    return transformation


def unchanged(document: Document) -> Iterable[Document]:
    """Return the document alone, as a list without transforms does."""
    return (document,)
