"""What befalls a server and its instances, as it goes into the log of the process and becomes events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

from fairlead.core.breaker import Breaker
from fairlead.core.lifecycle import InstanceState
from fairlead.model.event_data import (
    BreakerChanged,
    ChangedTool,
    ContractChanged,
    InstanceEnded,
    InstanceReady,
    InstanceStarted,
    ServerHealthChanged,
    ServerScaled,
)
from fairlead.model.events import EventType
from fairlead.model.status import BreakerState, ContractChange, ServerState, Standing
from fairlead.orchestrator.members import is_hung
from fairlead.ports import NO_RECORDER, LinkLost, Recorder

if TYPE_CHECKING:
    from fairlead.orchestrator.instance import MCPServerInstance
    from fairlead.orchestrator.pool_state import PoolState

COMING: Final = {ServerState.INSTALLING, ServerState.STARTING}
MOST_NAMED: Final = 20  # tools in an event
LONGEST: Final = 1000  # characters of a reason
LOG = structlog.get_logger("fairlead.pool")


class PoolEvents:
    """Of one server. Nothing of it is called for each call."""

    def __init__(self, server: str, state: ServerState) -> None:
        self.recorder: Recorder = NO_RECORDER
        self._server = server
        self._state = state  # as told last

    def __repr__(self) -> str:
        return f"<PoolEvents {self._server} {self._state}>"

    def state(self, shown: PoolState) -> None:
        """Its state may be another one. Every start goes through `installing`, which is no news."""
        before = self._state
        if before is not shown.now and not {before, shown.now} <= COMING:
            self._state = shown.now
            data = ServerHealthChanged(
                server=self._server,
                before=before.value,
                state=shown.now.value,
                reason=shown.message[:LONGEST],
            )
            self.recorder.note(EventType.SERVER_HEALTH_CHANGED, self._server, data)

    def started(self, instance: MCPServerInstance) -> None:
        """It runs; what it is will be seen."""
        data = InstanceStarted(server=self._server, instance=instance.id)
        self.recorder.note(EventType.INSTANCE_STARTED, instance.id, data)

    def ready(self, instance: MCPServerInstance) -> None:
        """It gets calls from now on."""
        era = instance.era.value
        LOG.info("instance ready", instance=instance.id, era=era, profile=instance.profile.key)
        data = InstanceReady(server=self._server, instance=instance.id, era=era)
        self.recorder.note(EventType.INSTANCE_READY, instance.id, data)

    def ended(self, instance: MCPServerInstance, lost: LinkLost) -> None:
        """It is gone; who hung was not wanted to go."""
        hung = is_hung(instance)
        wanted = instance.state is InstanceState.STOPPED and not hung
        data = InstanceEnded(
            server=self._server,
            instance=instance.id,
            reason="it did not answer its health checks" if hung else lost.reason[:LONGEST],
            calls=instance.lost_calls,
        )
        event = EventType.INSTANCE_STOPPED if wanted else EventType.INSTANCE_LOST
        self.recorder.note(event, instance.id, data)

    def health(self, instance: MCPServerInstance, reason: str) -> None:
        """The checks say something else of it now; for the log alone."""
        standing = instance.health.standing
        log = LOG.info if standing is Standing.HEALTHY else LOG.warning
        log("instance health", instance=instance.id, health=standing.value, reason=reason)

    def slow(self, instance: MCPServerInstance, calls: int, seconds: float) -> None:
        """Calls of it are in flight for longer than that; for the log alone."""
        LOG.warning("slow calls", instance=instance.id, calls=calls, longer_than=seconds)

    def breaker(self, before: BreakerState, breaker: Breaker, instance: str = "") -> None:
        """A breaker has another state: the server's own, or an instance's."""
        state, reason = breaker.state.value, breaker.reason
        which = {"instance": instance} if instance else {"server": self._server}
        LOG.warning("circuit", **which, state=state, reason=reason)
        data = BreakerChanged(
            server=self._server,
            instance=instance,
            before=before.value,
            state=state,
            reason="" if breaker.state is BreakerState.CLOSED else reason[:LONGEST],
        )
        self.recorder.note(EventType.BREAKER_CHANGED, instance or self._server, data)

    def scaled(self, before: int, instances: int, reason: str) -> None:
        """It aims at another number of instances."""
        LOG.info("scales", server=self._server, instances=instances, before=before, reason=reason)
        data = ServerScaled(server=self._server, before=before, instances=instances, reason=reason)
        self.recorder.note(EventType.SERVER_SCALED, self._server, data)

    def contracts(self, policy: str, changes: Sequence[ContractChange]) -> None:
        """These of its tools are not as locked, which is news."""
        tools = [
            ChangedTool(tool=each.tool, change=each.change, impact=each.impact)
            for each in changes[:MOST_NAMED]
        ]
        data = ContractChanged(server=self._server, policy=policy, count=len(changes), tools=tools)
        self.recorder.note(EventType.CONTRACT_CHANGED, self._server, data)
