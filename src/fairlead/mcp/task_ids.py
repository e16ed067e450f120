"""Task ids as clients hold them: the server's own id, sealed with where the task lives and whose it is.

A task lives as long as its server wants, and clients keep its id where it survives them, so everything that
finds it again is in the id itself: nothing is remembered here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from fairlead.mcp.sealing import SealBrokenError, Sealer

_PURPOSE: Final = "task"


class TaskHandle(NamedTuple):
    """Which task. `node` and `instance` are empty where any instance knows the task."""

    principal: str
    server: str
    node: str  # which start of the gateway the instance belongs to
    instance: str
    task: str  # the server's own id


_decode = msgspec.json.Decoder(TaskHandle).decode


def seal_task(sealer: Sealer, handle: TaskHandle) -> str:
    return sealer.seal(_PURPOSE, msgspec.json.encode(handle))


def open_task(sealer: Sealer, task_id: str, principal: str) -> TaskHandle | None:
    """The handle in an id that this principal was given; None for every other id."""
    try:
        handle = _decode(sealer.open(_PURPOSE, task_id))
    except (SealBrokenError, msgspec.DecodeError):
        return None
    return handle if handle.principal == principal else None
