"""Login codes, browsers' sessions and credentials in memory, and identities that know them and one token."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

from fairlead.access.login import Browsers, Logins
from fairlead.core import refusals
from fairlead.core.access import Browser, KnownTokens
from fairlead.model.access import Caller, Role
from fairlead.model.errors import Problem
from fairlead.ports import StoreAwayError, WebSession


class MemorySessions:
    """The part of an IdentityStore that logins and credentials use."""

    def __init__(self) -> None:
        self.codes: dict[bytes, WebSession] = {}
        self.sessions: dict[str, WebSession] = {}
        self.sealed: dict[tuple[str, str], bytes] = {}
        self.away = False

    async def put_credential(self, principal: str, server: str, sealed: bytes, at: float) -> None:
        self._look()
        self.sealed[principal, server] = sealed

    async def credential(self, principal: str, server: str) -> bytes | None:
        self._look()
        return self.sealed.get((principal, server))

    async def remove_credential(self, principal: str, server: str) -> bool:
        self._look()
        return self.sealed.pop((principal, server), None) is not None

    async def add_login_code(self, session: WebSession) -> None:
        self._look()
        self.codes[session.digest] = session

    async def use_login_code(self, digest: bytes, session: WebSession, now: float) -> str | None:
        self._look()
        code = self.codes.pop(digest, None)
        if code is None or code.expires <= now:
            return None
        maker, dot, _ = code.id.rpartition(".")
        session = replace(session, id=f"{maker}{dot}{session.id}", principal=code.principal)
        self.sessions[session.id] = session
        return code.principal

    async def end_web_session(self, session_id: str) -> bool:
        self._look()
        return self.sessions.pop(session_id, None) is not None

    def _look(self) -> None:
        if self.away:
            raise StoreAwayError("the disk is full")


class Rig(KnownTokens):
    """Everything behind a browser's login. `now` is what the clock says."""

    def __init__(self, token: str, caller: Caller) -> None:
        super().__init__({hashlib.sha256(token.encode()).digest(): caller})
        self.store = MemorySessions()
        self.browsers = Browsers(b"k" * 32)
        self.now = time.time()
        self.roles = {caller.name: caller.role}
        self.logins = Logins(self.store, self.browsers, self._changed, now=lambda: self.now)  # type: ignore[arg-type]

    async def _changed(self) -> None:
        self.browsers.set(self.store.sessions.values())

    def identify_cookie(self, value: bytes) -> Browser | Problem:
        session = self.browsers.find(value, self.now)
        if session is None:
            return refusals.SESSION_OVER
        role = self.roles.get(session.principal, Role.VIEWER)
        caller = Caller(session.principal, role, (), f"web:{session.id}", session.expires)
        return Browser(caller, self.browsers.csrf_token(value))

    def is_valid(self, caller: Caller) -> bool:
        kind, _, session = caller.credential.partition(":")
        return session in self.store.sessions if kind == "web" else super().is_valid(caller)
