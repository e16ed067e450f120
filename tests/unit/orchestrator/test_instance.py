"""One running server: negotiation, multiplexing, ends."""

import asyncio
import json

import pytest

from fairlead.core.breaker import Breaker, BreakerPolicy
from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.eras import Era
from fairlead.mcp.errors import CALL_TIMED_OUT, UPSTREAM_FAILED, McpError
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import CircuitBreaker, HealthCheck, ServerSpec
from fairlead.orchestrator.instance import (
    MAX_QUEUED_BYTES,
    MCPServerInstance,
    PoolKey,
)
from fairlead.orchestrator.replies import CallLostError, FailureKind, FutureReply
from fairlead.orchestrator.rules import CallRules
from support.pool_rig import Ears
from support.scripted import ScriptedDriver, answer, launch, legacy, refuse

pytestmark = pytest.mark.looptime


def make(driver, listener=None, launched="s-1"):
    breaker = Breaker(BreakerPolicy.of(CircuitBreaker()))
    return MCPServerInstance(launch(launched), driver, listener or Ears(), PoolKey("s", "e", "p"), breaker)


def modern(message):
    method = message.get("method")
    if method == "server/discover":
        return [
            answer(
                message,
                supportedVersions=["2026-07-28"],
                capabilities={"tools": {}},
                _meta={"io.modelcontextprotocol/serverInfo": {"name": "m", "version": "2"}},
            )
        ]
    if "_meta" not in message.get("params", {}):
        return [refuse(message, -32602)]
    return [answer(message, resultType="complete", tools=[])]


async def start(script=None):
    driver, listener = ScriptedDriver(script or legacy()), Ears()
    instance = make(driver, listener)
    await instance.start(60)
    return instance, driver.links[0], listener


async def test_a_legacy_server_is_probed_once_then_initialised():
    instance, link, _ = await start()
    assert [message["method"] for message in link.sent] == [
        "server/discover",
        "initialize",
        "notifications/initialized",
    ]
    assert instance.era is Era.LEGACY
    assert instance.state is InstanceState.READY
    assert instance.negotiated.server == {"name": "scripted", "version": "1"}
    assert instance.negotiated.instructions == "be kind"
    assert link.versions[-1] == "2025-11-25"
    assert instance.supports("tools")
    assert not instance.supports("prompts")


async def test_a_modern_server_needs_no_handshake():
    instance, link, _ = await start(modern)
    assert [message["method"] for message in link.sent] == ["server/discover"]
    assert instance.era is Era.MODERN
    assert instance.negotiated.server["name"] == "m"
    assert await instance.list_all("tools/list", "tools", timeout=5) == ([], None)
    assert "io.modelcontextprotocol/protocolVersion" in link.sent[-1]["params"]["_meta"]


async def test_a_server_that_is_silent_about_discovery_is_a_legacy_one():
    script = legacy()

    def silent(message):
        return [] if message.get("method") == "server/discover" else script(message)

    instance, link, _ = await start(silent)
    assert instance.era is Era.LEGACY
    assert link.sent[1]["method"] == "notifications/cancelled"


async def test_a_server_that_lists_no_modern_version_is_a_legacy_one():
    script = legacy()

    def old(message):
        if message.get("method") == "server/discover":
            return [answer(message, supportedVersions=["2025-11-25"], capabilities={})]
        return script(message)

    assert (await start(old))[0].era is Era.LEGACY


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda m: [refuse(m, -32022, supported=["2099-01-01"], requested="2026-07-28")], "handshake"),
        (
            lambda m: (
                [refuse(m, -32601)] if m.get("method") != "initialize" else [answer(m, protocolVersion="1")]
            ),
            "'1'",
        ),
        (lambda m: [], "within 60 s"),
    ],
)
async def test_a_server_that_cannot_be_spoken_to_says_so_and_ends(script, words):
    driver, listener = ScriptedDriver(script), Ears()
    instance = make(driver, listener)
    with pytest.raises(ProblemError, match=words):
        await instance.start(60)
    assert instance.state in (InstanceState.FAILED, InstanceState.STOPPED)
    assert driver.links[0].lost


async def test_a_server_that_dies_at_once_shows_its_last_words():
    driver = ScriptedDriver(lambda m: driver.links[0].lose(detail="warning\nno such option --x\n") or [])
    instance = make(driver)
    with pytest.raises(ProblemError, match="exited with code 1: no such option --x"):
        await instance.start(60)


