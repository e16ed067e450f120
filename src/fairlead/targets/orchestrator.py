"""What the fleet target knows of HTTP and WebSockets: asking an orchestrator, and hearing its events.

Each request has a connection of its own: there are few, and one that was kept open through a restart of the
other side would fail the first of them. Where the orchestrator is, is asked anew each time: one of this
machine has another port after it was started again.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from fairlead.kit.fetch import Answer, FetchError, Reach, fetch
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.events import EventType
from fairlead.ports.gitops import ChangedMeanwhileError, TargetAwayError

READING: Final = 15.0  # s
CHANGING: Final = 900.0  # s: new versions of servers are installed, and come up, before the answer
LARGEST: Final = 32 * 1024 * 1024  # bytes of an answer
HANDSHAKE: Final = 10.0  # s
HEARD: Final = (
    EventType.CONFIG_CHANGED,
    EventType.SERVER_HEALTH_CHANGED,
    EventType.INSTANCE_LOST,
    EventType.INSTANCE_READY,
    EventType.CONTRACT_CHANGED,
)
_AGAIN: Final = frozenset({408, 425, 429})  # statuses that pass, beside those of the server's own faults
_MEANWHILE: Final = "changed-meanwhile"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an orchestrator answers. `tls`: whom to trust, None for whom the system does."""

    url: str
    token: str = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


Locate = Callable[[], Place]
"""Raises TargetAwayError where none runs, ProblemError where its token cannot be had. It must be quick."""


async def ask(
    place: Place, method: str, path: str, *, body: Any = None, if_match: str | None = None
) -> tuple[Any, Mapping[str, str]]:
    """The answer's JSON and headers.

    Raises TargetAwayError for what passes, ChangedMeanwhileError when `if_match` does not hold any more, and
    ProblemError for what was refused.
    """
    headers = {"Authorization": f"Bearer {place.token}"}
    content = b""
    if if_match is not None:
        headers["If-Match"] = if_match
    if body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(body).encode()
    try:
        answer = await fetch(
            place.url.rstrip("/") + path,
            method=method,
            headers=headers,
            body=content,
            timeout=READING if method == "GET" else CHANGING,
            reach=Reach(limit=LARGEST, plain=True, tls=place.tls),
        )
    except FetchError as away:
        raise TargetAwayError(f"the orchestrator cannot be reached: {away}") from None
    return _taken(place, answer), answer.headers


def _taken(place: Place, answer: Answer) -> Any:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    if answer.status == 200 and isinstance(body, dict):
        return body
    problem = _problem(place, answer.status, body if isinstance(body, dict) else {})
    told = f"{problem.title}: {problem.detail}"
    if answer.status == 412 or problem.code == _MEANWHILE:
        raise ChangedMeanwhileError(told)
    if answer.status >= 500 or answer.status in _AGAIN:
        raise TargetAwayError(f"the orchestrator at {place.url} answered {answer.status}: {told}")
    raise ProblemError(problem)


def _problem(place: Place, status: int, document: Mapping[str, Any]) -> Problem:
    """What the orchestrator told, as our own; or that it is none."""
    title, detail = document.get("title"), document.get("detail")
    if not isinstance(title, str) or not isinstance(detail, str):
        detail = (
            f"{place.url} answered with status {status}, as no orchestrator does: mend the target's `url`"
        )
        return Problem("no-orchestrator", "That is no orchestrator", detail, 502, Fault.UPSTREAM)
    if status in {401, 403}:
        detail = f"{detail} (mend the target's `token`; it must be an operator's of {place.url})"
    code = str(document.get("type", "")).rpartition(":")[2]
    problems = document.get("problems")
    extra = {"problems": problems} if isinstance(problems, list) else {}
    return Problem(code, title, detail, status, Fault.CLIENT, extra=extra)


@asynccontextmanager
async def hearing(place: Place) -> AsyncIterator[ClientConnection]:
    """A connection on which each message is about an event of interest.

    Raises what `websockets` raises, OSError among it; ValueError for an answer that is none.
    """
    scheme, _, rest = place.url.rstrip("/").partition("://")
    secure = scheme == "https"
    async with connect(
        f"{'wss' if secure else 'ws'}://{rest}/ws",
        additional_headers={"Authorization": f"Bearer {place.token}"},
        ssl=place.tls if secure else None,
        proxy=None,
        compression=None,
        open_timeout=HANDSHAKE,
    ) as socket:
        await socket.send(json.dumps({"type": "subscribe", "id": "fleet", "types": [*HEARD]}))
        while (message := json.loads(await socket.recv()))["type"] != "result":
            if message["type"] == "error":
                raise ValueError(message["problem"]["detail"])
        yield socket
