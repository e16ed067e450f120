"""What clients can ask of one service over its live connection: its commands and its snapshots.

Each is a message model (whose `name` or `what` is a literal) and the route of REST whose permission it takes;
what it does is said in the `Table` that a service brings. All else of the live connection is the same for all
services.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import ValidationError

from fairlead.model.access import Caller
from fairlead.model.errors import Problem, ProblemError
from fairlead.web.live_messages import ClientMessage, CommandMessage, Ping, Subscribe, Unsubscribe
from fairlead.web.problems import FieldError, field_error, validation_problem
from fairlead.web.strict import decode_json

_PLAIN: Final = (Subscribe, Unsubscribe, Ping)
_MAX_ID: Final = 128


@dataclass(frozen=True, slots=True)
class Action:
    """One command or snapshot. `route` is (method, path) of REST; `result` is the model of what it gives.

    A message that is about one server has a member `server`.
    """

    message: type[ClientMessage]
    route: tuple[str, str]
    result: Any

    @property
    def name(self) -> str:
        fields = self.message.model_fields
        word = fields["name" if issubclass(self.message, CommandMessage) else "what"].annotation
        return str(get_args(word)[0])

    @property
    def is_command(self) -> bool:
        return issubclass(self.message, CommandMessage)


Run = Callable[[Any, Caller], Awaitable[Any]]
"""Does what a message asks for. Raises ProblemError."""


class BadMessageError(Exception):
    """A message that cannot be understood; `id` is its own, where it has one that can be told."""

    def __init__(self, problem: Problem, message_id: str | None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.id = message_id


class Table:
    """The actions of a service, what they do, and the reading of messages that ask for them."""

    def __init__(self, service: str, actions: Mapping[Action, Run]) -> None:
        self.service = service
        self.actions = tuple(actions)
        self._runs = actions
        self._by_message = {action.message: action for action in self.actions}
        self._models: dict[str, tuple[str, Mapping[str, type[ClientMessage]]]] = {
            "command": ("name", {a.name: a.message for a in self.actions if a.is_command}),
            "get": ("what", {a.name: a.message for a in self.actions if not a.is_command}),
        }
        self._plain = {str(get_args(model.model_fields["type"].annotation)[0]): model for model in _PLAIN}

    def __repr__(self) -> str:
        return f"Table({self.service!r}, {[action.name for action in self.actions]})"

    def action(self, message: ClientMessage) -> Action | None:
        """What a message asks for; None for one that is the connection's own."""
        return self._by_message.get(type(message))

    async def run(self, action: Action, message: ClientMessage, caller: Caller) -> Any:
        """What comes of it. Raises ProblemError."""
        return await self._runs[action](message, caller)

    def decode(self, text: str) -> ClientMessage:
        """One message as it came. Raises BadMessageError."""
        try:
            whole = decode_json(text.encode())
        except json.JSONDecodeError as error:
            raise BadMessageError(_invalid("message", "it is not JSON", error.msg), None) from None
        if not isinstance(whole, dict):
            raise BadMessageError(_invalid("message", "it is not an object", "send one JSON object"), None)
        message_id = whole.get("id")
        shown = message_id if isinstance(message_id, str) and 0 < len(message_id) <= _MAX_ID else None
        try:
            return self._model(whole).model_validate(whole)
        except ProblemError as unknown:
            raise BadMessageError(unknown.problem, shown) from None
        except ValidationError as error:
            errors = [
                field_error(dict(each)) for each in error.errors(include_input=False, include_url=False)
            ]
            raise BadMessageError(validation_problem(errors), shown) from None

    def _model(self, whole: Mapping[str, Any]) -> type[ClientMessage]:
        kind = whole.get("type")
        if isinstance(kind, str) and kind in self._plain:
            return self._plain[kind]
        if isinstance(kind, str) and kind in self._models:
            member, models = self._models[kind]
            return _chosen(whole.get(member), member, models)
        return _chosen(None, "type", {**self._plain, **dict.fromkeys(self._models, ClientMessage)})


def _chosen(word: Any, member: str, models: Mapping[str, type[ClientMessage]]) -> type[ClientMessage]:
    """The model that a word names. Raises ProblemError that says which words there are."""
    if isinstance(word, str) and word in models:
        return models[word]
    what = "it is missing or unknown"
    raise ProblemError(_invalid(member, what, f"use one of {', '.join(sorted(models))}"))


def _invalid(where: str, what: str, how: str) -> Problem:
    return validation_problem([FieldError(where=where, what=what, how=how)])
