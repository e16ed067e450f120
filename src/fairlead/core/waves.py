"""The order of a sync: what is changed wave by wave, the lower ones first; then what is removed, backwards.

Between two steps the target must be healthy. Many objects are put in order as they are. A fleet is one
document, so its steps are documents: in each, the servers of its wave and of earlier ones are as Git says,
the others still as they are live; a server is changed in one step. A step whose document would not be valid
(a toolset names a server that comes later) is joined with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from fairlead.core.object_edits import merged
from fairlead.core.overrides import REMOVED, Edit, Key, Nothing
from fairlead.core.pruning import COLLECTIONS

_COLLECTIONS: Final = tuple((name,) for name in COLLECTIONS)


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """Ordered as they are carried out."""

    removes: bool
    order: int  # the wave, of removals its negative

    @property
    def wave(self) -> int:
        return -self.order if self.removes else self.order

    @classmethod
    def of(cls, wave: int, *, removes: bool) -> Step:
        return cls(removes, -wave if removes else wave)


def object_steps(
    writes: Mapping[str, Sequence[Edit]], wave_of: Callable[[str, Key], int]
) -> list[tuple[Step, tuple[str, ...]]]:
    """The objects by step, each at one: in the wave of its path."""
    steps = {
        name: Step.of(
            wave_of(name, ()), removes=any(not edit.key and edit.value is REMOVED for edit in edits)
        )
        for name, edits in writes.items()
    }
    ordered = sorted(steps, key=lambda name: (steps[name], name))
    return [(step, tuple(names)) for step, names in groupby(ordered, key=lambda name: steps[name])]


def document_steps(
    live: Mapping[str, Any] | Nothing,
    edits: Sequence[Edit],
    wave_of: Callable[[Key], int],
    *,
    valid: Callable[[Mapping[str, Any]], bool],
) -> list[tuple[Step, Mapping[str, Any]]]:
    """The documents that lead from the live one to the one with all edits, which is the last in any case."""
    by_step: dict[Step, list[Edit]] = {}
    for edit in (part for whole in edits for part in _by_thing(whole)):
        removes = edit.value is REMOVED and edit.key[:1] in _COLLECTIONS and len(edit.key) <= 2
        by_step.setdefault(Step.of(wave_of(edit.key[:2]), removes=removes), []).append(edit)
    found: list[tuple[Step, Mapping[str, Any]]] = []
    document = live
    for step in sorted(by_step):
        document = merged(document, by_step[step])
        if isinstance(document, Mapping) and (step == max(by_step) or valid(document)):
            found.append((step, document))
    return found


def _by_thing(edit: Edit) -> Iterator[Edit]:
    """An edit that puts in many servers at once as one for each of them."""
    if edit.value and isinstance(edit.value, Mapping) and (not edit.key or edit.key in _COLLECTIONS):
        for name, value in edit.value.items():
            yield from _by_thing(Edit((*edit.key, name), value))
    else:
        yield edit
