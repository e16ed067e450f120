"""What people see of a server: one word, and the conditions that say why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from fairlead.core.breaker import Breaker
from fairlead.model.status import BreakerState, Condition, ServerState

COMING: Final = (ServerState.INSTALLING, ServerState.STARTING)


class PoolState:
    """The state of one server; `changed` is called after each change."""

    def __init__(self, state: ServerState, changed: Callable[[], None]) -> None:
        self.now = state
        self.ready = _condition("Ready", reason="NotStarted", message="not started yet")
        self.circuit = _condition("CircuitClosed", reason="Closed", message="calls pass", status=True)
        self.complete = _condition("Complete", reason="AsWanted", message="", status=True)
        self.settled = asyncio.Event()  # it has shown its lists once, or cannot
        self._changed = changed

    def __repr__(self) -> str:
        return f"<PoolState {self.now} {self.ready.message!r}>"

    @property
    def message(self) -> str:
        return self.ready.message

    def set(self, state: ServerState, reason: str, message: str) -> None:
        """`reason` is CamelCase, `message` for a person."""
        if (state, message) == (self.now, self.ready.message):
            return
        self.now = state
        answers = state in (ServerState.READY, ServerState.IDLE)
        self.ready = _condition("Ready", status=answers, reason=reason, message=message)
        if state not in COMING:
            self.settled.set()
        self._changed()

    def say_coming(self, state: ServerState, reason: str, message: str) -> None:
        """Show the way to readiness; what serves, failed or is blocked stays so until something changes."""
        if self.now in COMING:
            self.set(state, reason, message)

    def lacks(self, reason: str, message: str) -> None:
        """Instances are missing, though others serve."""
        if self.complete.message != message:
            self.complete = _condition("Complete", reason=reason, message=message)
            self._changed()

    def lacks_nothing(self) -> None:
        """There are as many instances as there should be."""
        if not self.complete.status:
            self.complete = _condition("Complete", reason="AsWanted", message="", status=True)
            self._changed()

    def show_circuit(self, breaker: Breaker) -> bool:
        """Show what the server's breaker does; whether that is news."""
        reason = "".join(part.title() for part in breaker.state.value.split("-"))
        if self.circuit.reason == reason:
            return False
        closed = breaker.state is BreakerState.CLOSED
        message = "calls pass" if closed else breaker.reason
        self.circuit = _condition("CircuitClosed", reason=reason, message=message, status=closed)
        self._changed()
        return True


def _condition(kind: str, *, reason: str, message: str, status: bool = False) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message, since=time.time())
