"""A client on the last official Python SDK that speaks the legacy era only (PyPI `mcp` 1.30)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import httpx
from answers import elicited, rooted, sampled
from conversation import Notifications, converse
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl, BaseModel


def plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


class Client:
    def __init__(self, session: ClientSession, opened: types.InitializeResult, told: Notifications) -> None:
        self.session = session
        self.seen = {
            "version": opened.protocolVersion,
            "server": plain(opened.serverInfo),
            "capabilities": plain(opened.capabilities),
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
            "tools": (self.session.list_tools, "tools"),
            "prompts": (self.session.list_prompts, "prompts"),
            "resources": (self.session.list_resources, "resources"),
            "templates": (self.session.list_resource_templates, "resourceTemplates"),
        }[what]
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await ask(params=types.PaginatedRequestParams(cursor=cursor))
            items += plain(page)[field]
            cursor = page.nextCursor
            if cursor is None:
                return items

    async def call(self, name: str, arguments: dict[str, Any], cancel_after: int = 0) -> dict[str, Any]:
        progress: list[list[float | None]] = []
        with anyio.CancelScope() as scope:
            # This SDK neither says a request's id nor cancels by itself: the id is its running number.
            request_id = self.session._request_id

            async def progressed(done: float, total: float | None, _message: str | None) -> None:
                progress.append([done, total])
                if len(progress) == cancel_after:
                    params = types.CancelledNotificationParams(requestId=request_id, reason="enough")
                    await self.session.send_notification(
                        types.ClientNotification(types.CancelledNotification(params=params))
                    )
                    scope.cancel()

            result = await self.session.call_tool(name, arguments, progress_callback=progressed)
            return {**plain(result), "progress": progress}
        return {"cancelled": True, "progress": progress}

    async def read(self, uri: str) -> dict[str, Any]:
        return plain(await self.session.read_resource(AnyUrl(uri)))

    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> dict[str, Any]:
        return plain(await self.session.get_prompt(name, arguments))

    async def complete(
        self, ref: dict[str, Any], argument: dict[str, str], context: dict[str, str] | None = None
    ) -> list[str]:
        kind = types.PromptReference if ref["type"] == "ref/prompt" else types.ResourceTemplateReference
        result = await self.session.complete(kind.model_validate(ref), argument, context)
        return result.completion.values

    async def ping(self) -> dict[str, Any]:
        return plain(await self.session.send_ping())

    async def listen(self) -> None:
        """Nothing to do: the SDK opened the legacy era's event stream when it connected."""

    async def subscribe(self, uri: str) -> None:
        await self.session.subscribe_resource(AnyUrl(uri))

    async def unsubscribe(self, uri: str) -> None:
        await self.session.unsubscribe_resource(AnyUrl(uri))

    async def log_level(self, level: types.LoggingLevel) -> None:
        await self.session.set_logging_level(level)


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
    assert mode == "legacy"
    told = Notifications()

    async def hear(message: Any) -> None:
        if isinstance(message, types.ServerNotification):
            note = plain(message)
            await told.add(note["method"], note.get("params"))

    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=60) as http,
        streamable_http_client(url, http_client=http) as (reading, writing, _),
        ClientSession(reading, writing, message_handler=hear, **callbacks(answers_as)) as session,
    ):
        yield Client(session, await session.initialize(), told)


if __name__ == "__main__":
    converse(connect)
