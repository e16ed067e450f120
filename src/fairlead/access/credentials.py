"""What principals give us for upstream servers: headers, or an OAuth client that gets its own access tokens.

Each is sealed under the service's key together with whose it is and for which server, so that a row of the
database neither shows anything nor can be put in another one's place. Nothing gives a value back but `get`,
which is for the instances that are opened with it. An access token is got when it is needed, a minute before
it expires, and when the server refuses it; the refresh token that may come with it replaces the old one
before the new access token is used.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote_plus, urlencode
from weakref import WeakValueDictionary

import msgspec
import structlog

from fairlead.kit.fetch import FetchError, check_url, fetch
from fairlead.mcp.sealing import SealBrokenError, Sealer
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.ports import IdentityStore, StoreAwayError, UpstreamCredential

LOG = structlog.get_logger("fairlead.credentials")
EARLY: Final = 60.0  # s before its end in which an access token is not used any more
_USUAL_LIFE: Final = 3600.0  # s of an access token that does not say
_TOKEN: Final = re.compile(r"[!-~]{1,8192}")
_ERROR: Final = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """How access tokens are got: by the refresh token, or without one by the client's own credentials."""

    token_url: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    scope: str | None = None
    access_token: str | None = field(default=None, repr=False)  # that was got last
    expires: float = 0.0  # of it, Unix time, s


@dataclass(frozen=True, slots=True)
class Credential:
    """Of one principal for one server: exactly one of the two. `at`: when its owner set it, Unix time, s."""

    at: float
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    oauth: OAuthClient | None = None


_decode: Final = msgspec.json.Decoder(Credential).decode


