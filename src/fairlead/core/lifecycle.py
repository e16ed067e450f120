"""The life of an instance, as a table. An illegal move is a bug and raises."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class InstanceState(StrEnum):
    CREATED = "created"
    LAUNCHING = "launching"  # the driver opens the link
    NEGOTIATING = "negotiating"  # which era, which capabilities
    READY = "ready"  # takes calls
    DRAINING = "draining"  # finishes its calls, takes no new ones
    STOPPING = "stopping"
    STOPPED = "stopped"  # on purpose
    FAILED = "failed"  # could not start, or died


_S = InstanceState

TRANSITIONS: Final[dict[InstanceState, frozenset[InstanceState]]] = {
    _S.CREATED: frozenset({_S.LAUNCHING, _S.STOPPED}),
    _S.LAUNCHING: frozenset({_S.NEGOTIATING, _S.STOPPING, _S.FAILED}),
    _S.NEGOTIATING: frozenset({_S.READY, _S.STOPPING, _S.FAILED}),
    _S.READY: frozenset({_S.DRAINING, _S.STOPPING, _S.FAILED}),
    _S.DRAINING: frozenset({_S.STOPPING, _S.FAILED}),
    _S.STOPPING: frozenset({_S.STOPPED, _S.FAILED}),
    _S.STOPPED: frozenset(),
    _S.FAILED: frozenset(),
}

ENDED: Final = frozenset({_S.STOPPED, _S.FAILED})


class IllegalTransitionError(RuntimeError):
    """A move that the table does not have."""


def move(current: InstanceState, target: InstanceState) -> InstanceState:
    """`target`, if the table allows it from `current`."""
    if target not in TRANSITIONS[current]:
        raise IllegalTransitionError(f"an instance cannot go from {current} to {target}")
    return target


def diagram() -> str:
    """The table as a Mermaid state diagram, for the docs."""
    lines = ["stateDiagram-v2", f"    [*] --> {_S.CREATED}"]
    for state, targets in TRANSITIONS.items():
        ordered = [target for target in InstanceState if target in targets]
        lines += [f"    {state} --> {target}" for target in ordered]
        if not targets:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines)
