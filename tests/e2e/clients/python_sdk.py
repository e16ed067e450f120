"""A client on the official Python SDK of both eras (PyPI `mcp` 2.x).

`mode` is "legacy", "auto" (probe, then fall back) or a modern version, which is then taken without a probe.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import httpx2
import mcp
import mcp_types as types
from answers import elicited, rooted, sampled
from conversation import Notifications, converse
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel


def plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


class Client:
    def __init__(self, client: mcp.Client, tasks: anyio.abc.TaskGroup, told: Notifications) -> None:
        self.client = client
        self.tasks = tasks
        self.modern = client.protocol_version >= "2026"
        self.meta: Any = None  # goes with every call
        self.subscriptions: dict[str, anyio.CancelScope] = {}
        self.seen = {
            "version": client.protocol_version,
            "server": plain(client.server_info) if client.server_info else None,
            "capabilities": plain(client.server_capabilities),
        }
        self.verbs = {
            "list": self.list_all,
            "call": self.call,
            "read": self.read,
            "prompt": self.prompt,
            "complete": self.complete,
            "ping": self.ping,
            "listen": self.listen,
            "subscribe": self.subscribe,
            "unsubscribe": self.unsubscribe,
            "log_level": self.log_level,
            "told": told.wait_for,
        }

    async def list_all(self, what: str) -> list[dict[str, Any]]:
        ask, field = {
            "tools": (self.client.list_tools, "tools"),
            "prompts": (self.client.list_prompts, "prompts"),
            "resources": (self.client.list_resources, "resources"),
            "templates": (self.client.list_resource_templates, "resourceTemplates"),
        }[what]
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await ask(cursor=cursor)
            items += plain(page)[field]
            cursor = page.next_cursor
            if cursor is None:
                return items

    async def call(self, name: str, arguments: dict[str, Any], cancel_after: int = 0) -> dict[str, Any]:
        progress: list[list[float | None]] = []
        with anyio.CancelScope() as scope:

            async def progressed(done: float, total: float | None, _message: str | None) -> None:
                progress.append([done, total])
                if len(progress) == cancel_after:
                    scope.cancel()

            result = await self.client.call_tool(
                name, arguments, progress_callback=progressed, meta=self.meta
            )
            return {**plain(result), "progress": progress}
        return {"cancelled": True, "progress": progress}

    async def read(self, uri: str) -> dict[str, Any]:
        return plain(await self.client.read_resource(uri))

    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> dict[str, Any]:
        return plain(await self.client.get_prompt(name, arguments))

    async def complete(
        self, ref: dict[str, Any], argument: dict[str, str], context: dict[str, str] | None = None
    ) -> list[str]:
        kind = types.PromptReference if ref["type"] == "ref/prompt" else types.ResourceTemplateReference
        return (await self.client.complete(kind.model_validate(ref), argument, context)).completion.values

    async def ping(self) -> dict[str, Any]:
        return plain(await self.client.send_ping())

    async def listen(self) -> None:
        """Subscribe to list changes; in the legacy era the SDK opened the event stream when it connected."""
        if self.modern:
            changes = ("tools_list_changed", "prompts_list_changed", "resources_list_changed")
            await self.tasks.start(self._listen, dict.fromkeys(changes, True))

    async def _listen(
        self, to: dict[str, Any], *, task_status: anyio.abc.TaskStatus[anyio.CancelScope]
    ) -> None:
        with anyio.CancelScope() as scope:
            async with self.client.listen(**to) as subscription:
                task_status.started(scope)
                async for _ in subscription:
                    pass  # the notification behind it is told to the message handler, too

    async def subscribe(self, uri: str) -> None:
        if self.modern:
            to = {"resource_subscriptions": [uri]}
            self.subscriptions[uri] = await self.tasks.start(self._listen, to)
        else:
            await self.client.subscribe_resource(uri)

    async def unsubscribe(self, uri: str) -> None:
        if self.modern:
            self.subscriptions.pop(uri).cancel()
        else:
            await self.client.unsubscribe_resource(uri)

    async def log_level(self, level: types.LoggingLevel) -> None:
        """In the modern era, a level goes with each call."""
        if self.modern:
            self.meta = {"io.modelcontextprotocol/logLevel": level}
        else:
            await self.client.set_logging_level(level)


async def sample(name: str, _context: Any, params: types.CreateMessageRequestParams) -> Any:
    return types.CreateMessageResult.model_validate(sampled(name, plain(params)))


async def elicit(name: str, _context: Any, params: types.ElicitRequestParams) -> Any:
    return types.ElicitResult.model_validate(elicited(name, plain(params)))


async def list_roots(name: str, _context: Any) -> Any:
    return types.ListRootsResult.model_validate(rooted(name))


def callbacks(name: str | None) -> dict[str, Any]:
    """What answers a server's requests in a client's name; without one, the SDK says it cannot."""
    if name is None:
        return {}
    return {
        "sampling_callback": partial(sample, name),
        "elicitation_callback": partial(elicit, name),
        "list_roots_callback": partial(list_roots, name),
    }


@asynccontextmanager
async def connect(url: str, token: str, mode: str, answers_as: str | None) -> AsyncIterator[Client]:
    told = Notifications()

    async def hear(message: Any) -> None:
        if not isinstance(message, Exception):
            note = plain(message)
            await told.add(note["method"], note.get("params"))

    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        mcp.Client(
            streamable_http_client(url, http_client=http),
            mode=mode,
            message_handler=hear,
            **callbacks(answers_as),
        ) as client,
        anyio.create_task_group() as tasks,
    ):
        yield Client(client, tasks, told)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    converse(connect)
