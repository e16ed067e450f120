"""How names of many servers share one list: prefixes for tools and prompts, a wrapper for URIs."""

from __future__ import annotations

import hashlib
import re
from typing import Final

SEPARATOR: Final = "__"
MAX_NAME: Final = 64  # characters; what clients accept
_HASH: Final = 8  # hexadecimal digits
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")
URI_SCHEME: Final = "fairlead://"
_BOUNDARY: Final = re.compile("[/?#]")
_DEEPEST: Final = 64  # parts of a URI that are looked at
_LONGEST: Final = 8192  # characters of a URI whose parts are looked at: a server may say anything


def exposed_name(server: str, name: str) -> str:
    """The name under which a server's tool or prompt stands in the merged list: `server__name`.

    Characters that clients refuse become `_`; what had to be changed or is too long gets a hash of the
    whole, so that two names never meet and the result stays the same from run to run.
    """
    full = f"{server}{SEPARATOR}{name}"
    safe = _UNSAFE.sub("_", full)
    if safe == full and len(safe) <= MAX_NAME:
        return safe
    digest = hashlib.sha256(full.encode(errors="surrogatepass")).hexdigest()[:_HASH]
    return f"{safe[: MAX_NAME - _HASH - 1]}-{digest}"


def wrap_uri(server: str, uri: str) -> str:
    """A server's URI (or URI template) as the merged endpoint shows it."""
    return f"{URI_SCHEME}{server}/{uri}"


def unwrap_uri(uri: str) -> tuple[str, str] | None:
    """(server, its own URI), or None for what `wrap_uri` did not make."""
    if not uri.startswith(URI_SCHEME):
        return None
    server, slash, own = uri[len(URI_SCHEME) :].partition("/")
    return (server, own) if slash and server else None


def containers(uri: str) -> list[str]:
    """The URIs of which `uri` may be a part: itself, and those that end before a `/`, `?` or `#` of it.

    A server that was asked to tell of `db://users` may tell of `db://users/7`.
    """
    if len(uri) > _LONGEST:
        return [uri]
    places = [match.start() for match in _BOUNDARY.finditer(uri)][:_DEEPEST]
    found = [uri[:end] for place in places for end in (place, place + 1)]
    return list(dict.fromkeys([uri, *reversed(found)]))
