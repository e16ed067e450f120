"""The fleet becomes what the spec says, whole or not at all. All in virtual time."""

import asyncio
import contextlib
import json

import pytest

from fairlead.core.admission import AdmissionPolicy
from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.sealing import Sealer
from fairlead.model.errors import ProblemError, RpcError
from fairlead.model.fleet import CallLimits, FleetSpec, LoadBalancing, Scaling, ServerSpec, Sharing, Strategy
from fairlead.model.reports import BreakerScope
from fairlead.model.request import RoutedRequest
from fairlead.model.status import BreakerState, ServerState, Standing
from fairlead.orchestrator.gateway.gateway import EdgeTimeouts, Gateway
from fairlead.orchestrator.gateway.sessions import SessionTable
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.orchestrator import Applied, MCPOrchestrator
from support.pool_rig import problem, silent
from support.scripted import ScriptedDriver, ScriptedLauncher, legacy

pytestmark = pytest.mark.looptime


class Fleet:
    """An orchestrator whose servers' commands name the scripts that they run; `bad` ones do not come up."""

    def __init__(self):
        sealer = Sealer(b"k" * 32)
        metrics = MetricsCollector(list)
        sessions = SessionTable(sealer, "n", limit=1000, idle=3600)
        self.gateway = Gateway(sealer, sessions, metrics, AdmissionPolicy.compile({}, 3002), EdgeTimeouts())
        self.metrics = metrics
        self.launcher = ScriptedLauncher(ScriptedDriver(legacy()))
        self.drivers = self.launcher.versions
        self.fleet = MCPOrchestrator(self.launcher, self.gateway, metrics)
        self._ticker = None

    async def __aenter__(self):
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *exc):
        self._ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticker
        await self.gateway.close()
        await self.fleet.close()
        assert self.running() == {}, "an instance is left"

    async def _tick(self):
        while True:
            await asyncio.sleep(1)
            await self.fleet.tick()

    def command(self, name, script=None, *, bad=False):
        """A driver for a command."""
        driver = self.drivers.setdefault(name, ScriptedDriver(script or legacy()))
        if bad:
            driver.refusals = [problem("start-failed", f"{name} is bad")] * 50
        return driver

    def spec(self, commands=None, *, servers=None, **fleet):
        """A spec whose servers run these commands."""
        made = {name: ServerSpec(id=name, command=command) for name, command in (commands or {}).items()}
        for name, server in (servers or {}).items():
            made[name] = ServerSpec(id=name, **server)
        for server in made.values():
            self.command(server.command)
        return FleetSpec(servers=made, load_balancing=LoadBalancing(**fleet))

    async def up(self, *args, **kwargs):
        """Apply a spec and wait for its servers."""
        spec = self.spec(*args, **kwargs)
        applied = await self.fleet.apply(spec)
        await self.ready()
        return applied

    async def ready(self):
        async with asyncio.timeout(60):
            while any(
                server.state not in (ServerState.READY, ServerState.DISABLED)
                for server in self.fleet.servers()
            ):
                await asyncio.sleep(0.01)

    def running(self):
        """How many instances each command has."""
        return {name: len(d.running) for name, d in self.drivers.items() if d.running}

    def states(self):
        return {server.id: server.state.value for server in self.fleet.servers()}

    def pool(self, name):
        return self.fleet._pools[name]

    def shown(self):
        """The tools that clients see."""
        page = self.gateway.endpoints.at(b"/mcp").page("tools", None)
        return [tool["name"] for tool in json.loads(b"{" + page + b"}")["tools"]]

    async def ask(self, server=None, capability=None, timeout=None, tool="echo", principal="p"):  # noqa: ASYNC109
        params = {"name": tool}
        return await self.fleet.request(
            RoutedRequest(server, capability, "tools/call", params, timeout, principal)
        )


async def told(awaitable, code, status):
    with pytest.raises(ProblemError) as refused:
        await awaitable
    assert (refused.value.problem.code, refused.value.problem.status) == (code, status)
    return refused.value.problem.detail


# -- applying --------------------------------------------------------------------------------------------


