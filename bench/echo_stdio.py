"""The echo backend over stdio: an MCP server of the legacy era with one tool, as fast as Python can.

It reads big chunks and answers each in one write. A file of its own, run by its path: gateways start it with
an environment and a folder of their choosing.
"""

from __future__ import annotations

import json
import os

import msgspec

PROTOCOL = "2025-11-25"
CHUNK = 1 << 16  # what a pipe holds; a buffer over 128 KiB would be mapped anew at each read


class Arguments(msgspec.Struct):
    text: msgspec.Raw = msgspec.Raw(b'""')


class Params(msgspec.Struct):
    arguments: Arguments = msgspec.field(default_factory=Arguments)


class Message(msgspec.Struct):
    """As much of a JSON-RPC message as an echo needs."""

    method: str = ""
    id: msgspec.Raw = msgspec.Raw(b"")  # empty: a notification
    params: Params | None = None


_TOOL = {
    "name": "echo",
    "description": "Answers with the text it gets",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "annotations": {"readOnlyHint": True},
}
_RESULTS = {
    "initialize": {
        "protocolVersion": PROTOCOL,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "echo", "version": "1"},
    },
    "ping": {},
    "tools/list": {"tools": [_TOOL]},
}
_FIXED = {method: json.dumps(result, separators=(",", ":")).encode() for method, result in _RESULTS.items()}
_decode = msgspec.json.Decoder(Message).decode


def answer(body: bytes) -> bytes | None:
    """The answer to one message, without a newline; None for a notification."""
    message = _decode(body)
    if not message.id:
        return None
    if message.method == "tools/call" and message.params is not None:
        return (
            b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"type":"text","text":%b}],"isError":false}}'
            % (
                message.id,
                message.params.arguments.text,
            )
        )
    if (fixed := _FIXED.get(message.method)) is not None:
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (message.id, fixed)
    return b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32601,"message":"Method not found"}}' % message.id


def serve(source: int, sink: int) -> None:
    """Answer the messages from file descriptor `source` on `sink` until it ends."""
    rest = b""
    while chunk := os.read(source, CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        replies = [reply for line in lines if line and (reply := answer(line)) is not None]
        if replies:
            replies.append(b"")
            _write_all(sink, b"\n".join(replies))


def _write_all(sink: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]


if __name__ == "__main__":
    serve(0, 1)
