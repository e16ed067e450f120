"""What a new fleet spec changes, as the smallest difference from the old one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """Every name once: `stopped` in the old spec's order, the others in the new one's."""

    started: tuple[str, ...] = ()  # new
    replaced: tuple[str, ...] = ()  # needs other processes
    adjusted: tuple[str, ...] = ()  # differs, but its processes can stay
    stopped: tuple[str, ...] = ()  # gone
    kept: tuple[str, ...] = ()  # equal


def plan(old: Mapping[str, T], new: Mapping[str, T], *, same_process: Callable[[T, T], bool]) -> Plan:
    """How to get from `old` to `new`. `same_process(old, new)` says that running processes suit both."""
    started, replaced, adjusted, kept = [], [], [], []
    for name, spec in new.items():
        if name not in old:
            started.append(name)
        elif old[name] == spec:
            kept.append(name)
        elif same_process(old[name], spec):
            adjusted.append(name)
        else:
            replaced.append(name)
    stopped = tuple(name for name in old if name not in new)
    return Plan(tuple(started), tuple(replaced), tuple(adjusted), stopped, tuple(kept))
