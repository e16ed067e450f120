"""A tool's contract: what a caller relies on, as one digest. Two tools with the same digest are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from fairlead.core.contracts import Contract
from fairlead.core.schemas import canonical

PARTS: Final[tuple[str, ...]] = ("name", "description", "inputSchema", "outputSchema", "annotations")


def contract_of(tool: bytes) -> dict[str, Any] | None:
    """The parts of a tool that count; `tool` is the JSON object of a list. None when it cannot be read."""
    try:
        members: dict[str, Any] = msgspec.json.decode(tool, type=dict[str, Any])
        parts = {name: members[name] for name in PARTS if name in members}
        canonical(parts)
    except (ValueError, RecursionError):  # msgspec.DecodeError, what is not UTF-8, numbers beyond reason
        return None
    return parts


def digest_of(contract: Contract) -> str:
    """Hex digest of a contract; the order of keys makes no odds. Raises ValueError, RecursionError."""
    return hashlib.sha256(canonical(contract).encode()).hexdigest()


def tool_digest(tool: bytes) -> str:
    """Hex digest of a tool's contract; `tool` is the JSON object of a list.

    The order of keys and white space make no odds, unless the tool cannot be read.
    """
    contract = contract_of(tool)
    if contract is None:
        return hashlib.sha256(b"unreadable\n" + tool).hexdigest()
    return digest_of(contract)


def contract_digest(tools: Iterable[bytes]) -> str:
    """Hex digest of all tools of a server; their order makes no odds."""
    return hashlib.sha256("\n".join(sorted(map(tool_digest, tools))).encode()).hexdigest()


def annotations_of(tool: bytes) -> object:
    """A tool's annotations as data; None when it has none that can be read."""
    try:
        return msgspec.json.decode(tool, type=dict[str, Any]).get("annotations")
    except (ValueError, RecursionError):
        return None