async def test_the_first_spec_starts_all_that_is_enabled():
    async with Fleet() as here:
        applied = await here.up({"a": "a1", "b": "b1"}, servers={"c": {"command": "c1", "enabled": False}})
        assert applied == Applied(started=("a", "b"))
        assert here.running() == {"a1": 1, "b1": 1}
        assert here.states() == {"a": "ready", "b": "ready", "c": "disabled"}
        assert here.shown() == ["a__echo", "b__echo"]
        assert here.fleet.generation == 1


async def test_the_same_spec_again_does_nothing():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        links = list(here.drivers["a1"].links)
        applied = await here.fleet.apply(here.spec({"a": "a1"}))
        assert (applied.kept, applied.started, applied.replaced) == (("a",), (), ())
        assert here.drivers["a1"].links == links


async def test_an_equal_spec_that_says_more_is_taken_over_without_a_generation():
    """Which of two equal values was written down counts, when the fleet's default changes."""
    async with Fleet() as here:
        await here.up({"a": "a1"})
        said = here.spec({"a": "a1"}, health_check_interval=30.0)
        assert said == here.fleet.spec
        await here.fleet.apply(said, dry_run=True)
        assert here.fleet.spec is not said
        await here.fleet.apply(said)
        assert here.fleet.spec is said
        assert here.fleet.generation == 1


async def test_whoever_listens_hears_when_the_state_of_a_server_changes():
    async with Fleet() as here:
        heard = []
        here.fleet.on_state = lambda: heard.append(here.states())
        await here.up({"a": "a1"})
        assert {"a": "ready"} in heard


async def test_only_what_differs_is_touched():
    async with Fleet() as here:
        await here.up({"same": "s1", "gone": "g1", "new-version": "n1", "new-rules": "r1"})
        same = here.pool("same").instances
        rules = here.pool("new-rules").instances
        applied = await here.up(
            {"same": "s1", "new-version": "n2", "added": "x1"},
            servers={"new-rules": {"command": "r1", "limits": CallLimits(calls=5)}},
        )
        assert applied == Applied(
            started=("added",),
            replaced=("new-version",),
            adjusted=("new-rules",),
            stopped=("gone",),
            kept=("same",),
        )
        await asyncio.sleep(0.1)
        assert here.running() == {"s1": 1, "n2": 1, "r1": 1, "x1": 1}
        assert here.pool("same").instances == same
        assert here.pool("new-rules").instances == rules
        assert here.pool("new-rules").spec.limits.calls == 5
        assert "gone__echo" not in here.shown()


async def test_one_bad_version_among_several_changes_nothing_at_all():
    async with Fleet() as here:
        await here.up({"a": "a1", "b": "b1", "c": "c1", "gone": "g1"})
        before = [
            [server.model_dump() for server in here.fleet.servers()],
            here.running(),
            here.fleet.spec,
            here.fleet.generation,
            here.shown(),
        ]
        here.command("b2", bad=True)
        wanted = here.spec({"a": "a2", "b": "b2", "c": "c2", "new": "x1"}, strategy=Strategy.WEIGHTED)
        detail = await told(here.fleet.apply(wanted), "change-refused", 409)
        assert detail == (
            "b: the new version did not come up: b2 is bad; nothing was changed, the running version stays"
        )
        assert before == [
            [server.model_dump() for server in here.fleet.servers()],
            here.running(),
            here.fleet.spec,
            here.fleet.generation,
            here.shown(),
        ]
        await here.ask("b")


async def test_every_bad_version_is_named():
    async with Fleet() as here:
        await here.up({"a": "a1", "b": "b1"})
        here.command("a2", bad=True)
        here.command("b2", lambda message: [])
        with pytest.raises(ProblemError) as refused:
            await here.fleet.apply(here.spec({"a": "a2", "b": "b2"}))
        reasons = refused.value.problem.extra["servers"]
        assert reasons["a"] == "a2 is bad"
        assert reasons["b"].endswith("did not answer within 60 s")