class Credentials:
    """Of one service; a `ports.CredentialSource`. What changes raises StoreAwayError.

    `changed` is awaited after each change that an owner makes, so that it is in force when that returns.
    """

    def __init__(
        self,
        store: IdentityStore,
        key: bytes,
        changed: Callable[[], Awaitable[None]],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`key` is the service's; the one that seals is derived from it."""
        self._store = store
        self._changed = changed
        self._sealer = Sealer(b"credentials" + key)
        self._now = now
        self._locks = WeakValueDictionary[tuple[str, str], asyncio.Lock]()  # those that somebody holds

    def __repr__(self) -> str:
        return "Credentials()"

    # -- what their owners do ----------------------------------------------------------------------------

    async def put_headers(self, principal: str, server: str, headers: Mapping[str, str]) -> float:
        """When it was set, Unix time, s."""
        return await self._put(principal, server, Credential(self._now(), dict(headers)))

    async def put_oauth(self, principal: str, server: str, client: OAuthClient) -> float:
        """Raises ValueError for a token URL that may not be asked."""
        check_url(client.token_url)
        return await self._put(principal, server, Credential(self._now(), oauth=client))

    async def remove(self, principal: str, server: str) -> bool:
        """False: there was none."""
        async with self._lock(principal, server):
            removed = await self._store.remove_credential(principal, server)
        if removed:
            await self._changed()
        return removed

    async def describe(self, principal: str, server: str) -> tuple[str, float] | None:
        """`headers` or `oauth`, and when it was set; no value. Raises ProblemError where it is damaged."""
        found = await self._find(principal, server)
        return None if found is None else ("oauth" if found.oauth else "headers", found.at)

    async def describe_all(self, principal: str) -> dict[str, tuple[str, float]]:
        """The same of each server for which there is one that can be read."""
        described = {}
        for server, _ in await self._store.credentials(principal):
            try:
                found = await self.describe(principal, server)
            except ProblemError:  # sealed with another key
                continue
            if found is not None:
                described[server] = found
        return described

    async def _put(self, principal: str, server: str, credential: Credential) -> float:
        async with self._lock(principal, server):
            await self._keep(principal, server, credential)
        await self._changed()
        return credential.at

    # -- `ports.CredentialSource` ------------------------------------------------------------------------

    async def version(self, principal: str, server: str) -> float | None:
        try:
            found = await self._find(principal, server)
        except ProblemError:
            return 0.0
        return None if found is None else found.at

    async def get(self, principal: str, server: str, *, renew: bool = False) -> UpstreamCredential:
        """See the port. What cannot be reached just now is a problem with the status 503."""
        try:
            async with self._lock(principal, server):
                credential = await self._find(principal, server)
                if credential is None:
                    raise ProblemError(_missing(server))
                if credential.oauth is None:
                    return UpstreamCredential(credential.headers, credential.at)
                client = credential.oauth
                if renew or client.access_token is None or self._now() > client.expires - EARLY:
                    client = await self._renewed(principal, server, credential, client)
        except StoreAwayError as away:
            detail = f"your credential for server {server!r} cannot be read: {away}"
            raise ProblemError(_problem("store-unavailable", detail)) from None
        headers = {"Authorization": f"Bearer {client.access_token}"}
        return UpstreamCredential(headers, credential.at, client.expires)

    async def _renewed(
        self, principal: str, server: str, credential: Credential, client: OAuthClient
    ) -> OAuthClient:
        try:
            fresh = await self._renew(server, client)
        except ProblemError:
            # Another process may have used up the refresh token in this very moment, and kept what it got.
            now_kept = await self._find(principal, server)
            if now_kept is None or now_kept.oauth in (None, client):
                raise
            return now_kept.oauth
        await self._keep(principal, server, replace(credential, oauth=fresh))
        return fresh

    async def _renew(self, server: str, client: OAuthClient) -> OAuthClient:
        """With a new access token. Raises ProblemError."""
        form = {"grant_type": "client_credentials"}
        if client.refresh_token is not None:
            form = {"grant_type": "refresh_token", "refresh_token": client.refresh_token}
        if client.scope:
            form["scope"] = client.scope
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if client.client_secret is None:
            form["client_id"] = client.client_id
        else:
            pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        try:
            answer = await fetch(
                client.token_url, method="POST", headers=headers, body=urlencode(form).encode()
            )
        except FetchError as error:
            raise ProblemError(_no_token(server, str(error))) from None
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        if answer.status != 200 or not isinstance(document, dict):
            raise ProblemError(_refused(server, answer.status, document))
        return self._with_answer(server, client, document)

    def _with_answer(self, server: str, client: OAuthClient, document: dict[str, Any]) -> OAuthClient:
        token, fresh = document.get("access_token"), document.get("refresh_token", client.refresh_token)
        kind, life = document.get("token_type"), document.get("expires_in", _USUAL_LIFE)
        sound = (
            isinstance(token, str)
            and _TOKEN.fullmatch(token)
            and isinstance(kind, str)
            and kind.lower() == "bearer"
            and isinstance(life, int | float)
            and 0 < life < 1e9
            and (fresh is None or (isinstance(fresh, str) and _TOKEN.fullmatch(fresh)))
        )
        if not sound:
            raise ProblemError(_no_token(server, "the answer holds no bearer token"))
        return replace(client, access_token=token, refresh_token=fresh, expires=self._now() + life)

    # -- sealing -----------------------------------------------------------------------------------------

    async def _keep(self, principal: str, server: str, credential: Credential) -> None:
        sealed = self._sealer.seal(_purpose(principal, server), msgspec.json.encode(credential))
        await self._store.put_credential(principal, server, sealed.encode(), self._now())

    async def _find(self, principal: str, server: str) -> Credential | None:
        sealed = await self._store.credential(principal, server)
        if sealed is None:
            return None
        try:
            return _decode(self._sealer.open(_purpose(principal, server), sealed.decode("ascii", "replace")))
        except (SealBrokenError, msgspec.DecodeError):
            raise ProblemError(_unreadable(server)) from None

    def _lock(self, principal: str, server: str) -> asyncio.Lock:
        """One at a time: a refresh token may be good only once."""
        return self._locks.setdefault((principal, server), asyncio.Lock())


def _purpose(principal: str, server: str) -> str:
    return json.dumps(["credential", principal, server])


def _problem(code: str, detail: str, status: int = 503) -> Problem:
    return Problem(code, "The upstream credential cannot be used", detail, status, Fault.UPSTREAM)


def _missing(server: str) -> Problem:
    return _problem(
        "missing-credential",
        f"server {server!r} needs a credential of your own: give it with PUT /api/credentials/{server}",
    )


def _unreadable(server: str) -> Problem:
    return _problem(
        "missing-credential",
        f"your credential for server {server!r} cannot be read any more (the service's key is another one): "
        f"give it again with PUT /api/credentials/{server}",
    )


def _no_token(server: str, reason: str) -> Problem:
    """Why is for the log alone: whoever gives a token URL must not learn from us what is at it."""
    LOG.warning("no access token", server=server, reason=reason)
    return _problem(
        "token-unavailable",
        f"no access token could be fetched for server {server!r}; check `tokenUrl`, or have an "
        "administrator look into the service's log",
    )


def _refused(server: str, status: int, document: Any) -> Problem:
    """A refusal as OAuth has it (RFC 6749, 5.2) is shown: its code, since the rest are a stranger's words."""
    code = document.get("error") if isinstance(document, dict) else None
    if status not in (400, 401) or not isinstance(code, str) or not _ERROR.fullmatch(code):
        return _no_token(server, f"HTTP {status} with no access token")
    return _problem(
        "missing-credential",
        f"the authorization server of server {server!r} refuses your credential ({code}); give a new one "
        f"with PUT /api/credentials/{server}",
    )
