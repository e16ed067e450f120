"""Trace context: from the client's `_meta` to a span at a real collector, and on to the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fairlead.app.otlp import OtlpTracer
from support.asking import asked
from support.lane_rig import Rig, lane_rig, request
from support.otlp_receiver import OtlpReceiver, ReceivedSpan
from support.scripted import Script, answer, legacy, refuse
from support.stack import light, running

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"
CONTEXT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1", "baggage": "user=ada"}


def modern(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """A modern server with the tool `echo`."""
    if message["method"] == "server/discover":
        about = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
        return [answer(message, **about, resultType="complete", ttlMs=0, cacheScope="private")]
    if message["method"] == "tools/list":
        tools = [{"name": "echo", "inputSchema": {}}]
        return [answer(message, tools=tools, resultType="complete", ttlMs=0, cacheScope="private")]
    return [answer(message, content=[], resultType="complete")] if "id" in message else []


def failing(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """A legacy server whose tool answers with an error."""
    if message.get("method") == "tools/call":
        return [refuse(message, -32602, "no such file")]
    return legacy()(message)


class Client:
    """Of either era, over a lane without a socket."""

    def __init__(self, rig: Rig, era: str) -> None:
        self.rig = rig
        self.era = era

    async def call(self, meta: dict[str, Any]) -> Any:
        return await self.rig.ask(self.era, "tools/call", {"name": "s__echo", "_meta": meta})

    @property
    def sent_meta(self) -> dict[str, Any]:
        """The `_meta` of the last call, as the server got it."""
        calls = [sent for sent in self.rig.link.sent if sent.get("method") == "tools/call"]
        return calls[-1]["params"].get("_meta", {})


@asynccontextmanager
async def traced(monkeypatch: pytest.MonkeyPatch, script: Script) -> AsyncIterator[tuple[Rig, OtlpReceiver]]:
    """A gateway that traces; the spans are there when the block has ended."""
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
        async with lane_rig(script) as rig:
            tracer = rig.gateway.tracer = OtlpTracer("fairlead-orchestrator")
            yield rig, receiver
        tracer.close()


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("script", [legacy(), modern], ids=["legacy-server", "modern-server"])
async def test_a_call_is_a_span_between_the_clients_and_the_servers(monkeypatch, era, script):
    async with traced(monkeypatch, script) as (rig, receiver):
        client = Client(rig, era)
        assert "result" in await client.call({**CONTEXT, "vendor/own": [1]})
        meta = client.sent_meta
    (span,) = receiver.spans
    assert (span.trace_id, span.parent_id, span.state) == (TRACE, PARENT, "vendor=1")
    assert meta["traceparent"] == f"00-{TRACE}-{span.span_id}-01"
    assert (meta["tracestate"], meta["baggage"], meta["vendor/own"]) == ("vendor=1", "user=ada", [1])
    assert (span.name, span.kind, span.service) == ("tools/call s__echo", 2, "fairlead-orchestrator")
    session = span.attributes.pop("mcp.session.id", None)
    assert (session is None) == (era == "modern")
    assert span.attributes == {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2026-07-28" if era == "modern" else "2025-11-25",
        "jsonrpc.request.id": "7",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "s__echo",
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "fairlead.server": "s",
    }
    assert span.status == (0, "")


async def test_an_error_of_the_server_is_one_of_the_span(monkeypatch):
    async with traced(monkeypatch, failing) as (rig, receiver):
        await Client(rig, "legacy").call(CONTEXT)
    (span,) = receiver.spans
    assert span.attributes["error.type"] == span.attributes["rpc.response.status_code"] == "-32602"
    assert span.status == (2, "no such file")


async def test_a_call_that_loses_its_instance_is_an_error(monkeypatch):
    silent = legacy()
    async with traced(monkeypatch, lambda m: [] if m.get("method") == "tools/call" else silent(m)) as (
        rig,
        receiver,
    ):
        lane, _ = rig.connect()
        body = b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"s__echo"}}'
        lane.data_received(request(body, await rig.session()))
        rig.link.lose()
        await rig.settle()
    (span,) = receiver.spans
    assert span.attributes["error.type"] == "-32004"
    assert span.attributes["jsonrpc.request.id"] == "a"
    assert "exited with code 1" in span.status[1]


@pytest.mark.parametrize("meta", [{}, {"traceparent": 5}, {"traceparent": "x", "tracestate": "a=1"}])
async def test_without_context_a_trace_begins_here(monkeypatch, meta):
    async with traced(monkeypatch, legacy()) as (rig, receiver):
        client = Client(rig, "legacy")
        await client.call(meta)
        sent = client.sent_meta
    (span,) = receiver.spans
    assert span.parent_id == ""
    assert list(sent) == ["traceparent"]
    assert sent["traceparent"].startswith(f"00-{span.trace_id}-{span.span_id}-")


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("script", [legacy(), modern], ids=["legacy-server", "modern-server"])
async def test_with_tracing_off_context_passes_through(era, script):
    async with lane_rig(script) as rig:
        client = Client(rig, era)
        await client.call(CONTEXT)
        assert CONTEXT.items() <= client.sent_meta.items()


async def test_the_service_traces_as_its_environment_says(tmp_path, monkeypatch):
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
        async with running(tmp_path, {"light": light()}) as stack:
            session = await stack.session()
            params = {"name": "light__echo", "arguments": {"text": "x"}, "_meta": CONTEXT}
            assert (await session.ask("tools/call", params))["result"]["content"][0]["text"] == "x"
            await session.call("light__fail")
            await session.ask("resources/read", {"uri": "fairlead://light/light://one"})
            await session.ask("prompts/get", {"name": "light__greet", "arguments": {"name": "Ada"}})
        found = {span.name: span for span in receiver.spans}
    tools, prompt = {"tools/call light__echo", "tools/call light__fail"}, "prompts/get light__greet"
    assert set(found) == {*tools, "resources/read", prompt}
    assert found["tools/call light__fail"].attributes["error.type"] == "tool_error"
    assert found["tools/call light__echo"].parent_id == PARENT
    assert found["resources/read"].attributes["mcp.resource.uri"] == "fairlead://light/light://one"
    assert found[prompt].attributes["gen_ai.prompt.name"] == "light__greet"
    assert all(span.service == "fairlead-orchestrator" for span in receiver.spans)


async def test_each_round_of_a_parked_call_is_a_span(tmp_path, monkeypatch):
    def names(spans: list[ReceivedSpan]) -> list[str]:
        return [span.name for span in spans]

    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
        server = light("--asks", clientRequests=["sampling", "elicitation", "roots"])
        async with running(tmp_path, {"old": server}) as stack:
            ada = await asked(stack, "modern", "ada")
            assert await ada.text("old__ask", text="tea") == "ada on tea"
        assert names(receiver.spans) == ["tools/call old__ask"] * 2


async def test_what_others_say_is_cut(monkeypatch):
    long = "x" * 100_000

    def script(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return [refuse(message, -32602, long)] if message.get("method") == "tools/call" else legacy()(message)

    async with traced(monkeypatch, script) as (rig, receiver):
        await rig.ask("legacy", "tools/call", {"name": long}, path="/servers/s/mcp")
    (span,) = receiver.spans
    assert len(span.name) < 600
    assert len(span.status[1]) == len(span.attributes["gen_ai.tool.name"]) == 500