async def test_a_launch_that_fails_is_told_as_it_is():
    driver = ScriptedDriver(legacy())
    driver.refusals.append(ProblemError(Problem("command-not-found", "t", "d", 503, Fault.UPSTREAM)))
    instance = make(driver)
    with pytest.raises(ProblemError) as refused:
        await instance.start(60)
    assert refused.value.problem.code == "command-not-found"
    assert instance.state is InstanceState.FAILED


async def test_answers_in_any_order_reach_their_callers():
    instance, link, _ = await start()
    link.deliver_at_once = False
    calls = [
        asyncio.create_task(instance.call("tools/call", {"name": str(n)}, timeout=10)) for n in range(20)
    ]
    await asyncio.sleep(0)
    assert instance.in_flight == 20
    for message in reversed(link.held):
        link.say(message)
    for n, call in enumerate(calls):
        text = json.loads(await call)["content"][0]["text"]
        assert json.loads(text)["name"] == str(n)
    assert instance.in_flight == 0


async def test_a_second_answer_and_an_unknown_one_change_nothing():
    instance, link, _ = await start()
    await instance.ping(timeout=5)
    link.say({"jsonrpc": "2.0", "id": link.sent[-1]["id"], "result": {"forged": True}})
    link.say({"jsonrpc": "2.0", "id": 99999, "result": {}})
    link.say({"jsonrpc": "2.0", "id": "x", "result": {}})
    link.listener.frame_received(b"npm warn something")
    await instance.ping(timeout=5)


async def test_a_server_may_ping_and_ask_for_roots_but_nothing_that_was_not_offered():
    _, link, _ = await start()
    for number, method in enumerate(("ping", "roots/list", "sampling/createMessage")):
        link.say({"jsonrpc": "2.0", "id": f"r{number}", "method": method})
    answers = {message["id"]: message for message in link.sent if "method" not in message}
    assert answers["r0"]["result"] == {}
    assert answers["r1"]["result"] == {"roots": []}
    assert answers["r2"]["error"]["code"] == -32601


async def test_a_death_loses_what_waits_for_an_answer():
    instance, link, listener = await start()
    link.deliver_at_once = False
    call = asyncio.create_task(instance.call("tools/call", {}, timeout=10))
    await asyncio.sleep(0)
    link.lose("killed by SIGKILL")
    with pytest.raises(CallLostError, match="s-1 killed by SIGKILL") as lost:
        await call
    failed = lost.value.failure.as_error("it is not safe")
    assert (failed.code, failed.data["replayed"]) == (UPSTREAM_FAILED, False)
    assert failed.message == "s-1 killed by SIGKILL; the call was not replayed: it is not safe"
    assert instance.lost_calls == 1
    assert instance.state is InstanceState.FAILED
    assert listener.ended[0].reason == "killed by SIGKILL"


async def test_one_failed_request_leaves_the_others_alone():
    instance, link, listener = await start()
    link.deliver_at_once = False
    first = asyncio.create_task(instance.call("tools/call", {}, timeout=10))
    second = asyncio.create_task(instance.call("tools/call", {}, timeout=10))
    await asyncio.sleep(0)
    instance.request_failed(link.sent[-2]["id"], "HTTP 502 from the server", 3.0)
    with pytest.raises(CallLostError, match="HTTP 502") as lost:
        await first
    assert (lost.value.failure.kind, lost.value.failure.retry_after) == (FailureKind.LOST, 3.0)
    assert listener.failures == [("HTTP 502 from the server", True)]
    link.say(link.held[-1])
    await second


async def test_a_deadline_cancels_upstream_and_fails_the_call():
    instance, link, _ = await start()
    link.deliver_at_once = False
    loop = asyncio.get_running_loop()
    reply = FutureReply()
    number = instance.forward("tools/call", b"{}", reply, deadline=loop.time() + 5)
    instance.expire(loop.time() + 4.9)
    assert not reply.future.done()
    instance.expire(loop.time() + 5)
    with pytest.raises(McpError) as failed:
        await reply.future
    assert failed.value.code == CALL_TIMED_OUT
    assert link.sent[-1] == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": number, "reason": "timed out"},
    }
    link.say(link.held[-1])  # the late answer goes nowhere


async def test_giving_up_a_call_tells_the_server():
    instance, link, _ = await start()
    link.deliver_at_once = False
    call = asyncio.create_task(instance.call("tools/call", {}, timeout=10))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert link.sent[-1]["method"] == "notifications/cancelled"
    assert instance.in_flight == 0


