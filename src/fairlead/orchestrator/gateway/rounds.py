"""A call of a legacy client to a modern server that needs input: the gateway drives the rounds.

The server's answer names what it wants to know (`input_required`). Each of it is asked of the client as the
legacy era does, with requests on the call's own stream; with all answers the call is sent again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from fairlead.mcp.errors import UPSTREAM_FAILED, McpError
from fairlead.mcp.messages import Incoming, decode_any, decode_members, encode_json, join_members, one_line
from fairlead.mcp.profiles import ELICITATION
from fairlead.orchestrator.replies import error_from_server

MAX_ROUNDS: Final = 32
MAX_QUESTIONS: Final = 32  # in one round
_decode_questions = msgspec.json.Decoder(dict[str, Raw]).decode

Ask = Callable[[str, bytes, Callable[[Incoming], None], Callable[[], bool]], None]
"""Asks the client: method, params as JSON, who gets the answer, whether it is still wanted.

Raises McpError when the client cannot be asked.
"""


class Rounds:
    """Of one call. `send` gets the params of each next request, `fail` what the client refused with."""

    def __init__(
        self, params: bytes, ask: Ask, send: Callable[[bytes], None], fail: Callable[[McpError], None]
    ) -> None:
        self._params = params  # of the call, as it was sent first
        self._ask = ask
        self._send = send
        self._fail = fail
        self._round = 0
        self._state: str | None = None
        self._open: set[str] = set()  # questions that wait for their answers
        self._answers: dict[str, Raw | bytes] = {}

    def __repr__(self) -> str:
        return f"<Rounds {self._round} open={sorted(self._open)}>"

    @property
    def waits(self) -> bool:
        """For the client."""
        return bool(self._open)

    @property
    def number(self) -> int:
        """Of the round that goes on."""
        return self._round

    def next(self, asked: bytes) -> None:
        """The server needs input: its result, as JSON. Raises McpError when the client cannot give it."""
        self._round += 1
        if self._round > MAX_ROUNDS:
            raise McpError(UPSTREAM_FAILED, f"The server still needs input after {MAX_ROUNDS} rounds")
        members = decode_members(asked)
        questions = _questions(members.get("inputRequests"))
        self._state, self._answers, self._open = state_of(members), {}, set(questions)
        if not questions:
            self._go_on()
        for key, (method, params) in questions.items():
            self._ask_one(self._round, key, method, params)

    def _ask_one(self, number: int, key: str, method: str, params: bytes) -> None:
        def wanted() -> bool:
            return number == self._round and key in self._open

        def heard(answer: Incoming) -> None:
            if wanted():
                self._heard(key, method, answer)

        self._ask(method, params, heard, wanted)

    def _heard(self, key: str, method: str, answer: Incoming) -> None:
        self._open.discard(key)
        if (refused := refusal_of(answer)) is not None:
            if method != ELICITATION:  # nothing else has a way to say no
                self._open.clear()
                self._fail(refused)
                return
            self._answers[key] = b'{"action":"cancel"}'
        else:
            self._answers[key] = b"{}" if answer.result is UNSET else answer.result
        if not self._open:
            self._go_on()

    def _go_on(self) -> None:
        members: dict[str, Raw | bytes] = dict(decode_members(self._params))
        if self._answers:
            members["inputResponses"] = join_members(self._answers)
        if self._state is not None:
            members["requestState"] = encode_json(self._state)
        self._send(join_members(members))


def refusal_of(answer: Incoming) -> McpError | None:
    """The error that a client has answered with; `null` is none."""
    if answer.error is UNSET or bytes(answer.error) == b"null":
        return None
    return error_from_server(answer.error)


def state_of(members: dict[str, Raw]) -> str | None:
    """The server's `requestState`, if it gave one. Raises McpError when it is no string."""
    raw = members.get("requestState")
    if raw is None or bytes(raw) == b"null":
        return None
    try:
        state = decode_any(raw)
    except McpError:
        state = None
    if not isinstance(state, str):
        raise McpError(UPSTREAM_FAILED, "The server needs input, and its requestState is no string")
    return state


def _questions(raw: Raw | None) -> dict[str, tuple[str, bytes]]:
    """Key -> method and params of what a server wants to know. Raises McpError when it does not say."""
    if raw is None or bytes(raw) == b"null":
        return {}
    try:
        questions = {key: _question(one) for key, one in _decode_questions(raw).items()}
    except (msgspec.DecodeError, KeyError, McpError):
        raise McpError(UPSTREAM_FAILED, "The server needs input, but does not say what") from None
    if len(questions) > MAX_QUESTIONS:
        raise McpError(UPSTREAM_FAILED, f"The server asks more than {MAX_QUESTIONS} questions at a time")
    return questions


def _question(raw: Raw) -> tuple[str, bytes]:
    members = decode_members(raw)
    method = msgspec.json.decode(members["method"], type=str)
    params = members.get("params", Raw(b"{}"))
    decode_members(params)  # an object, or the client could make nothing of it
    if method == ELICITATION:
        tree: Any = decode_any(params)
        if isinstance(tree, dict) and tree.get("mode") == "url" and "elicitationId" not in tree:
            tree["elicitationId"] = secrets.token_hex(8)  # the legacy era cannot do without
            return method, encode_json(tree)
    return method, one_line(bytes(params))
