"""The bearer tokens that do not come from the database.

`local-token` (mode 0600) holds the one by which the command line of the same user on this machine speaks to
the service. A token given by FAIRLEAD_TOKEN is valid under the name `env` and is never stored. `tokens.json`
is of versions that had no database: the SHA-256 digests of named tokens, which become API keys once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.stores import files
from fairlead.stores.state import StateFolder

LOCAL: Final = "local"
ENVIRONMENT: Final = "env"
WATCH_INTERVAL: Final = 0.5  # s
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VALUE: Final = re.compile(r"[!-~]{16,512}")
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class OldToken:
    """A token of `tokens.json`. `digest` is its value's SHA-256, `created` is Unix time, s."""

    name: str
    digest: bytes
    created: float


def digest(value: str) -> bytes:
    """What a token's value is compared by: 32 bytes."""
    return hashlib.sha256(value.encode()).digest()


class TokenStore:
    """The tokens of a state folder. Every method reads the files anew."""

    def __init__(self, state: StateFolder, *, environment_token: str | None = None) -> None:
        self._state = state
        self._environment_token = environment_token

    def __repr__(self) -> str:
        return f"TokenStore({str(self._state.root)!r})"

    def digests(self) -> dict[bytes, str]:
        """Digest of each valid token to its name: `local`, `env`. Raises ProblemError."""
        values = {LOCAL: self.local(), ENVIRONMENT: self._environment_token}
        return {digest(value): name for name, value in values.items() if value}

    def ensure_local(self) -> str:
        """The value of the token `local`, which is made anew when there is none (that can be used)."""
        value = "flt_" + secrets.token_urlsafe(32)
        path = self._state.local_token_file
        files.create_once(path, value.encode() + b"\n")
        if (there := self.local()) is not None:
            return there
        files.write(path, value.encode() + b"\n")
        return value

    def remove_local(self) -> None:
        """Make it invalid; a running service takes that within a second, and its next start makes another."""
        files.remove(self._state.local_token_file)

    def local(self) -> str | None:
        """The value of the token `local`, if it is there."""
        content = files.read(self._state.local_token_file)
        value = (content or b"").decode("ascii", "replace").strip()
        return value if _VALUE.fullmatch(value) else None

    async def watch(self) -> AsyncIterator[None]:
        """Yields once at the start and after each change of `local-token`: read `digests()` then.

        It looks twice a second, which costs next to nothing and works on every kind of disk.
        """
        seen: object = ...
        while True:
            if (mark := self._mark()) != seen:
                seen = mark
                yield
            await asyncio.sleep(WATCH_INTERVAL)

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            status = self._state.local_token_file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    # -- of earlier versions -----------------------------------------------------------------------------

    def old(self) -> list[OldToken]:
        """What `tokens.json` has, without `local`. Raises ProblemError when it is damaged."""
        content = files.read(self._state.tokens_file)
        try:
            return [] if content is None else _decode(content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise files.state_problem(
                "token-file",
                "the token file is damaged",
                f"{self._state.tokens_file}: it holds tokens of an earlier version. Restore it from a copy, "
                "or move it away (its tokens then end); it is left as it is",
            ) from error

    def old_are_taken_over(self) -> None:
        """`tokens.json` is of no more use."""
        path: Path = self._state.tokens_file
        if path.exists():
            path.replace(path.with_name(path.name + ".imported"))


def _decode(content: bytes) -> list[OldToken]:
    document = json.loads(content)
    if document["version"] != _FORMAT:
        msg = f"version {document['version']!r}"
        raise ValueError(msg)
    tokens = []
    for name, row in document["tokens"].items():
        value = bytes.fromhex(row["sha256"])
        if not _NAME.fullmatch(name) or len(value) != hashlib.sha256().digest_size:
            raise ValueError(name)
        tokens.append(OldToken(name, value, float(row["created"])))
    return [token for token in tokens if token.name not in (LOCAL, ENVIRONMENT)]
