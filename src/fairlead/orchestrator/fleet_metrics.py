"""Prometheus' families about the fleet: servers, instances, breakers.

Everything is read off one moment's statuses, so series of what is gone go with it. An instance's id appears
only while the instance is there, and states come from closed lists: the labels are bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import Metric

from fairlead.kit.metric_families import counter, gauge
from fairlead.model.reports import BreakerStatus
from fairlead.model.status import BreakerState, ServerState, ServerStatus, Standing


def infrastructure(servers: list[ServerStatus], breakers: list[BreakerStatus]) -> Iterator[Metric]:
    """States of servers and instances, balancing, scaling, breakers."""
    yield from _servers(servers)
    yield from _instances(servers)
    yield from _breakers(breakers)


def _servers(servers: list[ServerStatus]) -> Iterator[Metric]:
    label = ["server"]
    states = [((s.id, state.value), int(s.state is state)) for s in servers for state in ServerState]
    yield gauge("server_state", "1 for the state that a server is in.", [*label, "state"], states)
    counted = Counter((s.id, instance.state) for s in servers for instance in s.instances)
    yield gauge("server_instances", "Instances by state.", [*label, "state"], counted.items())
    rotating = [((s.id,), sum(i.in_rotation for i in s.instances)) for s in servers]
    yield gauge("server_instances_in_rotation", "Instances that get calls.", label, rotating)
    wanted = [((s.id,), s.wanted_instances) for s in servers]
    yield gauge("server_wanted_instances", "Instances that scaling aims at.", label, wanted)
    restarts = [((s.id,), s.restarts) for s in servers]
    yield counter("server_restarts", "Starts of a server's instances after a failure.", label, restarts)
    weights = [((s.id,), s.weight) for s in servers]
    yield gauge("server_weight", "Balancing weight.", label, weights)
    tools = [((s.id,), s.tools) for s in servers]
    yield gauge("server_tools", "Tools that a server offers.", label, tools)
    changed = Counter(
        (s.id, each.change, "withheld" if each.withheld else "served")
        for s in servers
        for each in s.contract_changes
    )
    text = "Tools that are not as the lock file has them."
    yield gauge("server_contract_changes", text, [*label, "change", "outcome"], changed.items())
    waiting = [((s.id,), s.calls_waiting) for s in servers]
    yield gauge("server_calls_waiting", "Calls that wait for an instance.", label, waiting)
    panicking = [((s.id,), int(s.panicking)) for s in servers]
    text = "1 while so few instances are trusted that all that live get calls."
    yield gauge("server_panicking", text, label, panicking)


def _instances(servers: list[ServerStatus]) -> Iterator[Metric]:
    label = ["server", "instance"]
    instances = [((s.id, i.id), i) for s in servers for i in s.instances]
    in_flight = [(key, i.calls_in_flight) for key, i in instances]
    yield gauge("instance_calls_in_flight", "Calls that wait for an answer.", label, in_flight)
    taken = [(key, i.calls_total) for key, i in instances]
    yield counter("instance_calls", "Calls that balancing gave to an instance.", label, taken)
    memory = [(key, i.memory_bytes) for key, i in instances if i.memory_bytes is not None]
    yield gauge("instance_memory_bytes", "Resident memory of an instance's processes.", label, memory)
    cores = [(key, i.cpu_cores) for key, i in instances if i.cpu_cores is not None]
    yield gauge("instance_cpu_cores", "CPU cores that an instance's processes use.", label, cores)
    standings = [((*key, each.value), int(i.health is each)) for key, i in instances for each in Standing]
    text = "1 for what the checks say of an instance."
    yield gauge("instance_health", text, [*label, "standing"], standings)


def _breakers(breakers: list[BreakerStatus]) -> Iterator[Metric]:
    label = ["server", "breaker"]
    states = [((b.server, b.id, each.value), int(b.state is each)) for b in breakers for each in BreakerState]
    yield gauge("breaker_state", "1 for the state that a breaker is in.", [*label, "state"], states)
    opened = [((b.server, b.id), b.opened_total) for b in breakers]
    yield counter("breaker_opened", "How often a breaker has opened.", label, opened)
