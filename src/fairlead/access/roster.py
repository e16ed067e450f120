"""The people and programs that may come in, and their keys: made, changed, removed.

Each change is in the store before it is answered, is in force in this process when a method returns, and is
told to the others (see `following.py`). Names are those that old tokens had; none can meet a name that is
not the store's: `local`, `env`, and what access tokens name (`oauth:...`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from fairlead.access.keyring import RESERVED
from fairlead.access.keys import KeyDigests, new_id, new_value
from fairlead.access.login import MADE_BY
from fairlead.model.access import ApiKey, Caller, Principal
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.event_data import AccessChanged
from fairlead.model.events import EventType
from fairlead.ports import IdentityStore, Recorder

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MAX_KEYS: Final = 100  # of one principal, that are good


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. Its value is nowhere else."""

    key: ApiKey
    value: str = field(repr=False)


class Roster:
    """Of one service. `changed` is awaited after each change; every method raises StoreAwayError."""

    def __init__(
        self,
        store: IdentityStore,
        digests: KeyDigests,
        recorder: Recorder,
        changed: Callable[[], Awaitable[None]],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._digests = digests
        self._recorder = recorder
        self._changed = changed
        self._now = now

    async def principals(self) -> list[Principal]:
        return list((await self._store.read()).principals)

    async def keys(self, principal: str | None = None) -> list[ApiKey]:
        """All, or one principal's; those that are over among them."""
        known = (await self._store.read()).keys
        return [key for key in known if principal in (None, key.principal)]

    async def put_principal(self, principal: Principal, *, by: str) -> Principal:
        """Make it, or change all of it but when it was made. Raises ProblemError (422)."""
        check_name(principal.name)
        there = {each.name: each for each in await self.principals()}.get(principal.name)
        made = self._now() if there is None else there.created
        kept = Principal(principal.name, principal.role, principal.grants, principal.disabled, made)
        if kept != there:
            await self._store.put_principal(kept)
            await self._tell(kept.name, "principal added" if there is None else "principal changed", by)
        return kept

    async def remove_principal(self, name: str, *, by: str) -> None:
        """With all keys, sessions and credentials. Raises ProblemError (404)."""
        if not await self._store.remove_principal(name):
            raise ProblemError(unknown_principal(name))
        await self._tell(name, "principal removed", by)

    async def add_key(
        self, principal: str, *, by: str, label: str = "", expires: float | None = None
    ) -> NewKey:
        """A key whose value cannot be had again. Raises ProblemError (404, 409)."""
        now = self._now()
        good = [key for key in await self.keys(principal) if not is_over(key, now)]
        if len(good) >= MAX_KEYS:
            raise ProblemError(_refusal("too-many-keys", "Too many keys", _TOO_MANY, 409))
        value = new_value()
        key = ApiKey(new_id(), principal, self._digests.of(value.encode()), label, now, expires)
        if not await self._store.add_key(key):
            raise ProblemError(unknown_principal(principal))
        await self._tell(principal, f"key {key.id} added", by)
        return NewKey(key, value)

    async def end_of(self, caller: Caller) -> float | None:
        """When the key ends that a caller has shown, or that let its browser in; None for never."""
        if not caller.credential.startswith("web:"):
            return caller.expires
        maker = caller.credential.removeprefix("web:").rpartition(MADE_BY)[0]
        return next((key.expires for key in await self.keys(caller.name) if key.id == maker), None)

    async def revoke_key(self, key_id: str, *, by: str, owner: str | None = None) -> ApiKey:
        """No request is let in by it from now on. With `owner` only one of his. Raises ProblemError (404)."""
        for key in await self.keys(owner):
            if key.id == key_id:
                await self._store.revoke_key(key_id, self._now())
                await self._tell(key.principal, f"key {key_id} revoked", by)
                return key
        raise ProblemError(_refusal("unknown-key", "No such key", _NO_KEY, 404))

    async def _tell(self, principal: str, change: str, by: str) -> None:
        data = AccessChanged(principal=principal, change=change, by=by)
        self._recorder.note(EventType.ACCESS_CHANGED, principal, data)
        await self._changed()


def is_over(key: ApiKey, now: float) -> bool:
    """Whether a key lets nobody in any more. `now` is Unix time, s."""
    return key.revoked is not None or (key.expires is not None and key.expires <= now)


def check_name(name: str) -> None:
    """Raises ProblemError (422) for what cannot name a principal."""
    if not NAME.fullmatch(name):
        how = "use up to 63 small letters, digits, dots, dashes and underscores, a letter or digit first"
        raise ProblemError(_refusal("bad-name", f"{name[:80]!r} cannot name a principal", how, 422))
    if name in RESERVED:
        how = "`local` is whoever can read the state folder, `env` whoever has FAIRLEAD_TOKEN; choose another"
        raise ProblemError(_refusal("bad-name", f"{name!r} is a reserved name", how, 422))


def unknown_principal(name: str) -> Problem:
    detail = f"There is no principal {name[:80]!r}. `fairlead principal list` shows them."
    if name in RESERVED or ":" in name:
        detail = f"{name[:80]!r} is not kept here, and cannot have keys. Name a principal that is."
    return _refusal("unknown-principal", "No such principal", detail, 404)


def _refusal(code: str, title: str, detail: str, status: int) -> Problem:
    return Problem(code, title, detail, status, Fault.CLIENT)


_TOO_MANY: Final = f"A principal may have {MAX_KEYS} keys that are good. Revoke one that nobody uses."
_NO_KEY: Final = "There is no key of that id, or it is not yours. GET /api/keys lists them."