async def test_a_version_that_dies_before_all_the_others_are_up_is_refused():
    async with Fleet() as here:
        await here.up({"a": "a1", "b": "b1"})
        quick, slow = here.command("a2"), here.command("b2")
        slow.delay = 5.0
        applying = asyncio.create_task(here.fleet.apply(here.spec({"a": "a2", "b": "b2"})))
        await asyncio.sleep(2)
        quick.links[0].lose()
        detail = await told(applying, "change-refused", 409)
        assert "a: the new version did not come up: it died at once" in detail
        assert here.running() == {"a1": 1, "b1": 1}


async def test_a_server_that_does_not_serve_holds_nobody_up():
    async with Fleet() as here:
        here.command("b1", bad=True)
        await here.fleet.apply(here.spec({"a": "a1", "b": "b1"}))
        await asyncio.sleep(5)
        assert here.states() == {"a": "ready", "b": "failed"}
        here.command("b2", bad=True)
        applied = await here.fleet.apply(here.spec({"a": "a2", "b": "b2"}))
        assert applied.replaced == ("a", "b")
        await asyncio.sleep(0.1)
        assert here.running() == {"a2": 1}
        here.command("b3")
        await here.fleet.apply(here.spec({"a": "a2", "b": "b3"}))
        await here.ready()


async def test_a_dry_run_tells_and_does_nothing():
    async with Fleet() as here:
        session = {"command": "s1", "sharing": Sharing.SESSION}
        await here.up({"a": "a1"}, servers={"s": session})
        await here.ask("s", principal="ann")
        here.command("a2", bad=True)
        wanted = here.spec({"a": "a2", "new": "x1"}, servers={"s": {**session, "command": "s2"}})
        generation = here.fleet.generation
        applied = await here.fleet.apply(wanted, dry_run=True)
        assert applied.started == ("new",)
        assert applied.replaced == ("a", "s")
        assert applied.sessions_moved == {"s": ("ann",)}
        await asyncio.sleep(1)
        assert here.drivers["a2"].links == here.drivers["x1"].links == here.drivers["s2"].links == []
        assert here.fleet.generation == generation


async def test_sessions_that_move_are_named():
    async with Fleet() as here:
        session = {"command": "s1", "sharing": Sharing.SESSION}
        await here.up(servers={"s": session})
        await here.pool("s").acquire("session:0123456789abcdef", timeout=5)
        await here.ask("s", principal="ann")
        applied = await here.fleet.apply(here.spec(servers={"s": {**session, "command": "s2"}}))
        assert applied.sessions_moved == {"s": ("01234567", "ann")}, "no id of a session is told whole"
        await here.ask("s", principal="ann")


async def test_what_is_removed_finishes_its_calls_and_then_nothing_of_it_is_left():
    async with Fleet() as here:
        here.command("a1", silent())
        await here.up({"a": "a1", "b": "b1"})
        calling = asyncio.create_task(here.ask("a", timeout=20))
        await asyncio.sleep(1)
        applied = await here.fleet.apply(here.spec({"b": "b1"}))
        assert applied.stopped == ("a",)
        assert here.shown() == ["b__echo"]
        await told(here.ask("a"), "unknown-server", 404)
        await asyncio.sleep(10)
        assert here.running() == {"a1": 1, "b1": 1}
        await told(calling, "timed-out", 504)
        await asyncio.sleep(2)
        assert here.running() == {"b1": 1}
        assert here.fleet._leaving == set()


async def test_what_is_removed_and_comes_back_at_once_is_a_new_one():
    async with Fleet() as here:
        here.command("a1", silent())
        await here.up({"a": "a1"})
        calling = asyncio.create_task(here.ask("a", timeout=10))
        await asyncio.sleep(1)
        await here.fleet.apply(here.spec({}))
        await here.up({"a": "a1"})
        assert here.running() == {"a1": 2}
        assert [i.id for i in here.fleet.server("a").instances] == ["a-2"], "no id comes twice"
        await told(calling, "timed-out", 504)
        await asyncio.sleep(2)
        assert here.running() == {"a1": 1}


