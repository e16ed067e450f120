"""Carrying out what a client asks for over its connection: permissions and audit are those of REST."""

from __future__ import annotations

import time
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import structlog

from fairlead.model.access import Caller
from fairlead.model.audit import AuditKind, AuditRecord
from fairlead.model.errors import Problem, ProblemError
from fairlead.web.live import Door, Live
from fairlead.web.live_messages import ClientMessage
from fairlead.web.live_table import Action
from fairlead.web.permissions import Reach, require, require_role
from fairlead.web.problems import INTERNAL
from fairlead.web.store_gate import require_store

_REFUSALS: Final = (403, 429)
_log = structlog.get_logger("fairlead.web.live")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who is at the other end of a connection, which has the id of the request that opened it."""

    caller: Caller
    request_id: str
    peer: str


def authorize(door: Door, sender: Sender, action: Action, message: ClientMessage) -> None:
    """Raises ProblemError: 403 where REST would refuse it, 503 for a change while the database is away."""
    if require_role(sender.caller, *action.route).reach is not Reach.NAMED:  # as REST's `guard`
        require(sender.caller, *action.route, getattr(message, "server", None))
    require_store(door.away(), *action.route)


async def carry_out(live: Live, sender: Sender, action: Action, message: ClientMessage) -> Any:
    """The result of a command, which is recorded whatever comes of it. Raises ProblemError."""
    problem: Problem | None = None
    started = perf_counter()
    try:
        result = await live.table.run(action, message, sender.caller)
        await live.door.settled()  # what is acknowledged has been told, too
        return result
    except ProblemError as error:
        problem = error.problem
        raise
    except Exception as error:  # noqa: BLE001 - a fault of ours ends one command
        _log.error("command failed", command=action.name, request_id=sender.request_id, exc_info=error)
        problem = INTERNAL
        raise ProblemError(INTERNAL) from None
    finally:
        outcome = problem.code if problem else "ok"
        if problem is None or problem.status not in _REFUSALS:
            record = _record(AuditKind.CHANGE, sender, message, outcome, perf_counter() - started)
            live.door.audit.note(record)
        else:
            refused(live.door, sender, message, problem)
        _log.info("command", command=action.name, outcome=outcome, request_id=sender.request_id)


def refused(door: Door, sender: Sender, message: ClientMessage | None, problem: Problem) -> None:
    """Record that a message was refused for want of permission, or as one too many."""
    if problem.status in _REFUSALS:
        door.audit.refused(_record(AuditKind.REFUSAL, sender, message, problem.code, 0.0))


def _record(
    kind: AuditKind, sender: Sender, message: ClientMessage | None, outcome: str, seconds: float
) -> AuditRecord:
    words = ("ws", *(getattr(message, member, None) for member in ("type", "name", "what")))
    return AuditRecord(
        time.time(),
        kind,
        principal=sender.caller.name,
        credential=sender.caller.credential,
        action=" ".join(filter(None, words)),
        server=getattr(message, "server", None) or "",
        outcome=outcome,
        seconds=seconds,
        request_id=sender.request_id,
        peer=sender.peer,
    )
