"""LoadBalancer: how calls are spread over the servers that can stand in for each other.

Within one server its pool's rotation does it. Between servers only those share calls that offer the same
capability *and* the same tools, to the letter: a word in common is no reason to send a request elsewhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.core.balance import Balancer, balancer
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import LoadBalancing
from fairlead.model.reports import BalancerStatus, CapabilityGroups
from fairlead.model.status import ServerState
from fairlead.orchestrator.pool import ServerPool

_SERVING = (ServerState.READY, ServerState.IDLE)


class LoadBalancer:
    """Chooses among servers. `fleet` is the spec's `loadBalancing`, in force from the next request on."""

    def __init__(self) -> None:
        self.fleet = LoadBalancing()
        self._balancers: dict[tuple[str, ...], Balancer[Any]] = {}  # by the servers of a group

    def __repr__(self) -> str:
        return f"<LoadBalancer {self.fleet.strategy} groups={len(self._balancers)}>"

    def adopt(self, fleet: LoadBalancing) -> None:
        if fleet.strategy is not self.fleet.strategy:
            self._balancers.clear()
        self.fleet = fleet

    def choose(self, capability: str, tool: object, pools: Sequence[ServerPool]) -> ServerPool:
        """The server for one request. `tool` is the name of the tool that it calls, None if it calls none.

        The first server of the fleet that offers the capability (and the tool) leads, once its tools are
        known; those with the same tools share with it. Those that cannot take the request now are passed over
        while another one can. Raises ProblemError when none offers the capability.
        """
        able = [pool for pool in pools if capability in pool.spec.capabilities]
        if not able:
            raise _unknown(capability, pools)
        if tool is not None:
            able = [pool for pool in able if pool.catalogue.has_tool(tool)] or able
        leader = next((pool for pool in able if pool.members.last is not None), able[0])
        group = [pool for pool in able if pool.contract == leader.contract]
        serving = [pool for pool in group if pool.state in _SERVING] or group
        serving = [pool for pool in serving if pool.circuits.lets_through] or serving
        if len(serving) == 1:
            return serving[0]
        names = tuple(pool.spec.id for pool in group)
        chooser = self._balancers.get(names)
        if chooser is None:
            chooser = self._balancers[names] = balancer(self.fleet.strategy)
        chosen: ServerPool = chooser.pick(serving)
        return chosen

    def status(self, pools: Sequence[ServerPool]) -> BalancerStatus:
        return BalancerStatus(
            strategy=self.fleet.strategy,
            servers=[pool.balance() for pool in pools],
            capabilities=[
                CapabilityGroups(capability=name, groups=_groups(name, pools)) for name in _known(pools)
            ],
        )


def _known(pools: Iterable[ServerPool]) -> list[str]:
    return sorted({capability for pool in pools for capability in pool.spec.capabilities})


def _groups(capability: str, pools: Iterable[ServerPool]) -> list[list[str]]:
    by_contract: dict[str, list[str]] = {}
    for pool in pools:
        if capability in pool.spec.capabilities:
            by_contract.setdefault(pool.contract, []).append(pool.spec.id)
    return list(by_contract.values())


def _unknown(capability: str, pools: Iterable[ServerPool]) -> ProblemError:
    known = _known(pools)
    near = difflib.get_close_matches(capability, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"
    detail = f"no server offers {capability[:100]!r}; {hint}"
    return ProblemError(Problem("unknown-capability", "No such capability", detail, 404, Fault.CLIENT))


def set_weights(weights: Mapping[str, float], pools: Iterable[ServerPool]) -> None:
    """Weigh instances anew, by id, for as long as they live. Raises ProblemError when one is not there."""
    instances = {instance.id: instance for pool in pools for instance in pool.instances}
    unknown = [name for name in weights if name not in instances]
    if unknown:
        detail = f"no instance {unknown[0][:100]!r}; there are: {', '.join(instances) or 'none'}"
        raise ProblemError(Problem("unknown-instance", "No such instance", detail, 404, Fault.CLIENT))
    for name, weight in weights.items():
        instances[name].weight = weight
