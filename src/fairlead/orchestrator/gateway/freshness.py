"""How long clients may keep the lists of an endpoint: as long as all of its servers allow.

Worked out once and kept until any list changes, since an endpoint may have thousands of servers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead.mcp.caching import OURS, CacheHint, strictest
from fairlead.model.fleet import Sharing
from fairlead.orchestrator.catalogue import ListHint
from fairlead.orchestrator.gateway.views import Audience, View

if TYPE_CHECKING:
    from fairlead.orchestrator.pool import ServerPool

_OURS = ListHint(OURS)


@dataclass(frozen=True, slots=True)
class _Known:
    kept: CacheHint
    until: float  # loop time, s; when the first list of a server must be read again
    expiring: tuple[ServerPool, ...]  # whose lists must be read again at some time


class Freshness:
    """Of one gateway's endpoints."""

    def __init__(self) -> None:
        self._known: dict[tuple[Audience, str], _Known] = {}  # by kind

    def __repr__(self) -> str:
        return f"<Freshness {self._known}>"

    def forget(self) -> None:
        """Some list is new."""
        self._known.clear()

    def of(self, view: View, kind: str, now: float) -> CacheHint:
        """How long a list may be kept from now on (loop time); what is over is read again meanwhile."""
        known = self._known.get((view.audience, kind))
        if known is None:
            known = self._known[view.audience, kind] = _known(view, kind)
        if known.until <= now:
            for pool in known.expiring:
                pool.revalidate(now)
        return CacheHint(min(known.kept.ttl, max(0.0, known.until - now)), known.kept.public)


def _known(view: View, kind: str) -> _Known:
    hints = {pool: pool.catalogue.hints.get(kind, _OURS) for pool in view.pools.values()}
    shared = not view.grants and all(pool.spec.sharing is Sharing.SHARED for pool in hints)
    kept = strictest(hint.kept for hint in hints.values()) or OURS
    return _Known(
        CacheHint(kept.ttl, public=kept.public and shared),
        min((hint.until for hint in hints.values()), default=float("inf")),
        tuple(pool for pool, hint in hints.items() if hint.until < float("inf")),
    )
