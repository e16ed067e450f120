"""A tool's contract as the lock file has it: all of it, on one line, with its digest.

The digest alone would show that a tool has changed, but not what. Of an entry whose digest does not fit,
somebody changed one part and not the other, so that what a reviewer reads is not what would be held.
"""

from __future__ import annotations

import json
from typing import Any, Final

from fairlead.core.contracts import Contract
from fairlead.mcp.contracts import PARTS, digest_of

_DIGEST: Final = "digest"
_MEMBERS: Final = {_DIGEST, *PARTS} - {"name"}


class EntryError(ValueError):
    """What is wrong with an entry."""


def entry_of(contract: Contract) -> bytes:
    """JSON on one line; the tool's name is left out, since it is the entry's key."""
    entry = {part: value for part, value in contract.items() if part != "name"}
    entry[_DIGEST] = digest_of(contract)
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def contract_of_entry(tool: str, entry: dict[str, Any]) -> Contract:
    """Raises EntryError."""
    if unknown := sorted(entry.keys() - _MEMBERS):
        msg = f"unknown field `{unknown[0][:100]}`"
        raise EntryError(msg)
    contract = {"name": tool} | {part: entry[part] for part in PARTS if part in entry}
    if digest_of(contract) != entry.get(_DIGEST):
        msg = "its digest is not that of what it says"
        raise EntryError(msg)
    return contract
