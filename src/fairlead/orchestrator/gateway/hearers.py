"""Who wants to hear of which resource, of which server: the index that updates are looked up in.

Each client counts once for a resource, and the server's pool is told of the first and forgets after the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fairlead.mcp.names import containers
from fairlead.mcp.profiles import Profile
from fairlead.model.fleet import Sharing

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange
    from fairlead.orchestrator.pool import ServerPool


class Hearer(Protocol):
    """A legacy session, or a `subscriptions/listen` that is open."""

    changed: set[str] | None
    """Notifications of lists that it missed while it had no stream."""
    updated: set[str] | None
    """URIs, as it knows them, of which it missed an update."""

    @property
    def stream(self) -> Exchange | None:
        """Where it hears, if anywhere now."""
        ...

    @property
    def key(self) -> str:
        """Who has an instance of its own, where a server gives each one."""
        ...


class Subject(NamedTuple):
    """A resource of a server. `key` is whose own instance it is about, None where all share it."""

    server: str
    key: str | None
    uri: str  # the server's own


class Hearers:
    """Of one gateway."""

    def __init__(self) -> None:
        self._pools: dict[str, ServerPool] = {}
        self._hearers: dict[Subject, dict[Hearer, str]] = {}  # with the URI as the client knows it
        self._subjects: dict[Hearer, dict[Subject, Profile]] = {}
        self._count = 0

    def __repr__(self) -> str:
        return f"<Hearers {len(self._subjects)} of {len(self._hearers)} resources>"

    def __len__(self) -> int:
        """Subscriptions of clients."""
        return self._count

    def set_pools(self, pools: Mapping[str, ServerPool]) -> None:
        """The servers that are there now. Who waits for one that is gone hears of it when it is back."""
        before, self._pools = self._pools, dict(pools)
        for subjects in self._subjects.values():
            for subject, profile in subjects.items():
                old, new = before.get(subject.server), pools.get(subject.server)
                if old is not new:
                    _drop(old, subject)
                    _want(new, subject, profile)

    def follow(self) -> None:
        """Servers may have changed between an instance for all and one for each: wishes go along."""
        for hearer in list(self._subjects):
            for subject in self.of(hearer):
                pool = self._pools.get(subject.server)
                if pool is not None and (now := place_of(pool, hearer.key)) != subject.key:
                    shown, profile = self._hearers[subject][hearer], self._subjects[hearer][subject]
                    self.remove(hearer, subject)
                    self.add(hearer, subject._replace(key=now), shown, profile)

    def of(self, hearer: Hearer) -> Iterable[Subject]:
        """What it wants to hear of."""
        return tuple(self._subjects.get(hearer, ()))

    def uris(self, hearer: Hearer) -> list[str]:
        """The same, as it says it itself."""
        return [self._hearers[subject][hearer] for subject in self.of(hearer)]

    def add(self, hearer: Hearer, subject: Subject, shown: str, profile: Profile) -> bool:
        """It wants to hear of this; False when it does already. `shown` is the URI as its client knows it."""
        subjects = self._subjects.setdefault(hearer, {})
        if subject in subjects:
            return False
        subjects[subject] = profile
        self._count += 1
        self._hearers.setdefault(subject, {})[hearer] = shown
        _want(self._pools.get(subject.server), subject, profile)
        return True

    def remove(self, hearer: Hearer, subject: Subject) -> None:
        """It does not any more; nothing, if it never did."""
        subjects = self._subjects.get(hearer, {})
        if subject not in subjects:
            return
        del subjects[subject]
        self._count -= 1
        if not subjects:
            del self._subjects[hearer]
        hearers = self._hearers[subject]
        del hearers[hearer]
        if not hearers:
            del self._hearers[subject]
        _drop(self._pools.get(subject.server), subject)

    def remove_all(self, hearer: Hearer) -> None:
        for subject in self.of(hearer):
            self.remove(hearer, subject)

    def concerned(self, updated: Subject) -> dict[Hearer, dict[str, str]]:
        """Who hears of an update: the URI to tell, with the one that was asked for, which may contain it."""
        found: dict[Hearer, dict[str, str]] = {}
        for uri in containers(updated.uri):
            rest = updated.uri[len(uri) :]
            for hearer, shown in self._hearers.get(updated._replace(uri=uri), {}).items():
                found.setdefault(hearer, {}).setdefault(shown + rest, shown)
        return found

    def any_for(self, updated: Subject) -> bool:
        return any(updated._replace(uri=uri) in self._hearers for uri in containers(updated.uri))


def place_of(pool: ServerPool, key: str) -> str | None:
    """Whose own instance a client hears of: that of its `key`, None where all share them."""
    return key if pool.spec.sharing is Sharing.SESSION else None


def _want(pool: ServerPool | None, subject: Subject, profile: Profile) -> None:
    if pool is not None:
        pool.watch.want(subject.uri, subject.key, profile)


def _drop(pool: ServerPool | None, subject: Subject) -> None:
    if pool is not None:
        pool.watch.drop(subject.uri, subject.key)
