"""A tool's contract: what a caller relies on, as one digest. Two tools with the same digest are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

PARTS: Final = ("name", "description", "inputSchema", "outputSchema", "annotations")


def tool_digest(tool: bytes) -> str:
    """Hex digest of a tool's contract; `tool` is the JSON object of a list.

    The order of keys and white space make no odds, unless the tool cannot be read.
    """
    try:
        members: dict[str, Any] = msgspec.json.decode(tool, type=dict[str, Any])
        parts = {name: members[name] for name in PARTS if name in members}
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):  # msgspec.DecodeError, what is not UTF-8, numbers beyond reason
        return hashlib.sha256(b"unreadable\n" + tool).hexdigest()
    return hashlib.sha256(text.encode()).hexdigest()


def contract_digest(tools: Iterable[bytes]) -> str:
    """Hex digest of all tools of a server; their order makes no odds."""
    return hashlib.sha256("\n".join(sorted(map(tool_digest, tools))).encode()).hexdigest()


def annotations_of(tool: bytes) -> object:
    """A tool's annotations as data; None when it has none that can be read."""
    try:
        return msgspec.json.decode(tool, type=dict[str, Any]).get("annotations")
    except (ValueError, RecursionError):
        return None
