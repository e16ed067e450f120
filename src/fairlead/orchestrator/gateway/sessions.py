"""Legacy sessions. Their ids are sealed and say of themselves to which node and principal they belong.

A session lives in this process alone: an id from before a restart, of another principal or endpoint, expired
or made up, is simply not found, and the 404 makes the client start anew.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from fairlead.core import refusals
from fairlead.mcp.eras import Meta
from fairlead.mcp.messages import Incoming
from fairlead.mcp.profiles import NOBODY, Profile
from fairlead.mcp.sealing import SealBrokenError, Sealer, SessionClaims, open_session, seal_session
from fairlead.model.access import Caller
from fairlead.model.errors import ProblemError
from fairlead.orchestrator.gateway.event_store import Shelf
from fairlead.orchestrator.gateway.views import Audience

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange

LONGEST_LIFE: Final = 7 * 24 * 3600.0  # s


class Asked(NamedTuple):
    """A request that its client has not answered yet."""

    heard: Callable[[Incoming], None]  # gets the answer
    wanted: Callable[[], bool]  # whether anybody still waits for it
    stream: Exchange | None  # on which it goes out
    server: str  # that asks


class Session:
    """One client's session. `used` is loop time in seconds, `key` names it where instances are leased."""

    __slots__ = (
        "asked",
        "born",
        "caller",
        "calls",
        "changed",
        "ended",
        "endpoint",
        "id",
        "key",
        "log_level",
        "over_sse",
        "principal",
        "profile",
        "shelf",
        "stream",
        "updated",
        "used",
        "version",
    )

    def __init__(
        self, session_id: str, caller: Caller, endpoint: str, version: str, profile: Profile = NOBODY
    ) -> None:
        self.id = session_id
        self.principal = caller.name
        self.caller = caller  # as it came last: an access token is followed by another one
        self.endpoint = endpoint
        self.version = version
        self.profile = profile  # what it can be asked
        self.log_level: str | None = None  # from which on it wants to hear messages
        self.asked: dict[bytes, Asked] = {}  # by our request's id, as JSON
        self.key = f"session:{session_id[:24]}"
        self.used = self.born = 0.0
        self.ended = False
        self.over_sse = False  # the transport of 2024-11-05: it ends with its stream
        self.calls: dict[bytes, Exchange] = {}  # the client's request id -> the call in flight
        self.stream: Exchange | None = None  # its GET stream, for a while also without a connection
        self.shelf: Shelf | None = None  # what is kept of its streams, once it has had any
        self.changed: set[str] | None = None  # lists that changed while there was no stream
        self.updated: set[str] | None = None  # resources that did, of those that it subscribed to

    @property
    def audience(self) -> Audience:
        """Of which views it hears."""
        return self.endpoint, self.caller.grants

    def as_modern(self, meta: Meta) -> Meta:
        """What a modern server must hear in each request of this client, which said it once."""
        return replace(meta, capabilities=self.profile.capabilities, log_level=self.log_level)

    def __repr__(self) -> str:
        return f"<Session {self.id[:8]} of {self.principal} calls={len(self.calls)}>"


class SessionTable:
    """All sessions of this process."""

    def __init__(
        self, sealer: Sealer, node: str, *, limit: int, idle: float, per_principal: int | None = None
    ) -> None:
        self._sealer = sealer
        self._per_principal = limit if per_principal is None else per_principal
        self._of: Counter[str] = Counter()  # sessions by principal
        self._node = node + secrets.token_hex(4)  # this start of this node
        self._limit = limit
        self._idle = idle
        self._sessions: dict[str, Session] = {}
        self._by_key: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self):  # type: ignore[no-untyped-def] # an iterator of Session
        return iter(list(self._sessions.values()))

    def create(
        self, caller: Caller, endpoint: str, version: str, now: float, profile: Profile = NOBODY
    ) -> Session:
        """A new session; raises ProblemError (429) when there are too many."""
        principal = caller.name
        if len(self._sessions) >= self._limit:
            raise ProblemError(refusals.too_many_sessions(self._limit))
        if self._of[principal] >= self._per_principal:
            raise ProblemError(refusals.too_many_sessions(self._per_principal, principal))
        self._of[principal] += 1
        claims = SessionClaims(
            self._node, principal, endpoint, time.time() + LONGEST_LIFE, secrets.randbits(64)
        )
        session = Session(seal_session(self._sealer, claims), caller, endpoint, version, profile)
        session.used = session.born = now
        self._sessions[session.id] = self._by_key[session.key] = session
        return session

    def find(self, session_id: str, caller: Caller, endpoint: str) -> Session | None:
        """The live session with this id, if it belongs to this caller's principal and endpoint."""
        session = self.named(session_id, caller)
        return None if session is None or session.endpoint != endpoint else session

    def named(self, session_id: str, caller: Caller) -> Session | None:
        """The same at whichever endpoint it is. A session is of one principal with the same grants."""
        session = self._sessions.get(session_id)
        if session is None or (session.principal, session.caller.grants) != (caller.name, caller.grants):
            return None
        try:
            claims = open_session(self._sealer, session_id)
        except SealBrokenError:
            return None
        if claims.node != self._node or claims.expires <= time.time():
            return None
        session.caller = caller
        return session

    def by_key(self, key: str) -> Session | None:
        """The live session that leases go by this key."""
        return self._by_key.get(key)

    def end(self, session: Session) -> None:
        session.ended = True
        if self._sessions.pop(session.id, None) is not None:
            self._of[session.principal] -= 1
            if not self._of[session.principal]:
                del self._of[session.principal]
        self._by_key.pop(session.key, None)

    def idle(self, now: float) -> list[Session]:
        """Those to end now: unused for longer than the idle limit, or at the hard end of their life.

        `now` is loop time. What waits for an answer or listens counts as used.
        """
        for session in self._sessions.values():
            if session.calls or session.stream is not None:
                session.used = now  # from its end on it has the whole time
        before, born = now - self._idle, now - LONGEST_LIFE
        return [s for s in self._sessions.values() if s.born < born or s.used < before]
