"""Which servers share calls: those with the same tools, never those that merely share a word."""

import asyncio

import pytest

from fairlead.model.errors import ProblemError
from fairlead.model.fleet import CircuitBreaker, LoadBalancing, Strategy
from fairlead.model.status import BreakerState, ServerState
from fairlead.orchestrator.balancer import LoadBalancer, set_weights
from support.pool_rig import PoolRig, problem
from support.scripted import legacy

pytestmark = pytest.mark.looptime


def server(name, *tools, offers=("docs",), **spec):
    return PoolRig(legacy(tools), id=name, capabilities=offers, **spec)


class Fleet:
    """Some servers that run, and a balancer over them."""

    def __init__(self, *rigs, **fleet):
        self.rigs = rigs
        self.balancer = LoadBalancer()
        self.balancer.adopt(LoadBalancing(**fleet))

    async def __aenter__(self):
        for rig in self.rigs:
            await rig.__aenter__()
        for rig in self.rigs:
            await rig.ready()
        return self

    async def __aexit__(self, *exc):
        for rig in self.rigs:
            await rig.__aexit__(*exc)

    @property
    def pools(self):
        return [rig.pool for rig in self.rigs]

    def choose(self, count=1, capability="docs", tool="search"):
        """The servers of so many requests; their calls stay in flight."""
        return [self.balancer.choose(capability, tool, self.pools).spec.id for _ in range(count)]


async def test_servers_with_the_same_tools_share_calls():
    async with Fleet(server("a", "search"), server("b", "search"), strategy=Strategy.ROUND_ROBIN) as fleet:
        assert fleet.choose(6) == ["a", "b"] * 3


@pytest.mark.parametrize("strategy", Strategy)
async def test_servers_with_other_tools_never_share_whatever_word_they_offer(strategy):
    rigs = server("a", "search"), server("b", "search", "more"), server("c", "search"), server("d")
    async with Fleet(*rigs, strategy=strategy) as fleet:
        assert set(fleet.choose(30)) == {"a", "c"}
        assert set(fleet.choose(30, tool="more")) == {"b"}
        assert set(fleet.choose(30, tool=None)) == {"a", "c"}, "the first of the fleet leads"


async def test_servers_without_tools_share_nothing():
    """They may well differ in their prompts and resources."""
    async with Fleet(server("a"), server("b"), strategy=Strategy.ROUND_ROBIN) as fleet:
        assert fleet.choose(4, tool=None) == ["a"] * 4
        [groups] = fleet.balancer.status(fleet.pools).capabilities
        assert groups.groups == [["a"], ["b"]]


async def test_servers_that_have_not_shown_their_tools_share_nothing():
    rigs = server("a", "search"), server("b", "search")
    balancer = LoadBalancer()
    chosen = {balancer.choose("docs", "search", [rig.pool for rig in rigs]).spec.id for _ in range(6)}
    assert chosen == {"a"}
    for rig in rigs:
        await rig.pool.close()


async def test_only_those_that_offer_the_capability_count():
    rigs = server("a", "search", offers=()), server("b", "search", offers=("docs", "more"))
    async with Fleet(*rigs) as fleet:
        assert fleet.choose(3) == ["b"] * 3


async def test_one_that_is_away_gets_nothing_while_another_one_serves():
    rigs = server("a", "search"), server("b", "search")
    async with Fleet(*rigs, strategy=Strategy.ROUND_ROBIN) as fleet:
        await rigs[0].pool.stop()
        assert fleet.choose(4) == ["b"] * 4
        await rigs[1].pool.stop()
        assert set(fleet.choose(4)) == {"a", "b"}, "somebody must say why not"
        rigs[0].pool.start()
        await rigs[0].ready()
        assert rigs[0].pool.state is ServerState.READY
        assert fleet.choose(4) == ["a"] * 4


def fail(rig):
    """A call of a server fails by its own fault."""
    [instance] = rig.pool.instances
    rig.send(instance)
    instance.request_failed(instance.sent, "HTTP 502", None)


async def test_one_whose_circuit_is_open_gets_nothing_while_another_ones_is_not():
    breaker = CircuitBreaker(minimum_calls=1, open_for=10, trials=2)
    rigs = [server(name, "search", circuit_breaker=breaker, ticking=True) for name in "ab"]
    async with Fleet(*rigs, strategy=Strategy.LEAST_CONNECTIONS) as fleet:
        fail(rigs[0])
        assert rigs[0].pool.breaker.state is BreakerState.OPEN
        assert fleet.choose(4) == ["b"] * 4
        fail(rigs[1])
        assert set(fleet.choose(4)) == {"a", "b"}, "somebody must say why not"


