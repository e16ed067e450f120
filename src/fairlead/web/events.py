"""`/api/events`: the events as a stream (SSE) or a page; and what describes the live connection.

The stream is what `/ws` has, for whoever only listens: the events after a number, then what happens. Each
bears its number as SSE's `id`, so that a client which reconnects by itself misses nothing.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from fairlead.events.feed import Feed, GoneError
from fairlead.model.access import Caller
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.ports import StoreAwayError
from fairlead.web.asyncapi import asyncapi_document
from fairlead.web.event_stream import EventStream
from fairlead.web.examples import SINCE, shown
from fairlead.web.live import Live
from fairlead.web.live_filter import Filter, Wanted
from fairlead.web.live_following import gone_problem, problem_of, read_page
from fairlead.web.problems import FieldError, documented, problem_response, validation_problem
from fairlead.web.strict import Id, StrictRoute

MAX_PAGE: Final = 1000
_SCANNED: Final = 10  # parts of the log that are looked through for one page of what fits
_CHUNK: Final = 200  # events of such a part, at least
_EVENT_ID: Final = re.compile(r"(?:([0-9a-f-]{1,64}):)?([0-9]{1,18})")  # as the stream gives them

_EXAMPLE: Final = StoredEvent(
    42,
    Event(
        EventType.SERVER_HEALTH_CHANGED,
        "/orchestrator/n1",
        "filesystem",
        {"server": "filesystem", "before": "starting", "state": "ready", "reason": "14 tools"},
        SINCE,
        "8f14e45fceea4f0e9b6f6f3c2f0a7d11",
    ),
)
_EPOCH: Final = "5bd1a3c09e7f4412-00000001"
_STREAM: Final = (
    f"id: {_EPOCH}:42\nevent: server-health-changed\ndata: "
    + msgspec.json.encode(_EXAMPLE.document()).decode()
    + "\n\n"
)
_BAD_LAST_EVENT_ID: Final = validation_problem(
    [FieldError(where="header.Last-Event-ID", what="it is no event's id", how="send the last event's id")]
)
_UPGRADE: Final = Problem(
    "upgrade-required",
    "A WebSocket is served here",
    "Open it with ws:// or wss://; /asyncapi.json describes its messages. /api/events has the events alone.",
    426,
    Fault.CLIENT,
)


class EventPage(BaseModel):
    """Events in their order."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    events: list[dict[str, Any]] = Field(description="CloudEvents; /asyncapi.json has their data by type")
    next: int = Field(description="`since` for the next page")
    latest: int | None = Field(description="The number of the latest event; null: not known just now")
    epoch: str = Field(description="The history that the numbers are of; empty: not known just now")


Types = Annotated[list[EventType] | None, Query(description="Only these types", max_length=64)]
Subjects = Annotated[
    list[Annotated[str, Field(max_length=128)]] | None,
    Query(description="Only events about these; * stands for anything", max_length=64),
]
Servers = Annotated[list[Id] | None, Query(description="Only events of these servers", max_length=64)]
Since = Annotated[
    int | None,
    Query(ge=0, le=2**53, description="Those after this number; Last-Event-ID goes before it (stream only)"),
]
Epoch = Annotated[
    str | None,
    Query(
        max_length=64,
        pattern="^[0-9a-f-]*$",
        description="Of which history `since` is, as the page had it; of another one: 410",
    ),
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Of a page")]


def events_router(live: Live) -> APIRouter:
    router = APIRouter(tags=["events"], route_class=StrictRoute)
    example = EventPage(events=[_EXAMPLE.document()], next=42, latest=42, epoch=_EPOCH).model_dump(
        by_alias=True
    )

    @router.get(
        "/api/events",
        summary="Events, as a page or a stream",
        response_model=EventPage,
        responses={
            200: {
                "content": {
                    **shown(page=example)["content"],
                    "text/event-stream": {
                        "schema": {"type": "string"},
                        "examples": {"event": {"value": _STREAM}},
                    },
                }
            },
            **documented(gone_problem(GoneError(1042)), _BAD_LAST_EVENT_ID),
        },
    )
    async def list_events(
        request: Request,
        *,
        type: Types = None,  # noqa: A002 - the parameter's own name
        subject: Subjects = None,
        server: Servers = None,
        since: Since = None,
        epoch: Epoch = None,
        limit: Limit = 100,
    ) -> Any:
        """With `Accept: text/event-stream` a stream (SSE) that goes on; else one page.

        A page begins after `since`, or has the last `limit` numbers; it may hold fewer events than that
        while more follow, where filters are given: go on with `next`.
        """
        chosen = Filter(type, subject, server)
        caller: Caller = request.state.caller
        wanted = chosen.wanted(caller)
        if "text/event-stream" not in request.headers.get("accept", ""):
            return await _page(live.feed, wanted, since=since, epoch=epoch, limit=limit)
        since, epoch = _last_event_id(request) or (since, epoch)
        return EventStream(live, caller, since, wanted, epoch=epoch)

    @router.get(
        "/asyncapi.json",
        summary="The live connection, described",
        responses={200: shown(document={"asyncapi": "3.0.0", "channels": {"live": {"address": "/ws"}}})},
    )
    async def get_asyncapi() -> dict[str, Any]:
        """The AsyncAPI document of the WebSocket `/ws` and of the stream `/api/events`."""
        return asyncapi_document(live.table.service, live.table.actions)

    @router.get("/ws", include_in_schema=False)
    async def get_live(request: Request) -> Response:
        headers = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))
        return problem_response(_UPGRADE, request.state.request_id, headers)

    return router


def _last_event_id(request: Request) -> tuple[int, str | None] | None:
    """Where to begin: a client that reconnects sends the last id, and the URL that it began with."""
    given = request.headers.get("last-event-id", "").strip()
    if not given:
        return None
    found = _EVENT_ID.fullmatch(given)
    if found is None:
        raise ProblemError(_BAD_LAST_EVENT_ID)
    return int(found[2]), found[1]


async def _page(feed: Feed, wanted: Wanted, *, since: int | None, epoch: str | None, limit: int) -> EventPage:
    after = since
    if after is None:
        after, epoch = await _before_last(feed, limit), None
    found: list[dict[str, Any]] = []
    chunk = max(limit, _CHUNK)
    for _ in range(_SCANNED):
        events = await read_page(feed, after, chunk, epoch=epoch)
        for stored in events:
            after = stored.sequence
            if wanted(stored):
                found.append(stored.document())
            if len(found) == limit:
                break
        if len(found) == limit or len(events) < chunk:
            break
    return EventPage(events=found, next=after, latest=feed.latest, epoch=feed.epoch)


async def _before_last(feed: Feed, count: int) -> int:
    """The number before the last `count` that are kept."""
    after = max(0, (feed.latest or 0) - count)
    try:
        await feed.page(after, 1)
    except GoneError as gone:
        return gone.oldest - 1
    except StoreAwayError as away:
        raise ProblemError(problem_of(away)) from None
    return after
