"""The key `transforms` of a route: what a plan may write there, made from the classes of the transforms."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, Field, GetPydanticSchema

from mappers.transforms.steps import TRANSFORMS
from mappers.transforms.transform import Transform


def _check_one(written: Any) -> None:
    names = _names(written)
    if len(names) != 1:
        found = " and ".join(names) or "nothing"
        raise ValueError(f"found {found}; write one of {', '.join(TRANSFORMS)} in each entry")


def _names(written: Any) -> list[str]:
    return [name for name in TRANSFORMS if getattr(written, name) is not None]


def _keys(transform: type[Transform]) -> Any:
    """Return the type of the value below the transform's name."""
    (field, *_) = dataclasses.fields(transform)
    return get_type_hints(transform)[field.name] if transform.bare else transform


_WRITTEN = dataclasses.make_dataclass(
    "Transform",
    [
        (
            name,
            Annotated[_keys(transform) | None, Field(description=inspect.getdoc(transform))],
            dataclasses.field(default=None),
        )
        for name, transform in TRANSFORMS.items()
    ],
    frozen=True,
    namespace={
        "__doc__": "One entry of `transforms`: exactly one of these keys.",
        "__post_init__": _check_one,
        "__module__": __name__,
    },
)


def _made(written: Any) -> Transform:
    (name,) = _names(written)
    kind: Any = TRANSFORMS[name]
    keys = getattr(written, name)
    transform: Transform = kind(keys) if kind.bare else keys
    return transform


PlanTransforms = Sequence[
    Annotated[
        Transform,
        GetPydanticSchema(lambda _, handler: handler.generate_schema(Annotated[_WRITTEN, AfterValidator(_made)])),
        Field(json_schema_extra={"minProperties": 1, "maxProperties": 1}),
    ]
]
"""Transforms, each written as an object whose one key is its name."""
