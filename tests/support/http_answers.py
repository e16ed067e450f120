"""HTTP answers as they stand on a wire: what a client makes of them so far."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """`messages` are the JSON-RPC messages in it; `last_event_id` is where a stream can be taken up again."""

    status: int = 0  # 0: nothing has come
    headers: dict[str, str] = field(default_factory=dict)
    messages: list[Any] = field(default_factory=list)
    last_event_id: str = ""
    over: bool = False


def read_answer(out: bytes) -> Answer:
    """One answer, whole or still a stream. It must be valid to the byte, and nothing may follow it."""
    if not out:
        return Answer()
    head, blank, body = out.partition(b"\r\n\r\n")
    assert blank
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    headers |= {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    answer = Answer(int(status.split()[1]), headers)
    if "transfer-encoding" not in headers:
        length = int(headers.get("content-length", "0"))
        assert len(body) == length, "one answer"
        answer.over = True
        if body and headers["content-type"] == "application/json":
            answer.messages = [read_json(body)]
        return answer
    assert headers["content-type"] == "text/event-stream"
    data, answer.over = _unchunked(body)
    events = data.decode().split("\n\n")
    assert not events.pop(), "whole events"
    for event in events:
        fields = dict(line.split(": ", 1) for line in event.split("\n") if ": " in line)
        answer.last_event_id = fields.get("id", answer.last_event_id)
        if fields.get("data"):
            answer.messages.append(read_json(fields["data"].encode()))
    return answer


def _unchunked(body: bytes) -> tuple[bytes, bool]:
    data = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        count = int(size, 16)
        data += rest[:count]
        assert rest[count : count + 2] == b"\r\n"
        body = rest[count + 2 :]
        if not count:
            assert not body, "nothing after the end"
            return data, True
    return data, False


def read_json(body: bytes) -> Any:
    """Any JSON; nobody need understand numbers of thousands of digits."""
    return json.loads(body, parse_int=lambda digits: int(digits) if len(digits) < 4000 else digits)
