"""Named bearer tokens. The file keeps their SHA-256 digests; a value is shown once, when it is made.

The token `local` is an exception: its value also stands in `local-token` (mode 0600), so that the command
line of the same user on this machine can speak to the service. A token given by FAIRLEAD_TOKEN is valid
under the name `env` and is never stored.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.stores import files
from fairlead.stores.state import StateFolder

LOCAL = "local"
ENVIRONMENT = "env"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
WATCH_INTERVAL = 0.5  # s
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token: not its value. `created` is Unix time, s."""

    name: str
    digest: bytes
    created: float


def digest(value: str) -> bytes:
    """What a token's value is compared by: 32 bytes."""
    return hashlib.sha256(value.encode()).digest()


class TokenStore:
    """The tokens of a state folder. Every method reads the file anew; writes are safe between processes."""

    def __init__(
        self,
        state: StateFolder,
        *,
        environment_token: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._environment_token = environment_token
        self._now = now

    def __repr__(self) -> str:
        return f"TokenStore({str(self._path)!r})"

    @property
    def _path(self) -> Path:
        return self._state.tokens_file

    def digests(self) -> dict[bytes, str]:
        """Digest of each valid token to the name of its principal, FAIRLEAD_TOKEN's (`env`) included.

        Raises `ProblemError` when the file is damaged; a running service then keeps what it had.
        """
        valid = {token.digest: token.name for token in self._read().values()}
        if self._environment_token:
            valid[digest(self._environment_token)] = ENVIRONMENT
        return valid

    def list(self) -> tuple[Token, ...]:
        """The stored tokens by name, without FAIRLEAD_TOKEN's."""
        return tuple(sorted(self._read().values(), key=lambda token: token.name))

    def add(self, name: str) -> str:
        """Make a token and return its value, which cannot be had again later."""
        _check_name(name)
        with self._locked():
            tokens = self._read()
            if name in tokens:
                raise _bad_name(
                    f"there is a token named {name!r} already",
                    f"revoke it first: fairlead token revoke {name}",
                )
            return self._add(tokens, name)

    def revoke(self, name: str) -> None:
        """Make the token invalid; a running service takes it within a second."""
        with self._locked():
            tokens = self._read()
            if name not in tokens:
                known = ", ".join(sorted(tokens)) or "there is none"
                raise _bad_name(f"there is no token named {name!r}", f"known names: {known}")
            del tokens[name]
            self._write(tokens)
            if name == LOCAL:
                files.remove(self._state.local_token_file)

    def ensure_local(self) -> str:
        """The value of the token `local`, which is made anew when it or its plain copy is missing."""
        with self._locked():
            tokens = self._read()
            value = self.local()
            if value is not None and LOCAL in tokens and tokens[LOCAL].digest == digest(value):
                return value
            return self._add(tokens, LOCAL)

    def local(self) -> str | None:
        """The plain value of the token `local`, if it is there."""
        content = files.read(self._state.local_token_file)
        return content.decode("ascii", "replace").strip() or None if content is not None else None

    async def watch(self) -> AsyncIterator[None]:
        """Yields once at the start and after each change of the file: read `digests()` then.

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
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _add(self, tokens: dict[str, Token], name: str) -> str:
        value = "flt_" + secrets.token_urlsafe(32)
        tokens[name] = Token(name, digest(value), self._now())
        if name == LOCAL:  # the plain copy first: after a crash in between, `ensure_local` starts over
            files.write(self._state.local_token_file, value.encode() + b"\n")
        self._write(tokens)
        return value

    def _read(self) -> dict[str, Token]:
        content = files.read(self._path)
        if content is None:
            return {}
        try:
            return _decode(content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise files.state_problem(
                "token-file",
                "the token file is damaged",
                f"{self._path}: restore it from a copy, or move it away and make the tokens anew with "
                "`fairlead token add` (all present ones end); it is left as it is",
            ) from error

    def _write(self, tokens: dict[str, Token]) -> None:
        rows = {
            token.name: {"sha256": token.digest.hex(), "created": token.created} for token in tokens.values()
        }
        content = json.dumps({"version": _FORMAT, "tokens": rows}, indent=2, sort_keys=True)
        files.write(self._path, content.encode() + b"\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with files.opened_lock(self._path.with_suffix(".lock")) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield


def _decode(content: bytes) -> dict[str, Token]:
    document = json.loads(content)
    if document["version"] != _FORMAT:
        msg = f"version {document['version']!r}"
        raise ValueError(msg)
    tokens = {}
    for name, row in document["tokens"].items():
        value = bytes.fromhex(row["sha256"])
        if not NAME.fullmatch(name) or len(value) != hashlib.sha256().digest_size:
            raise ValueError(name)
        tokens[name] = Token(name, value, float(row["created"]))
    return tokens


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise _bad_name(
            f"{name!r} cannot name a token",
            "use up to 63 small letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    if name == ENVIRONMENT:
        raise _bad_name(f"{name!r} is the name of FAIRLEAD_TOKEN's principal", "choose another name")


def _bad_name(title: str, detail: str) -> ProblemError:
    return ProblemError(
        Problem(code="token-name", title=title, detail=detail, status=400, fault=Fault.CLIENT)
    )
