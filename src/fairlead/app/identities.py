"""Who may come in, put together: the keyring and what keeps it up to date, the roster, browsers' logins."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import structlog

from fairlead.access.following import Following
from fairlead.access.keyring import Keyring
from fairlead.access.keys import KeyDigests, key_check, master_key
from fairlead.access.login import Browsers, Logins
from fairlead.access.roster import Roster
from fairlead.app.offline_changes import OfflineChanges
from fairlead.app.persistence import Persistence, database_url
from fairlead.app.settings import Settings
from fairlead.app.sign_in import OAuth, open_oauth
from fairlead.model.access import ApiKey, Principal, Role
from fairlead.model.errors import ProblemError
from fairlead.ports import StoreAwayError
from fairlead.stores.files import state_problem
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.facts import agreed
from fairlead.stores.sql.identities import SqlIdentityStore
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore

LOG = structlog.get_logger("fairlead.access")


@dataclass(frozen=True, slots=True)
class Access:
    """Of one service of one process."""

    keyring: Keyring
    following: Following
    roster: Roster
    logins: Logins
    tokens: TokenStore
    oauth: OAuth | None

    async def start(self) -> None:
        """Know who may come in. Raises ProblemError."""
        self.tokens.ensure_local()
        self.read_tokens()
        await self.following.start()

    def read_tokens(self) -> None:
        """Take the tokens that do not come from the database. Raises ProblemError; what is known stays."""
        self.keyring.set_fixed(self.tokens.digests())


def service_key(settings: Settings, state: StateFolder) -> bytes:
    """32 secret bytes, of which all keys are made; all processes on one database need the same."""
    return master_key(settings.key.get_secret_value() if settings.key else None, state.key())


def open_access(
    settings: Settings,
    state: StateFolder,
    kept: Persistence,
    addresses: Mapping[str, str],
    database: Database | None = None,
) -> Access:
    """Nothing is read yet: `Access.start` does that. `database` has the identities, if not the service's."""
    database = database or kept.database
    key = service_key(settings, state)
    digests, browsers = KeyDigests(key), Browsers(key)
    oauth = open_oauth(settings, addresses)
    keyring = Keyring(digests, browsers, verifier=None if oauth is None else oauth.verifier)
    tokens = TokenStore(
        state, environment_token=settings.token.get_secret_value() if settings.token else None
    )
    store = SqlIdentityStore(database)

    async def prepare() -> None:
        taken_over = await prepare_identities(database, key, tokens)
        if taken_over:
            LOG.info("tokens of an earlier version became API keys", names=taken_over)

    following = Following(keyring, store, kept.bus, prepare=prepare)
    return Access(
        keyring,
        following,
        Roster(store, digests, kept.journal, following.changed),
        Logins(store, browsers, following.changed),
        tokens,
        oauth,
    )


async def prepare_identities(database: Database, key: bytes, tokens: TokenStore) -> list[str]:
    """See to it that the key fits the database, and take over the tokens of earlier versions: their names.

    Raises StoreAwayError, ProblemError.
    """
    check = key_check(key)
    if await agreed(database, "key_check", check) != check:
        raise _wrong_key(database)
    old = tokens.old()
    if old:
        store, digests = SqlIdentityStore(database), KeyDigests(key)
        there = {each.name for each in (await store.read()).principals}
        for token in old:
            if token.name not in there:
                await store.put_principal(Principal(token.name, Role.ADMIN, created=token.created))
            value = digests.of_sha256(token.digest)
            await store.add_key(ApiKey(value[:6].hex(), token.name, value, "token", token.created))
    tokens.old_are_taken_over()
    return [token.name for token in old]


def _wrong_key(database: Database) -> ProblemError:
    return state_problem(
        "wrong-key",
        "the service's key is not the one that this database was begun with",
        f"{database.place}: API keys, sessions and credentials in it were made with another key. Set "
        "FAIRLEAD_KEY as the other processes have it, or bring back the file `key` of the state folder; or "
        "give up all of them and keep the present key: `fairlead key renew`",
    )


@contextlib.asynccontextmanager
async def offline_roster(settings: Settings, state: StateFolder) -> AsyncIterator[Roster]:
    """The roster of the database, for a command; a service that runs on it looks for what is new itself.

    Raises ProblemError where the database cannot be used.
    """
    key = service_key(settings, state)

    async def unheard() -> None:
        """Nothing here has to know."""

    async with _opened(settings, state) as database:
        tokens = TokenStore(state)
        await prepare_identities(database, key, tokens)
        changes = OfflineChanges()
        try:
            yield Roster(SqlIdentityStore(database), KeyDigests(key), changes, unheard)
        finally:
            await changes.write(database, state)


async def renew_key(settings: Settings, state: StateFolder) -> None:
    """Give up what was made with another key. Raises ProblemError; the state folder must not be in use."""
    with state.lock():
        async with _opened(settings, state) as database:
            await SqlIdentityStore(database).forget_secrets()
            await agreed(database, "key_check", key_check(service_key(settings, state)), anew=True)
            changes = OfflineChanges()
            changes.add("command: key renewed", {})
            await changes.write(database, state)


@contextlib.asynccontextmanager
async def _opened(settings: Settings, state: StateFolder) -> AsyncIterator[Database]:
    database = await Database.open(database_url(settings, state, "orchestrator"), service="orchestrator")
    try:
        yield database
    except StoreAwayError as away:
        raise state_problem("store-unavailable", "the database cannot be used just now", str(away)) from None
    finally:
        await database.close()