async def test_closing_ends_what_is_leaving_too():
    async with Fleet() as here:
        here.command("a1", silent())
        await here.up({"a": "a1"})
        calling = asyncio.create_task(here.ask("a", timeout=1000))
        await asyncio.sleep(1)
        await here.fleet.apply(here.spec({}))
    with pytest.raises((ProblemError, RpcError)):
        await calling


async def test_off_and_on_again():
    async with Fleet() as here:
        await here.up({"a": "a1", "b": "b1"})
        off = {"a": {"command": "a1", "enabled": False}}
        applied = await here.fleet.apply(here.spec({"b": "b1"}, servers=off))
        assert applied.stopped == ("a",)
        await asyncio.sleep(0.1)
        assert here.running() == {"b1": 1}
        assert here.states()["a"] == "disabled"
        assert here.shown() == ["b__echo"]
        assert await told(here.fleet.start("a"), "server-disabled", 409)
        assert (await here.fleet.stop("a")).state is ServerState.DISABLED
        applied = await here.up({"a": "a1", "b": "b1"})
        assert applied.started == ("a",)
        assert set(here.shown()) == {"a__echo", "b__echo"}


async def test_two_at_once_go_one_after_the_other():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        here.command("a2").delay = 5.0
        here.command("a3").delay = 1.0
        first = asyncio.create_task(here.fleet.apply(here.spec({"a": "a2"})))
        await asyncio.sleep(0)
        second = asyncio.create_task(here.fleet.apply(here.spec({"a": "a3"})))
        await asyncio.sleep(3)
        assert here.drivers["a3"].links == [], "its turn has not come"
        await asyncio.gather(first, second)
        await asyncio.sleep(0.1)
        assert here.running() == {"a3": 1}
        assert here.fleet.generation == 3


async def test_a_refusal_does_not_hold_up_the_next_change():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        here.command("bad", bad=True)
        bad = asyncio.create_task(here.fleet.apply(here.spec({"a": "bad"})))
        await asyncio.sleep(0)
        good = asyncio.create_task(here.fleet.apply(here.spec({"a": "a2"})))
        await told(bad, "change-refused", 409)
        assert (await good).replaced == ("a",)
        await asyncio.sleep(0.1)
        assert here.running() == {"a2": 1}


async def test_a_rolling_change_loses_no_call():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        here.command("a2").delay = 2.0
        done = []

        async def client():
            while len(done) < 400:
                done.append(await here.ask("a"))
                await asyncio.sleep(0.05)

        clients = [asyncio.create_task(client()) for _ in range(4)]
        await asyncio.sleep(1)
        await here.fleet.apply(here.spec({"a": "a2"}))
        await asyncio.gather(*clients)
        assert all("content" in answer for answer in done)
        used = [
            sum(m.get("method") == "tools/call" for m in here.drivers[c].links[0].sent) for c in ("a1", "a2")
        ]
        assert min(used) > 0
        assert sum(used) == len(done)


async def test_the_fleets_strategy_reaches_servers_that_stay():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        await here.fleet.apply(here.spec({"a": "a1"}, strategy=Strategy.WEIGHTED))
        assert here.fleet.server("a").strategy is Strategy.WEIGHTED
        assert here.fleet.balancer_status().strategy is Strategy.WEIGHTED


# -- one server ------------------------------------------------------------------------------------------


async def test_a_restart_rolls():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        here.drivers["a1"].delay = 3.0
        restarting = asyncio.create_task(here.fleet.restart("a"))
        await asyncio.sleep(2)
        await here.ask("a")
        assert (await restarting).state is ServerState.READY
        await here.ask("a")
        await asyncio.sleep(0.1)
        assert here.running() == {"a1": 1}
        assert len(here.drivers["a1"].links) == 2
        assert here.fleet.server("a").restarts == 0


async def test_a_restart_that_does_not_come_up_leaves_the_old_ones():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        here.command("a1", bad=True)
        assert "a1 is bad" in await told(here.fleet.restart("a"), "change-refused", 409)
        await here.ask("a")


async def test_a_restart_of_what_is_stopped_starts_it():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        assert (await here.fleet.stop("a")).state is ServerState.STOPPED
        assert here.running() == {}
        assert (await here.fleet.restart("a")).state is ServerState.STARTING
        await here.ready()


