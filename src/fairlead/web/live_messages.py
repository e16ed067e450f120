"""The messages of the live connection `/ws`, as JSON objects told apart by their `type`.

What clients send is read strictly: no unknown members, no conversions. Commands and what can be looked at
are the service's own: see `live_table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fairlead.model.events import EventType
from fairlead.web.problems import ProblemDocument
from fairlead.web.strict import Id, StrictBody

PROTOCOL: Final = "fairlead.v1"
"""The WebSocket subprotocol, and the version of these messages."""

LAST_WORD: Final = 1.0  # s that saying goodbye may take
PATIENCE: Final = 5.0  # s in which a client must take a message

MessageId = Annotated[
    str, Field(min_length=1, max_length=128, description="The client's own; answers to the message bear it")
]
Sequence = Annotated[int, Field(ge=0, le=2**53, description="The number of an event; 0 comes before all")]
Subject = Annotated[str, Field(min_length=1, max_length=128)]
Type = Annotated[EventType, Field(strict=False)]  # as text
Types = Annotated[list[Type] | None, Field(min_length=1, max_length=64, description="Only these types")]
Subjects = Annotated[
    list[Subject] | None, Field(min_length=1, max_length=64, description="Only events about these; * for any")
]
Servers = Annotated[
    list[Id] | None, Field(min_length=1, max_length=64, description="Only events of these servers")
]


Epoch = Annotated[
    str | None,
    Field(
        max_length=64,
        pattern="^[0-9a-f-]*$",
        description="Of which history `since` is: the `welcome` had it. Of another one: `events-gone`",
    ),
]


class ClientMessage(StrictBody):
    """Base of what clients send: a message with its sender's id for it."""

    id: MessageId


class Subscribe(ClientMessage):
    """Follow events: those after `since`, then what happens; without `since`, what happens from now on.

    `id` names the subscription. All filters that are given must fit. A `result` comes first.
    """

    type: Literal["subscribe"]
    types: Types = None
    subjects: Subjects = None
    servers: Servers = None
    since: Sequence | None = None
    epoch: Epoch = None


class Unsubscribe(ClientMessage):
    """End a subscription. No event of it comes after the `result`."""

    type: Literal["unsubscribe"]
    subscription: MessageId


class Ping(ClientMessage):
    """Ask for a `pong`. Browsers cannot send the protocol's own pings."""

    type: Literal["ping"]


class CommandMessage(ClientMessage):
    """Base of the commands: `name` says which, and its own members say with what."""

    type: Literal["command"]


class GetMessage(ClientMessage):
    """Base of the snapshots: `what` says of what."""

    type: Literal["get"]


class _ServerMessage(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Welcome(_ServerMessage):
    """The first message of a connection."""

    type: Literal["welcome"] = "welcome"
    protocol: Literal["fairlead.v1"] = PROTOCOL
    service: str = Field(description="orchestrator, or gitops")
    node: str = Field(description="Which of its processes this is")
    sequence: int | None = Field(description="The latest event; null while the store has not been reached")
    epoch: str = Field(description="The history that the numbers are of; empty while it is not known")
    principal: str
    role: str


class EventMessage(_ServerMessage):
    """An event of a subscription, in their order, each once."""

    type: Literal["event"] = "event"
    subscription: str
    event: dict[str, Any] = Field(description="A CloudEvent; its `sequence` is where to resume")


class Result(_ServerMessage):
    """What was asked for is done."""

    type: Literal["result"] = "result"
    id: str
    sequence: int | None = Field(
        default=None,
        description="Of `subscribe`: what comes is after it. Of `get`: `since` for all that changes then",
    )
    result: Any = Field(default=None, description="What the command or the snapshot gives")


class ErrorMessage(_ServerMessage):
    """A message was refused, or a subscription has ended. `id` is the message's, where it has one."""

    type: Literal["error"] = "error"
    id: str | None = None
    problem: ProblemDocument


class Pong(_ServerMessage):
    type: Literal["pong"] = "pong"
    id: str
    sequence: int | None = Field(description="The latest event")


class Leaving(_ServerMessage):
    """The last message: the service closes the connection."""

    resume_from: int | None = Field(
        description="`since` with which nothing is missed: the least of the subscriptions'; null: none"
    )
    subscriptions: dict[str, int] = Field(description="The same for each subscription")


class Slow(Leaving):
    """The client does not keep up. Code 4008 follows."""

    type: Literal["slow"] = "slow"


class Goodbye(Leaving):
    """The service stops (code 1001 follows), or the credential is not good any more (code 4001)."""

    type: Literal["goodbye"] = "goodbye"
    reason: Literal["stopping", "credential"]


Reason = Literal["stopping", "credential", "slow", "gone"]
"""Why a reader leaves; `gone`: by itself."""


def leaving(reason: Reason, resume: Mapping[str, int]) -> Slow | Goodbye:
    """The last word to a reader; `resume`: how far each of its subscriptions has got."""
    least = min(resume.values(), default=None)
    if reason == "slow":
        return Slow(resume_from=least, subscriptions=dict(resume))
    why: Literal["stopping", "credential"] = "credential" if reason == "credential" else "stopping"
    return Goodbye(resume_from=least, subscriptions=dict(resume), reason=why)


SERVER_MESSAGES: Final = (Welcome, EventMessage, Result, ErrorMessage, Pong, Slow, Goodbye)
