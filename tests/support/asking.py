"""Clients that can be asked: they read their streams as they come, and answer what servers want to know."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from support.stack import LEGACY, TOKEN, LegacySession, ModernClient, Stack, events

CAPABILITIES = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": True}}
Answer = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Method and params of a request -> the result, or {"error": ...}."""


def person(name: str) -> Answer:
    """Somebody who always answers with their own name, and what they were asked."""

    def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "roots/list":
            return {"roots": [{"uri": f"file:///home/{name}", "name": name}]}
        if method == "sampling/createMessage":
            text = f"{name} on {params['messages'][0]['content']['text']}"
            return {"role": "assistant", "model": "m", "content": {"type": "text", "text": text}}
        if params.get("mode") == "url":
            return {"action": "accept"}
        return {"action": "accept", "content": {"answer": f"{name} on {params['message']}"}}

    return answer


class Asked(LegacySession):
    """A legacy client with capabilities. `heard` has all notifications that came on streams of calls."""

    def __init__(self, stack: Stack, path: str, token: str, answer: Answer, capabilities: Any) -> None:
        super().__init__(stack, path, token)
        self.answer = answer
        self.capabilities = capabilities
        self.heard: list[dict[str, Any]] = []
        self.asked: list[str] = []

    async def initialize(self) -> None:
        hello = {
            "protocolVersion": LEGACY,
            "capabilities": self.capabilities,
            "clientInfo": {"name": "t", "version": "0"},
        }
        answer = await self.post(self.message("initialize", hello))
        assert answer.status_code == 200, answer.text
        self.about = answer.json()["result"]
        self.headers |= {"Mcp-Session-Id": answer.headers["mcp-session-id"], "MCP-Protocol-Version": LEGACY}
        assert (await self.note("notifications/initialized")).status_code == 202

    async def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        message = self.message(method, params)
        async with self.streaming(message) as messages:
            async for told in messages:
                if "method" not in told:
                    assert told["id"] == message["id"]
                    return told
                if "id" not in told:
                    self.heard.append(told)
                    continue
                self.asked.append(told["method"])
                result = self.answer(told["method"], told.get("params", {}))
                outcome = result if "error" in result else {"result": result}
                assert (await self.post({"jsonrpc": "2.0", "id": told["id"], **outcome})).status_code == 202
        raise AssertionError("the stream ended without an answer")

    @contextlib.asynccontextmanager
    async def streaming(self, message: dict[str, Any]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Post a message; its answer, message by message, as they come."""
        async with self.stack.http.stream("POST", self.url, headers=self.headers, json=message) as answer:

            async def messages() -> AsyncIterator[dict[str, Any]]:
                if answer.headers["content-type"] != "text/event-stream":
                    yield json.loads(await answer.aread())
                    return
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))

            yield messages()


class Inquired(ModernClient):
    """A modern client that answers what is required of it and comes back. `rounds` counts."""

    def __init__(self, stack: Stack, path: str, token: str, answer: Answer, capabilities: Any) -> None:
        super().__init__(stack, path, token)
        self.meta = self.meta | {"io.modelcontextprotocol/clientCapabilities": capabilities}
        self.answer = answer
        self.heard: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.rounds = 0

    async def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        told = await self.once(method, params)
        while told.get("result", {}).get("resultType") == "input_required":
            self.rounds += 1
            told = await self.once(method, self.answered(params or {}, told["result"]))
        return told

    async def once(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request; what it requires is left to the caller."""
        answer = await self.post(self.message(method, params))
        if answer.headers["content-type"] != "text/event-stream":
            return answer.json()
        *told, last = events(answer.text)
        self.heard += told
        return last

    async def round(self, params: dict[str, Any]) -> dict[str, Any]:
        """One round of a tool's call: its result."""
        result: dict[str, Any] = (await self.once("tools/call", params))["result"]
        return result

    def answered(self, params: dict[str, Any], required: dict[str, Any]) -> dict[str, Any]:
        """The params of the next round."""
        questions = required.get("inputRequests", {})
        self.asked += [one["method"] for one in questions.values()]
        answers = {key: self.answer(one["method"], one.get("params", {})) for key, one in questions.items()}
        state = {"requestState": required["requestState"]} if "requestState" in required else {}
        return {**params, "inputResponses": answers, **state}


async def asked(
    stack: Stack,
    era: str,
    name: str,
    *,
    path: str = "/mcp",
    token: str | None = None,
    capabilities: dict[str, Any] | None = None,
) -> Asked | Inquired:
    """A client of an era that answers with its name."""
    kind = Asked if era == "legacy" else Inquired
    client = kind(
        stack, path, token or TOKEN, person(name), CAPABILITIES if capabilities is None else capabilities
    )
    if isinstance(client, Asked):
        await client.initialize()
    return client