async def test_what_somebody_stopped_stays_so_until_its_spec_changes():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        await here.fleet.stop("a")
        await here.fleet.apply(here.spec({"a": "a1", "b": "b1"}))
        await asyncio.sleep(5)
        assert here.states() == {"a": "stopped", "b": "ready"}
        applied = await here.up({"a": "a2", "b": "b1"})
        assert applied.replaced == ("a",)
        assert here.running() == {"a2": 1, "b1": 1}


async def test_draining_an_instance_brings_another_one_first():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        [old] = here.pool("a").instances
        await here.fleet.drain("a", old.id)
        await asyncio.sleep(1)
        assert here.running() == {"a1": 1}
        assert old.state is InstanceState.STOPPED
        assert here.states() == {"a": "ready"}
        assert f"no instance {old.id!r} that serves; there are: a-2" in await told(
            here.fleet.drain("a", old.id), "unknown-instance", 404
        )


async def test_draining_a_server_ends_it_after_its_calls():
    async with Fleet() as here:
        here.command("a1", silent())
        await here.up({"a": "a1"})
        calling = asyncio.create_task(here.ask("a", timeout=5))
        await asyncio.sleep(1)
        status = await here.fleet.drain("a", None)
        assert (status.state, status.message) == (ServerState.STOPPED, "stopped; 1 calls are finishing")
        await told(here.ask("a"), "not-running", 503)
        await told(calling, "timed-out", 504)
        await asyncio.sleep(2)
        assert here.running() == {}
        await here.fleet.start("a")
        await here.ready()


@pytest.mark.parametrize("what", ["start", "stop", "restart", "check_health"])
async def test_an_unknown_server_names_the_nearest_one(what):
    async with Fleet() as here:
        await here.up({"context7": "a1"})
        detail = await told(getattr(here.fleet, what)("contxt7"), "unknown-server", 404)
        assert detail == "no server 'contxt7'; did you mean 'context7'?"


async def test_unknown_names_elsewhere():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        assert "there are: a" in await told(here.fleet.drain("zzz", None), "unknown-server", 404)
        assert "no such" not in await told(here.fleet.drain("a", "x"), "unknown-instance", 404)
        with pytest.raises(ProblemError, match="no server 'q'"):
            here.fleet.server("q")
        with pytest.raises(ProblemError, match="no instance 'x'"):
            here.fleet.set_instance_weights({"x": 1.0})
        await told(here.ask(capability="x"), "unknown-capability", 404)


async def test_what_becomes_suspect_is_checked_at_once():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        [link], [instance] = here.command("a1").links, here.pool("a").instances
        link.sent.clear()
        await asyncio.sleep(0.1)  # far from a tick
        here.pool("a").call_failed(instance, "connection reset", number=1, transport=True)
        assert instance.health.standing is Standing.SUSPECT
        await asyncio.sleep(0.001)
        assert [message["method"] for message in link.sent] == ["ping"]
        assert instance.health.standing is Standing.HEALTHY


async def test_breakers_are_listed_and_reset_by_id():
    async with Fleet() as here:
        await here.up({"a": "a1", "b": "b1"}, servers={"c": {"command": "c1", "enabled": False}})
        assert [breaker.id for breaker in here.fleet.breakers()] == ["a", "a-1", "b", "b-1"]
        pool = here.pool("b")
        for _ in range(30):
            pool.call_failed(pool.instances[0], "boom", number=1, transport=False)
        states = {breaker.id: breaker.state for breaker in here.fleet.breakers()}
        assert states == {
            "a": BreakerState.CLOSED,
            "a-1": BreakerState.CLOSED,
            "b": BreakerState.OPEN,
            "b-1": BreakerState.OPEN,
        }
        await told(here.ask("b"), "circuit-open", 503)
        for breaker in ("b", "b-1"):
            assert here.fleet.reset_breaker(breaker).state is BreakerState.CLOSED
        await here.ask("b")
        with pytest.raises(ProblemError, match="no circuit breaker 'b-11'; did you mean 'b-1'"):
            here.fleet.reset_breaker("b-11")
        with pytest.raises(ProblemError, match="there are: a, a-1, b, b-1"):
            here.fleet.reset_breaker("zzz")


