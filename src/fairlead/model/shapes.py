"""What the fleet file's model wants at each place: read off the annotations, for the loader to walk by."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from fairlead.model.spec_model import SpecModel
from fairlead.model.units import Unit

Kind = Literal["model", "map", "list", "text", "unit", "value", "any"]


@dataclass(frozen=True, slots=True)
class Shape:
    """`fields` of a model, `item` of a list or map, `unit` of a quantity; a `value` is a number or truth."""

    kind: Kind
    fields: Mapping[str, Shape] = field(default_factory=dict)
    item: Shape | None = None
    unit: Unit | None = None

    def at(self, key: str | int) -> Shape:
        """The shape below; `ANY` where there is none."""
        return self.fields.get(str(key)) or self.item or ANY

    def below(self, path: tuple[str | int, ...]) -> Shape:
        shape = self
        for key in path:
            shape = shape.at(key)
        return shape


ANY = Shape("any")


@cache
def shape_of_model(model: type[SpecModel]) -> Shape:
    fields = {
        info.alias or name: _shape(info.annotation, info.metadata)
        for name, info in model.model_fields.items()
    }
    return Shape("model", fields=fields)


def _shape(annotation: Any, metadata: list[Any]) -> Shape:
    unit = next((entry for entry in metadata if isinstance(entry, Unit)), None)
    if unit is not None:
        return Shape("unit", unit=unit)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _shape(args[0], list(args[1:]))
    if origin in {Union, types.UnionType}:
        return _shape(next(arg for arg in args if arg is not types.NoneType), [])
    if origin is tuple:
        return Shape("list", item=_shape(args[0], []))
    if origin is dict:
        return Shape("map", item=_shape(args[1], []))
    if origin is Literal:
        return Shape("text")
    if annotation is Any:
        return ANY
    if issubclass(annotation, SpecModel):
        return shape_of_model(annotation)
    return Shape("text" if issubclass(annotation, str) else "value")