async def test_progress_reaches_its_call_alone():
    instance, link, _ = await start()
    link.deliver_at_once = False
    seen = {}

    class Reply(FutureReply):
        __slots__ = ("name",)

        def progressed(self, params):
            seen.setdefault(self.name, []).append(json.loads(bytes(params["progress"])))

    numbers = {}
    for name in ("a", "b"):
        reply = Reply()
        reply.name = name
        numbers[name] = instance.forward("tools/call", b"{}", reply, deadline=1e9)
    for token, progress in ((numbers["b"], 1), (numbers["a"], 2), (777, 3), ("x", 4), (None, 5), ({}, 6)):
        link.say(
            {
                "jsonrpc": "2.0",
                "method": "notifications/progress",
                "params": {"progressToken": token, "progress": progress},
            }
        )
    link.say({"jsonrpc": "2.0", "method": "notifications/progress"})
    assert seen == {"b": [1], "a": [2]}


async def test_changed_lists_are_told():
    _, link, listener = await start()
    for kind in ("tools", "prompts", "resources"):
        link.say({"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"})
    link.say({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
    assert listener.changed == ["tools", "prompts", "resources"]


async def test_pages_are_followed_and_an_empty_cursor_is_one():
    script = legacy()
    pages = {None: (["a"], ""), "": (["b"], "2"), "2": (["c"], None)}

    def paged(message):
        if message.get("method") != "tools/list":
            return script(message)
        names, following = pages[message["params"].get("cursor")]
        more = {} if following is None else {"nextCursor": following}
        return [answer(message, tools=[{"name": name} for name in names], **more)]

    instance, _, _ = await start(paged)
    raws, _ = await instance.list_all("tools/list", "tools", timeout=5)
    assert [json.loads(bytes(raw))["name"] for raw in raws] == ["a", "b", "c"]


async def test_a_list_that_never_ends_is_cut():
    script = legacy()

    def endless(message):
        if message.get("method") != "tools/list":
            return script(message)
        return [answer(message, tools=[{"name": "a"}], nextCursor="same")]

    instance, _, _ = await start(endless)
    assert len((await instance.list_all("tools/list", "tools", timeout=5))[0]) == 2


async def test_stopping_is_idempotent_and_final():
    instance, link, listener = await start()
    await instance.stop()
    await instance.stop()
    assert instance.state is InstanceState.STOPPED
    assert listener.ended[0].expected
    assert link.lost
    never = make(ScriptedDriver(legacy()), launched="s-2")
    await never.stop()
    assert never.state is InstanceState.STOPPED


async def test_a_server_that_does_not_read_is_overloaded():
    instance, link, _ = await start()
    assert not instance.overloaded
    instance.writable_changed(False)
    assert not instance.overloaded
    link.queued = MAX_QUEUED_BYTES + 1
    assert instance.overloaded
    instance.writable_changed(True)
    assert not instance.overloaded


async def test_a_cancelled_start_leaves_nothing():
    driver = ScriptedDriver(lambda message: [])
    instance = make(driver)
    task = asyncio.create_task(instance.start(60))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert driver.links[0].lost


async def test_what_it_says_of_itself():
    instance, _, _ = await start()
    status = instance.status()
    assert (status.id, status.state, status.protocol_version) == ("s-1", "ready", "2025-11-25")
    assert "s-1 ready" in repr(instance)


# -- what its pool decides by ----------------------------------------------------------------------------


def answering(**members):
    """A legacy server whose calls are answered with these members instead of a result."""
    script = legacy()

    def odd(message):
        if message.get("method") == "tools/call":
            return [{"jsonrpc": "2.0", "id": message["id"], **members}]
        return script(message)

    return odd


def rules(*patterns):
    return CallRules.of(ServerSpec(id="s", command="x", health_check=HealthCheck(error_patterns=patterns)))


async def call(instance):
    return await instance.call("tools/call", {"name": "echo"}, timeout=10)


async def test_good_answers_to_calls_are_counted_and_the_gateways_own_are_not():
    instance, _, _ = await start()
    await instance.ping(timeout=5)
    await instance.list_all("tools/list", "tools", timeout=5)
    assert (instance.answers, instance.calls_total) == (0, 0)
    await call(instance)
    assert (instance.answers, instance.errors, instance.calls_total, instance.answered_total) == (1, 0, 1, 1)


@pytest.mark.parametrize(
    ("error", "is_failure"),
    [
        ({"code": -32603, "message": "boom"}, True),
        ({"code": -32000, "message": "boom"}, True),
        ({"code": -32019, "message": "boom"}, True),
        ({"code": -32002, "message": "no such resource"}, False),
        ({"code": -32020, "message": "header mismatch"}, False),
        ({"code": -32602, "message": "your mistake"}, False),
        ({"code": -32601, "message": "your mistake"}, False),
        ({"code": 1, "message": "its own"}, False),
        ({"code": "x", "message": 7}, True),  # malformed: the server cannot write errors
    ],
)
async def test_errors_of_the_server_count_as_failures_and_a_clients_mistakes_do_not(error, is_failure):
    instance, _, listener = await start(answering(error=error))
    with pytest.raises(McpError):
        await call(instance)
    assert (instance.answers, instance.errors, instance.answered_total) == (0, 1, 1)
    assert bool(listener.failures) == is_failure
    assert not any(transport for _, transport in listener.failures)


async def test_results_whose_text_matches_a_pattern_count_as_failures_and_still_reach_the_caller():
    instance, _, listener = await start(
        answering(result={"content": [{"type": "text", "text": "rate limit 42"}]})
    )
    instance.rules = rules(r"rate limit \d+")
    assert b"rate limit 42" in await call(instance)
    assert listener.failures == [("an answer says 'rate limit 42'", False)]
    instance.rules = rules("quota")
    await call(instance)
    assert (instance.answers, instance.errors) == (1, 1)


async def test_an_error_of_null_is_none():
    instance, _, listener = await start(answering(error=None, result={}))
    await call(instance)
    assert (listener.failures, instance.answers) == ([], 1)


async def test_a_call_that_is_overdue_is_a_failure_and_a_check_that_is_overdue_is_none():
    instance, link, listener = await start()
    link.hang()
    checking = asyncio.create_task(instance.ping(timeout=1))
    calling = asyncio.create_task(instance.call("tools/call", {}, timeout=1))
    await asyncio.sleep(1)
    instance.expire(asyncio.get_running_loop().time())
    failed = await asyncio.gather(checking, calling, return_exceptions=True)
    assert [error.code for error in failed] == [CALL_TIMED_OUT] * 2
    assert listener.failures == [("did not answer in time", False)]


async def test_answers_are_told_while_somebody_watches():
    instance, _, listener = await start()
    await call(instance)
    assert listener.answers == 0
    instance.watched = True
    await call(instance)
    assert listener.answers == 1


async def test_each_slow_call_is_told_once_answered_or_not():
    instance, link, listener = await start()
    instance.rules = CallRules(slow_call=10)
    link.hang()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    calls = []
    for second in range(31):
        if second in (2, 3, 15):
            calls.append(asyncio.create_task(instance.call("tools/call", {}, timeout=100)))
        if second == 2:
            calls.append(asyncio.create_task(instance.ping(timeout=100)))
        await asyncio.sleep(1)
        instance.expire(begun + second + 1)
        if second == 12:
            assert listener.slow == [1], "the first one, and no check"
    assert listener.slow == [1, 1, 1]
    link.go_on()
    await asyncio.gather(*calls)
    instance.expire(loop.time() + 100)
    assert listener.slow == [1, 1, 1]


async def test_a_call_that_is_answered_before_it_is_slow_is_never_told():
    instance, _, listener = await start()
    instance.rules = CallRules(slow_call=10)
    for second in range(40):
        await call(instance)
        await asyncio.sleep(1)
        instance.expire(float(second))
    assert listener.slow == []


async def test_what_looks_hung_tells_its_callers():
    instance, link, _ = await start()
    link.hang()
    told = []
    reply = FutureReply(on_stuck=lambda: told.append("stuck"))
    instance.forward("tools/call", b"{}", reply, deadline=1e9)
    instance.hand_over()
    assert told == ["stuck"]
    assert not reply.future.done(), "the instance may still answer it"
    link.go_on()
    await asyncio.sleep(0)
    await reply.future


async def test_how_busy_its_processes_are_is_a_share_of_what_they_may_use():
    instance, link, _ = await start()
    instance._memory_limit = 1000
    instance.sample(2.0, 0.5)
    assert (instance.cpu_cores, instance.pressure) == (None, 0.0), "nothing is known"
    link.cpu_seconds, link.memory_bytes = 10.0, 100
    instance.sample(float("inf"), 0.5)
    assert instance.cpu_cores is None, "one look says nothing"
    link.cpu_seconds = 10.4
    instance.sample(2.0, 0.5)
    assert instance.cpu_cores == pytest.approx(0.2)
    assert instance.pressure == pytest.approx(0.4)
    link.memory_bytes = 900
    instance.sample(2.0, 0.5)
    assert instance.cpu_cores == pytest.approx(0.1), "the mean of now and before"
    assert instance.pressure == pytest.approx(0.9), "memory is tighter now"
    link.cpu_seconds = 0.0
    instance.sample(2.0, 0.5)
    assert instance.cpu_cores >= 0, "a tree that lost a process has used less"