async def test_of_a_server_and_an_instance_with_one_id_the_scope_says_which():
    async with Fleet() as here:
        await here.up({"a": "a1", "a-1": "b1"})
        for name in ("a", "a-1"):
            pool = here.pool(name)
            for _ in range(30):
                pool.call_failed(pool.instances[0], "boom", number=1, transport=False)
        with pytest.raises(ProblemError, match=r"\?scope=server") as refused:
            here.fleet.reset_breaker("a-1")
        assert (refused.value.problem.code, refused.value.problem.status) == ("ambiguous-breaker", 409)

        def still_open():
            breakers = here.fleet.breakers()
            return {(each.id, each.scope.value) for each in breakers if each.state is BreakerState.OPEN}

        assert here.fleet.reset_breaker("a-1", BreakerScope.INSTANCE).server == "a"
        assert still_open() == {("a", "server"), ("a-1", "server"), ("a-1-1", "instance")}
        assert here.fleet.reset_breaker("a-1", BreakerScope.SERVER).server == "a-1"
        assert still_open() == {("a", "server"), ("a-1-1", "instance")}
        with pytest.raises(ProblemError, match="no circuit breaker 'a'"):
            here.fleet.reset_breaker("a", BreakerScope.INSTANCE)


async def test_health_is_checked_now():
    async with Fleet() as here:
        await here.up({"a": "a1", "b": "b1"})
        here.drivers["b1"].links[0].hang()
        results = await here.fleet.check_health(None)
        assert [(result.server, result.passed) for result in results] == [("a", True), ("b", False)]
        assert [result.instance for result in await here.fleet.check_health("a")] == ["a-1"]


async def test_a_hung_server_is_replaced_by_the_orchestrators_own_ticks():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        here.drivers["a1"].links[0].hang()
        await asyncio.sleep(15)
        await here.ask("a")
        assert here.running() == {"a1": 1}


async def test_a_server_scales_with_its_calls_and_back():
    async with Fleet() as here:
        here.command("a1", silent())
        scaling = Scaling(min_instances=1, max_instances=3, target_calls_in_flight=2, scale_down_after=30)
        await here.up(servers={"a": {"command": "a1", "scaling": scaling}})
        calls = [asyncio.create_task(here.ask("a", timeout=20)) for _ in range(6)]
        await asyncio.sleep(10)
        assert here.running() == {"a1": 3}
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(20)
        assert here.running() == {"a1": 3}
        await asyncio.sleep(30)
        assert here.running() == {"a1": 1}


async def test_a_fault_with_one_server_does_not_stop_the_others_from_being_looked_after():
    async with Fleet() as here:
        here.command("b1", silent())
        await here.up({"a": "a1", "b": "b1"})
        here.pool("a").tick = lambda now: 1 / 0
        with pytest.raises(ProblemError):
            await here.ask("b", timeout=3)


# -- requests that are routed ----------------------------------------------------------------------------


async def test_a_capability_is_balanced_over_servers_with_the_same_tools_only():
    async with Fleet() as here:
        here.command("c1", legacy(("echo", "other")))
        offers = {"capabilities": ("docs",)}
        servers = {name: {"command": f"{name}1", **offers} for name in "abc"}
        await here.up(servers=servers, strategy=Strategy.ROUND_ROBIN)
        for _ in range(6):
            await here.ask(capability="docs")
        calls = {
            name: sum(m.get("method") == "tools/call" for m in here.drivers[f"{name}1"].links[0].sent)
            for name in "abc"
        }
        assert calls == {"a": 3, "b": 3, "c": 0}


async def test_a_safe_call_whose_instance_dies_is_asked_again_elsewhere():
    async with Fleet() as here:
        usual = legacy(annotations={"readOnlyHint": True})
        deadly = [True, True]

        def script(message):
            if message.get("method") != "tools/call" or not deadly:
                return usual(message)
            deadly.pop()
            [link] = [link for link in driver.links if link.sent[-1] is message]
            asyncio.get_running_loop().call_soon(link.lose)
            return []

        driver = here.command("a1", script)
        await here.up({"a": "a1"})
        assert "content" in await here.ask("a")
        assert len(driver.links) == 3, "two died of it, the third one answered"


