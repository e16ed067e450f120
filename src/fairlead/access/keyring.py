"""Who comes by what: API keys, this machine's own tokens, browsers' sessions, and others' access tokens.

Everything is kept in memory, so that a request waits for nobody, and nobody is shut out (or let in) while
the database is away: what was known last stays. `take` brings it up to date; see `following.py`.

A caller is made once for each credential and has its principal's role and grants at that time. `is_valid`
compares whole callers: what was opened by a credential ends as soon as that means anything else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from fairlead import ports
from fairlead.access.jwt import looks_like_jwt
from fairlead.access.keys import KeyDigests
from fairlead.access.login import MADE_BY, Browsers
from fairlead.core import refusals
from fairlead.core.access import Browser
from fairlead.model.access import Caller, Principal, Role
from fairlead.model.errors import Problem

LOCAL: Final = "local"  # whoever can read the state folder
ENVIRONMENT: Final = "env"  # whoever has FAIRLEAD_TOKEN
RESERVED: Final = frozenset({LOCAL, ENVIRONMENT})


class Verifier(Protocol):
    """Knows access tokens (JWT) that others have made."""

    def identify(self, token: bytes) -> Caller | Problem: ...

    def is_valid(self, caller: Caller) -> bool: ...

    def knows(self, principal: str) -> bool: ...


class Keyring:
    """`core.access.Identities` of a service. `now` is Unix time, s."""

    def __init__(
        self,
        digests: KeyDigests,
        browsers: Browsers,
        *,
        verifier: Verifier | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.revision = -1  # of what was taken last
        self._digests = digests
        self._browsers = browsers
        self._verifier = verifier
        self._now = now
        self._fixed: dict[bytes, Caller] = {}  # by the token's SHA-256
        self._principals: dict[str, Principal] = {}
        self._keys: dict[bytes, Caller] = {}  # by the key's digest
        self._callers: dict[str, Caller] = {}  # by credential: keys, browsers' sessions

    def __repr__(self) -> str:
        return f"<Keyring revision={self.revision} principals={len(self._principals)} keys={len(self._keys)}>"

    # -- what is known -----------------------------------------------------------------------------------

    def set_fixed(self, tokens: Mapping[bytes, str]) -> None:
        """The tokens that do not come from the database: SHA-256 to `local` or `env`. All administrators.

        Their credential tells one value from the next: what was opened with the one before ends.
        """
        self._fixed = {
            digest: Caller(name, Role.ADMIN, credential=f"{name}:{self._digests.of_sha256(digest).hex()[:8]}")
            for digest, name in tokens.items()
            if name in RESERVED
        }

    def take(self, known: ports.Identities) -> None:
        """What the database says, from now on."""
        self.revision = known.revision
        self._principals = {
            each.name: each for each in known.principals if not each.disabled and each.name not in RESERVED
        }
        self._keys = {
            key.digest: caller
            for key in known.keys
            if key.revoked is None
            and (caller := self._caller(key.principal, f"key:{key.id}", key.expires)) is not None
        }
        self._callers = {caller.credential: caller for caller in self._keys.values()}
        sessions = []
        for each in filter(None, map(self._with_its_key, known.web_sessions)):
            if (caller := self._caller(each.principal, f"web:{each.id}", each.expires)) is not None:
                self._callers[caller.credential] = caller
                sessions.append(each)
        self._browsers.set(sessions)

    def _with_its_key(self, session: ports.WebSession) -> ports.WebSession | None:
        """A session does not outlive the key that made its link; None where that is gone."""
        maker = session.id.rpartition(MADE_BY)[0]
        if not maker or session.principal in RESERVED:
            return session  # of the latter, see `_is_there`
        key = self._callers.get(f"key:{maker}")
        if key is None or key.expires is None:
            return session if key is not None else None
        return replace(session, expires=min(session.expires, key.expires))

    def _caller(self, name: str, credential: str, expires: float | None) -> Caller | None:
        """None where there is no such principal (any more)."""
        if name in RESERVED:  # a browser that was let in by a link of this machine's user
            return Caller(name, Role.ADMIN, (), credential, expires) if credential[:4] == "web:" else None
        principal = self._principals.get(name)
        if principal is None:
            return None
        return Caller(name, principal.role, principal.grants, credential, expires)

    # -- `core.access.Identities` ------------------------------------------------------------------------

    def identify(self, token: bytes) -> Caller | Problem:
        if looks_like_jwt(token) and self._verifier is not None:
            return self._verifier.identify(token)
        digest = hashlib.sha256(token).digest()
        caller = self._fixed.get(digest) or self._keys.get(self._digests.of_sha256(digest))
        if caller is None:
            return refusals.INVALID_TOKEN
        return caller if self._in_time(caller) else refusals.EXPIRED_KEY

    def identify_cookie(self, value: bytes) -> Browser | Problem:
        session = self._browsers.find(value, self._now())
        caller = None if session is None else self._callers.get(f"web:{session.id}")
        if caller is None or not self._is_there(caller):
            return refusals.SESSION_OVER
        return Browser(caller, self._browsers.csrf_token(value))

    def is_valid(self, caller: Caller) -> bool:
        kind = caller.credential.partition(":")[0]
        if kind == "jwt" and self._verifier is not None:
            return self._verifier.is_valid(caller)
        if kind in RESERVED:
            return caller in self._fixed.values()
        known = self._callers.get(caller.credential)
        return known == caller and self._in_time(caller) and self._is_there(caller)

    def knows(self, principal: str) -> bool:
        if principal in self._principals or any(principal == each.name for each in self._fixed.values()):
            return True
        return self._verifier is not None and self._verifier.knows(principal)

    def _in_time(self, caller: Caller) -> bool:
        return caller.expires is None or self._now() < caller.expires

    def _is_there(self, caller: Caller) -> bool:
        """A browser of this machine's user goes with the token that made its link."""
        maker = caller.credential.removeprefix("web:").rpartition(MADE_BY)[0]
        return caller.name not in RESERVED or any(maker == each.credential for each in self._fixed.values())
