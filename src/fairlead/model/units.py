"""Durations, sizes and cores: how a fleet file writes them (`30s`, `512MiB`, `1.5 cores`) and what they are.

A unit stands in an annotation (`Annotated[float, DURATION]`): pydantic then reads texts with it, leaves
plain numbers alone (they are in the base unit already) and writes JSON with it. A *text* without a unit is
what an original file has: milliseconds, bytes, 1/1024 cores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from fairlead.model.errors import SpecError

_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,30})?"


@dataclass(frozen=True, eq=False)
class Unit:
    """One kind of quantity.

    `factors` maps each suffix to its worth in the base unit, `written` lists the suffixes that `format` uses,
    the largest first. `bare` is the worth of a number without a suffix, `whole` asks for whole numbers.
    """

    kind: str
    factors: Mapping[str, Decimal]
    written: tuple[str, ...]
    bare: Decimal
    bare_name: str
    examples: tuple[str, ...]
    whole: bool = False

    @property
    def pattern(self) -> str:
        """Today's form as a regular expression that JSON Schema and Python read alike."""
        return f"^{_NUMBER} ?(?:{'|'.join(self.factors)})$"

    @property
    def hint(self) -> str:
        return f"write it like {' or '.join(self.examples)}"

    def is_bare(self, text: str) -> bool:
        """Whether the text is a number that lacks its unit."""
        return re.fullmatch(_NUMBER, text) is not None

    def parse(self, text: str) -> float:
        """The quantity in the base unit. Raises `SpecError`."""
        if self.is_bare(text):
            return self._number(Decimal(text) * self.bare)
        match = re.fullmatch(f"({_NUMBER}) ?({'|'.join(self.factors)})", text)
        if match is None:
            raise SpecError(f"{text[:40]!r} is not {self.kind}", self.hint)
        return self._number(Decimal(match[1]) * self.factors[match[2]])

    def format(self, value: float) -> str:
        """An exact spelling, in the largest unit that gives a whole number, else in the smallest."""
        exact = Decimal(repr(value))
        for suffix in self.written:
            factor = self.factors[suffix]
            count = exact / factor
            if count == count.to_integral_value() and count * factor == exact and count:
                break
        number = f"{count.normalize():f}"
        if suffix == "cores":
            return f"{number} {'core' if number == '1' else suffix}"
        return number + suffix

    def _number(self, value: Decimal) -> float:
        return round(value) if self.whole else float(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: self.parse(value) if isinstance(value, str) else value,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(self.format, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern, "examples": list(self.examples)}


DURATION = Unit(
    kind="a duration",
    factors={
        "ms": Decimal("0.001"),
        "s": Decimal(1),
        "m": Decimal(60),
        "h": Decimal(3600),
        "d": Decimal(86400),
    },
    written=("d", "h", "m", "s", "ms"),
    bare=Decimal("0.001"),
    bare_name="milliseconds",
    examples=("500ms", "30s", "24h"),
)
SIZE = Unit(
    kind="a size",
    factors={
        "B": Decimal(1),
        **{f"{prefix}iB": Decimal(1024**power) for power, prefix in enumerate("KMGT", 1)},
        **{f"{prefix}B": Decimal(1000**power) for power, prefix in enumerate("kMGT", 1)},
        "KB": Decimal(1000),
    },
    written=("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB", "B"),
    bare=Decimal(1),
    bare_name="bytes",
    examples=("512MiB", "10MB"),
    whole=True,
)
CORES = Unit(
    kind="a number of cores",
    factors={"cores": Decimal(1), "core": Decimal(1), "m": Decimal("0.001")},
    written=("cores",),
    bare=Decimal(1) / 1024,
    bare_name="1/1024 cores",
    examples=("1 core", "0.5 cores", "500m"),
)

# Bounds that no sensible file meets, but that keep arithmetic with the values exact.
Duration = Annotated[float, DURATION, Field(ge=0.001, le=3650 * 86400)]  # s
Size = Annotated[int, SIZE, Field(ge=1, le=2**50)]  # bytes
Cores = Annotated[float, CORES, Field(ge=0.001, le=10_000)]
