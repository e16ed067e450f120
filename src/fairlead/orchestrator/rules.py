"""What a pool asks of its instances' calls: when one is slow, and which texts mean that the server failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import msgspec
from msgspec import Raw

from fairlead.model.fleet import ServerSpec
from fairlead.model.fleet_values import compile_pattern

SEARCHED: Final = 16 * 1024  # characters of a result's texts, all together


@dataclass(frozen=True, slots=True)
class CallRules:
    """Times are in seconds; each of the patterns is searched for by itself."""

    slow_call: float
    error_patterns: tuple[re.Pattern[str], ...] = ()
    answer: float = 600.0  # for a client to answer what the server asks

    @classmethod
    def of(cls, spec: ServerSpec) -> Self:
        patterns = spec.health_check.error_patterns
        compiled = tuple(map(compile_pattern, patterns))
        return cls(spec.circuit_breaker.slow_call, compiled, spec.timeouts.answer)

    def failure_in(self, result: Raw) -> str | None:
        """What one of the patterns matches in the texts of a tool's result, which is JSON."""
        left = SEARCHED
        for text in _texts(result):
            for pattern in self.error_patterns:
                if found := pattern.search(text[:left]):
                    return found[0]
            left -= len(text)
            if left <= 0:
                break
        return None


class _Result(msgspec.Struct):
    content: list[Raw] = []


class _Block(msgspec.Struct):
    text: str = ""


_decode_result = msgspec.json.Decoder(_Result).decode
_decode_block = msgspec.json.Decoder(_Block).decode


def _texts(result: Raw) -> Iterator[str]:
    """The `text` of each block of the content; what has another shape has none."""
    try:
        blocks = _decode_result(result).content
    except (ValueError, RecursionError):
        return
    for block in blocks:
        try:
            yield _decode_block(block).text
        except (ValueError, RecursionError):
            continue
