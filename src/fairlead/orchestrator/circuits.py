"""The breakers of one server, its own and its instances', and which calls they judge by.

A call that was sent before a breaker became half-open says nothing of how things are since: it neither takes
the place of a trial, nor fails or passes for one, nor fails anything once the breaker is closed. The numbers
of an instance's requests only grow, so its last one at that moment tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairlead.core.breaker import Breaker, BreakerPolicy
from fairlead.model.fleet import ServerSpec
from fairlead.model.status import BreakerState
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.members import Members
from fairlead.orchestrator.pool_events import PoolEvents
from fairlead.orchestrator.pool_state import PoolState


class Circuits:
    """Tells the breakers what becomes of calls. `now` is loop time."""

    def __init__(self, name: str, server: Breaker, members: Members, events: PoolEvents) -> None:
        self._name = name
        self._server = server
        self._members = members
        self._events = events
        self._told = server.state

    def __repr__(self) -> str:
        return f"<Circuits {self._name} {self._server}>"

    @property
    def lets_through(self) -> bool:
        """Whether the server's breaker lets one more call through."""
        limit = self._server.limit
        return limit is None or sum(i.calls_after(i.server_trials_after) for i in self._members) < limit

    def failed(self, instance: MCPServerInstance, number: int, now: float, reason: str) -> None:
        """This call failed by the server's fault."""
        if number > instance.trials_after:
            instance.breaker.failed(now, instance.answers, reason)
        if number > instance.server_trials_after and self._counts(instance):
            self._server.failed(now, self._members.answers, f"{instance.id}: {reason}")

    def slow(self, instance: MCPServerInstance, numbers: Sequence[int], now: float) -> None:
        """These calls have become slow."""
        if count := sum(number > instance.trials_after for number in numbers):
            instance.breaker.slow(now, instance.answers, count)
        count = sum(number > instance.server_trials_after for number in numbers)
        if count and self._counts(instance):
            self._server.slow(now, self._members.answers, count)

    def answered(self, instance: MCPServerInstance, number: int, now: float) -> bool:
        """This request was answered; whether a breaker has changed."""
        trial = number > instance.trials_after
        changed = instance.breaker.advance(now, instance.answers, trial=trial)
        trial = number > instance.server_trials_after
        return self._server.advance(now, self._members.answers, trial=trial) or changed

    def advance(self, now: float) -> bool:
        """Time has passed; whether a breaker has changed."""
        changed = [i for i in self._members if i.breaker.advance(now, i.answers)]
        return self._server.advance(now, self._members.answers) or bool(changed)

    def reset(self, breaker_id: str, now: float) -> bool:
        """Close a breaker, the server's or an instance's; False when there is none with this id."""
        if breaker_id == self._name:
            self._server.reset(now, self._members.answers)
            return True
        for instance in self._members.present():
            if instance.id == breaker_id:
                instance.breaker.reset(now, instance.answers)
                return True
        return False

    def take_note(self, shown: PoolState) -> bool:
        """Say what has changed since the last time; what is half-open is judged by what comes now.

        Whether the server's own has changed.
        """
        news = shown.show_circuit(self._server)
        if news:
            self._events.breaker(self._told, self._server)
            self._told = self._server.state
            if self._server.state is BreakerState.HALF_OPEN:
                for instance in self._members:
                    instance.server_trials_after = instance.sent
        for instance in self._members:
            breaker = instance.breaker
            if breaker.state is not instance.breaker_told:
                self._events.breaker(instance.breaker_told, breaker, instance.id)
                instance.breaker_told = breaker.state
                if breaker.state is BreakerState.HALF_OPEN:
                    instance.trials_after = instance.sent
        return news

    def _counts(self, instance: MCPServerInstance) -> bool:
        """An old version says nothing of this one."""
        return instance.key.same_version(self._members.key)


def server_policy(spec: ServerSpec) -> BreakerPolicy:
    """The server's own breaker goes by rates alone: one instance may well fail many calls at once."""
    return replace(BreakerPolicy.of(spec.circuit_breaker), consecutive_failures=10**9)
