"""What a client can be asked by a server: its capability profile.

A legacy server is told once, in `initialize`, and offers by it (more tools, say), so instances are equal only
for clients of one profile. Everything that a server could not know is left out, so that there are few: two
clients that can be asked the same have the same profile.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fairlead.mcp.errors import INVALID_PARAMS, McpError
from fairlead.mcp.messages import decode_any, encode_json

SAMPLING: Final = "sampling/createMessage"
ELICITATION: Final = "elicitation/create"
ROOTS: Final = "roots/list"
CAPABILITY_OF: Final = {SAMPLING: "sampling", ELICITATION: "elicitation", ROOTS: "roots"}
"""The capability that each request to a client needs."""
MAX_KNOWN: Final = 4096  # bytes that are remembered with what they mean: clients say the same again and again


@dataclass(frozen=True, slots=True)
class Profile:
    """Equal profiles have equal keys."""

    key: str = ""  # "elicitation.form,sampling", say; "" for who can be asked nothing
    capabilities: bytes = b"{}"  # as `initialize` tells them, JSON

    def __bool__(self) -> bool:
        return bool(self.key)

    def __str__(self) -> str:
        return self.key or "no-requests"

    def can(self, method: str, params: Any = None) -> bool:
        """Whether the client can be asked this; `params` are the request's, decoded."""
        capability = CAPABILITY_OF.get(method)
        if capability is None:
            return False
        if capability == "elicitation":
            url = isinstance(params, dict) and params.get("mode") == "url"
            return ("elicitation.url" if url else "elicitation.form") in self.key.split(",")
        return capability in self.key.split(",")

    def only(self, capabilities: Collection[str]) -> Profile:
        """What is left of it where no more than these may be asked."""
        kept = tuple(name for name in self.key.split(",") if name.partition(".")[0] in capabilities)
        return _of(kept)


NOBODY: Final = Profile()


def read_profile(raw: bytes) -> Profile:
    """The profile of a client's capabilities, an object as JSON. Raises McpError when it is none."""
    return _read_cached(raw) if len(raw) <= MAX_KNOWN else _read(raw)


def _read(raw: bytes) -> Profile:
    try:
        told = decode_any(raw)
    except McpError:
        told = None
    if not isinstance(told, dict):
        raise McpError(INVALID_PARAMS, "the client's capabilities must be an object")
    names = []
    elicitation = told.get("elicitation")
    if isinstance(elicitation, dict):  # one that says nothing of modes is from before there were any
        modes = [mode for mode in ("form", "url") if isinstance(elicitation.get(mode), dict)] or ["form"]
        names += [f"elicitation.{mode}" for mode in modes]
    if isinstance(told.get("roots"), dict):
        names.append("roots")
    sampling = told.get("sampling")
    if isinstance(sampling, dict):
        names.append("sampling")
        names += [f"sampling.{part}" for part in ("context", "tools") if isinstance(sampling.get(part), dict)]
    return _of(tuple(names))


_read_cached = lru_cache(maxsize=512)(_read)


@lru_cache(maxsize=128)
def _of(names: tuple[str, ...]) -> Profile:
    if not names or not names[0]:
        return NOBODY
    told: dict[str, dict[str, Any]] = {}
    for name in names:
        capability, _, feature = name.partition(".")
        features = told.setdefault(capability, {})
        if feature:
            features[feature] = {}
    if "roots" in told:
        told["roots"] = {"listChanged": True}
    return Profile(",".join(names), encode_json(told))
