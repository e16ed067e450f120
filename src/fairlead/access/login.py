"""Login links and browsers' sessions.

A link holds a code that is good once and for ten minutes. Looking at it uses nothing up, since mail programs
and chats look at links by themselves; the button on its page does. What the browser gets then is a new random
value in a cookie, whatever it had before. The store keeps keyed digests of both, each under a label of its
own, so neither a code nor what the store holds can be shown as a cookie. A session ends with the key or
token that made its link (see `keyring.py`): who revokes a stolen one must not have to think of what it was
used for.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from fairlead.model.access import Caller
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.ports import IdentityStore, WebSession

CODE_SECONDS: Final = 600.0
SESSION_SECONDS: Final = 12 * 3600.0
MADE_BY: Final = "."
"""Stands in the id of a code, and of its session, after what made it: a key's id, or a fixed token's
credential."""
_VALUE: Final = re.compile(rb"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Secret:
    """A fresh code or cookie. `expires` is Unix time, s."""

    value: str = field(repr=False)
    expires: float


class Browsers:
    """The sessions that there are, as the store has them. Pure but for `set`; asked at each request."""

    def __init__(self, key: bytes) -> None:
        """`key` is a secret of the service's own; what is used here is derived from it."""
        self._key = hmac.digest(key, b"fairlead browsers 1", "sha256")
        self._sessions: dict[bytes, WebSession] = {}

    def __repr__(self) -> str:
        return f"Browsers({len(self._sessions)} sessions)"

    def set(self, sessions: Iterable[WebSession]) -> None:
        self._sessions = {session.digest: session for session in sessions}

    def find(self, cookie: bytes, now: float) -> WebSession | None:
        """The session of a cookie, if there is one that has not ended. `now` is Unix time, s."""
        if not _VALUE.fullmatch(cookie):
            return None
        session = self._sessions.get(self.digest("session", cookie))
        return session if session is not None and now < session.expires else None

    def csrf_token(self, cookie: bytes) -> bytes:
        """What goes with each change of the cookie's browser. Nobody can tell it without the key."""
        return base64.urlsafe_b64encode(self.digest("csrf", cookie)).rstrip(b"=")

    def digest(self, label: str, value: bytes) -> bytes:
        """What the store knows a `code` or `session` by."""
        return hmac.digest(self._key, label.encode() + b"\0" + value, "sha256")


class Logins:
    """Makes links, turns them into sessions, ends those. Every method raises StoreAwayError.

    `changed` is awaited after each change of the sessions, so that it is in force when a method returns.
    """

    def __init__(
        self,
        store: IdentityStore,
        browsers: Browsers,
        changed: Callable[[], Awaitable[None]],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._browsers = browsers
        self._changed = changed
        self._now = now

    async def make_code(self, caller: Caller) -> Secret:
        """A code that lets a browser in as `caller`. Raises ProblemError (403) where it may have none."""
        if caller.credential.startswith(("web:", "jwt:")):  # neither may outlive itself
            raise ProblemError(NO_LINK)
        now = self._now()
        code = secrets.token_urlsafe(32)
        expires = min(now + CODE_SECONDS, caller.expires or float("inf"))
        digest = self._browsers.digest("code", code.encode())
        code_id = f"{caller.credential.removeprefix('key:')}{MADE_BY}{_new_id()}"
        await self._store.add_login_code(WebSession(code_id, caller.name, digest, now, expires))
        return Secret(code, expires)

    async def begin(self, code: bytes, *, replaces: bytes | None = None) -> tuple[Secret, str] | None:
        """The cookie of a new session and whose it is; None for a code that is not good (any more).

        `replaces`: the cookie that the browser had; its session ends.
        """
        if not _VALUE.fullmatch(code):
            return None
        now = self._now()
        cookie = Secret(secrets.token_urlsafe(32), now + SESSION_SECONDS)
        digest = self._browsers.digest("session", cookie.value.encode())
        session = WebSession(_new_id(), "", digest, now, cookie.expires)
        principal = await self._store.use_login_code(self._browsers.digest("code", code), session, now)
        if principal is None:
            return None
        old = self._browsers.find(replaces, now) if replaces is not None else None
        if old is not None:
            await self._store.end_web_session(old.id)
        await self._changed()
        return cookie, principal

    async def end(self, session_id: str) -> None:
        """Log out."""
        await self._store.end_web_session(session_id)
        await self._changed()


def _new_id() -> str:
    return secrets.token_hex(8)


NO_LINK: Final = Problem(
    "no-login-link",
    "No login link for this credential",
    "A login link is made with an API key or the local token, not in a browser's session or with an access "
    "token: both end at a time that a link would put off.",
    403,
    Fault.CLIENT,
)