async def test_a_call_that_is_not_safe_is_not_replayed_and_its_caller_told_why():
    async with Fleet() as here:
        driver = here.command("a1", silent())
        await here.up({"a": "a1"})
        calling = asyncio.create_task(here.ask("a"))
        await asyncio.sleep(1)
        driver.links[0].lose()
        with pytest.raises(RpcError, match="not replayed: its tool is not annotated"):
            await calling
        assert sum(m.get("method") == "tools/call" for link in driver.links for m in link.sent) == 1


# -- changes that meet -----------------------------------------------------------------------------------


async def test_a_change_that_is_given_up_leaves_nothing():
    async with Fleet() as here:
        await here.up({"a": "a1", "b": "b1"})
        here.command("b2").delay = 10.0
        applying = asyncio.create_task(here.fleet.apply(here.spec({"a": "a2", "b": "b2"})))
        await asyncio.sleep(3)
        applying.cancel()
        await asyncio.gather(applying, return_exceptions=True)
        await asyncio.sleep(20)
        assert here.running() == {"a1": 1, "b1": 1}


async def test_a_restart_of_what_is_being_removed_says_that_it_is_gone():
    async with Fleet() as here:
        await here.up({"a": "a1", "b": "b1"})
        here.command("b2").delay = 10.0
        applying = asyncio.create_task(here.fleet.apply(here.spec({"b": "b2"})))
        await asyncio.sleep(1)
        restarting = asyncio.create_task(here.fleet.restart("a"))
        await applying
        await told(restarting, "unknown-server", 404)


async def test_a_restart_does_not_start_what_is_being_switched_off():
    async with Fleet() as here:
        await here.up({"a": "a1", "b": "b1"})
        here.command("b2").delay = 10.0
        off = {"a": {"command": "a1", "enabled": False}}
        applying = asyncio.create_task(here.fleet.apply(here.spec({"b": "b2"}, servers=off)))
        await asyncio.sleep(1)
        restarting = asyncio.create_task(here.fleet.restart("a"))
        await applying
        await asyncio.gather(restarting, return_exceptions=True)
        await asyncio.sleep(5)
        assert here.running() == {"b2": 1}


async def test_a_stop_while_a_restart_brings_up_new_instances_stays():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        here.drivers["a1"].delay = 10.0
        restarting = asyncio.create_task(here.fleet.restart("a"))
        await asyncio.sleep(1)
        await here.fleet.stop("a")
        assert (await restarting).state is ServerState.STOPPED
        await asyncio.sleep(5)
        assert here.running() == {}


async def test_a_change_of_many_servers_starts_a_few_instances_at_a_time():
    async with Fleet() as here:
        names = [f"s{number}" for number in range(20)]
        await here.up(dict.fromkeys(names, "old"))
        here.command("new").delay = 1.0
        loop = asyncio.get_running_loop()
        before = loop.time()
        await here.fleet.apply(here.spec(dict.fromkeys(names, "new")))
        assert loop.time() - before == pytest.approx(3, abs=0.5), "eight at a time, a second each"
        await here.ready()
        await asyncio.sleep(1)
        assert here.running() == {"new": 20}


async def test_closing_waits_for_a_change_and_ends_what_it_brought():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        here.command("a2").delay = 10.0
        applying = asyncio.create_task(here.fleet.apply(here.spec({"a": "a2"})))
        await asyncio.sleep(1)
    assert (await applying).replaced == ("a",)


async def test_a_change_to_what_is_stopped_meanwhile_starts_it():
    async with Fleet() as here:
        await here.up({"a": "a1"})
        here.command("a2").delay = 10.0
        applying = asyncio.create_task(here.fleet.apply(here.spec({"a": "a2"})))
        await asyncio.sleep(1)
        await here.fleet.stop("a")
        await applying
        await here.ask("a")
        assert here.running() == {"a2": 1}