async def test_one_on_trial_gets_its_trials():
    breaker = CircuitBreaker(minimum_calls=1, open_for=10, trials=2)
    rigs = server("a", "search", circuit_breaker=breaker, ticking=True), server("b", "search")
    async with Fleet(*rigs, strategy=Strategy.ROUND_ROBIN) as fleet:
        fail(rigs[0])
        await asyncio.sleep(12)
        assert rigs[0].pool.breaker.state is BreakerState.HALF_OPEN
        rigs[0].link(rigs[0].pool.instances[0]).hang()
        chosen = []
        for _ in range(8):
            chosen += fleet.choose()
            if chosen[-1] == "a":
                rigs[0].send(await rigs[0].pool.acquire("k", timeout=1))
        assert chosen.count("a") == 2, "no more at a time than its trials"


@pytest.mark.parametrize("tool", [None, "search", "nonsense"])
async def test_one_that_never_came_up_does_not_lead(tool):
    rigs = server("a", "search"), server("b", "search")
    rigs[0].driver.refusals = [problem("start-failed") for _ in range(1000)]
    async with rigs[0], rigs[1]:
        await rigs[1].ready()
        pools = [rig.pool for rig in rigs]
        assert LoadBalancer().choose("docs", tool, pools).spec.id == "b"


async def test_weights_of_servers():
    rigs = server("a", "search", weight=1.0), server("b", "search", weight=3.0)
    async with Fleet(*rigs, strategy=Strategy.WEIGHTED) as fleet:
        chosen = fleet.choose(40)
        assert (chosen.count("a"), chosen.count("b")) == (10, 30)


async def test_the_fewest_calls_in_flight_over_all_instances():
    rigs = server("a", "search"), server("b", "search")
    async with Fleet(*rigs, strategy=Strategy.LEAST_CONNECTIONS) as fleet:
        rigs[0].link(rigs[0].pool.instances[0]).hang()
        for _ in range(3):
            rigs[0].send(rigs[0].pool.instances[0])
        assert fleet.choose(3) == ["b"] * 3


async def test_the_strategy_is_changed_while_it_runs():
    rigs = server("a", "search", weight=0.0), server("b", "search")
    async with Fleet(*rigs, strategy=Strategy.ROUND_ROBIN) as fleet:
        assert set(fleet.choose(4)) == {"a", "b"}
        fleet.balancer.adopt(LoadBalancing(strategy=Strategy.WEIGHTED))
        assert fleet.choose(4) == ["b"] * 4


async def test_an_unknown_capability_names_the_nearest_one():
    rigs = server("a", "search", offers=("documentation-search",)), server("b", "x", offers=("ui",))
    async with Fleet(*rigs) as fleet:
        with pytest.raises(ProblemError, match="did you mean 'documentation-search'"):
            fleet.choose(capability="documentation")
        with pytest.raises(ProblemError, match="there are: documentation-search, ui") as unknown:
            fleet.choose(capability="zzz")
        assert (unknown.value.problem.status, unknown.value.problem.code) == (404, "unknown-capability")
    with pytest.raises(ProblemError, match="there are: none"):
        LoadBalancer().choose("x" * 10_000, None, [])


async def test_a_tool_that_none_has_is_left_to_the_first_to_refuse():
    async with Fleet(server("a", "search"), server("b", "find")) as fleet:
        assert fleet.choose(2, tool="nonsense") == ["a", "a"]


async def test_what_it_shows():
    rigs = server("a", "search"), server("b", "search", offers=("docs", "ui")), server("c", "x")
    async with Fleet(*rigs, strategy=Strategy.WEIGHTED) as fleet:
        status = fleet.balancer.status(fleet.pools)
        assert status.strategy is Strategy.WEIGHTED
        assert [server.id for server in status.servers] == ["a", "b", "c"]
        shown = {groups.capability: groups.groups for groups in status.capabilities}
        assert shown == {"docs": [["a", "b"], ["c"]], "ui": [["b"]]}
        fleet.choose()
        assert repr(fleet.balancer) == "<LoadBalancer weighted groups=1>"


async def test_instances_are_weighed_by_their_ids_all_or_none():
    async with Fleet(server("a", "search"), server("b", "search")) as fleet:
        first, second = (pool.instances[0] for pool in fleet.pools)
        set_weights({first.id: 0.0, second.id: 2.5}, fleet.pools)
        assert (first.weight, second.weight) == (0.0, 2.5)
        with pytest.raises(ProblemError, match="no instance 'x-1'; there are: a-1, b-1") as unknown:
            set_weights({first.id: 9.0, "x-1": 1.0}, fleet.pools)
        assert unknown.value.problem.status == 404
        assert first.weight == 0.0
