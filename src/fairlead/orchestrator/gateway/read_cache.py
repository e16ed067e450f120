"""Resources that everybody may read, kept for as long as their servers allow.

Only what a modern server calls `public`, of servers whose instances are shared. Whatever is private, an
error, or asks for input is never kept. A new instance of a server makes what was kept of it void, and so does
word that a resource or the server's list of them has changed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Raw

from fairlead.mcp.caching import read_hint
from fairlead.mcp.eras import Era
from fairlead.mcp.errors import McpError
from fairlead.mcp.messages import FromServer, decode_members, join_members
from fairlead.mcp.names import containers
from fairlead.model.fleet import Sharing
from fairlead.orchestrator.carrier import AWAY
from fairlead.orchestrator.metrics import MetricsCollector

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange
    from fairlead.orchestrator.pool import ServerPool

MAX_BYTES: Final = 16 * 2**20  # in all
MAX_ITEM: Final = 2**20  # bytes of one result


class _Key(NamedTuple):
    server: str
    instance: str  # the last one that came up
    uri: str  # the server's own


@dataclass(frozen=True, slots=True)
class _Kept:
    instance: str  # the last one that had come up when it was asked for
    result: bytes  # an object without its end and without `ttlMs`
    until: float  # s, monotonic


class ReadCache:
    """Of one gateway; the least recently used make room."""

    def __init__(self, metrics: MetricsCollector, *, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = 0
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()  # by server and URI
        self._forgotten = 0  # how often something was

    def __repr__(self) -> str:
        return f"<ReadCache {len(self._kept)} results, {self.bytes} bytes>"

    def __len__(self) -> int:
        return len(self._kept)

    def answer(self, pool: ServerPool, uri: str, exchange: Exchange, members: Mapping[str, Raw]) -> bool:
        """Answer a read from what is kept; else its answer may be kept. The call has been entered."""
        key = _key(pool, uri)
        if key is None or members.keys() != {"uri"}:
            return False
        found = self.find(key, monotonic())
        self._metrics.read_cache["miss" if found is None else "hit"] += 1
        if found is None:
            before = self._forgotten
            exchange.keep = lambda raw: self._answered(key, raw, before)
            return False
        exchange.answered(FromServer(result=Raw(found)))
        return True

    def find(self, key: _Key, now: float) -> bytes | None:
        place = (key.server, key.uri)
        kept = self._kept.get(place)
        if kept is None or kept.instance != key.instance:
            return None
        if kept.until <= now:
            self._remove(place)
            return None
        self._kept.move_to_end(place)
        return b'%b,"ttlMs":%d}' % (kept.result, int((kept.until - now) * 1000))

    def _answered(self, key: _Key, raw: bytes, before: int) -> None:
        """Keep an answer, unless something has changed since it was asked for."""
        if before == self._forgotten:
            self.put(key, raw, monotonic())

    def put(self, key: _Key, raw: bytes, now: float) -> None:
        """Keep a result, if its server allows that."""
        try:
            members = decode_members(raw)
        except McpError:
            return
        hint = read_hint(members)
        complete = bytes(members.get("resultType", Raw(b""))) == b'"complete"'
        if hint is None or not hint.public or hint.ttl <= 0 or not complete or len(raw) > MAX_ITEM:
            return
        del members["ttlMs"]
        place = (key.server, key.uri)
        self._remove(place)
        kept = _Kept(key.instance, join_members(dict(members))[:-1], now + hint.ttl)
        self._kept[place] = kept
        self.bytes += _size(place, kept)
        while self.bytes > self._max_bytes:
            self._remove(next(iter(self._kept)))

    def forget(self, server: str, uri: str | None = None) -> None:
        """A resource has changed, and with it what contains it; or all of a server's may have."""
        self._forgotten += 1
        if not self._kept:
            return
        if uri is None:
            places = [place for place in self._kept if place[0] == server]
        else:  # servers may tell of many
            places = [(server, container) for container in containers(uri)]
        for place in places:
            self._remove(place)

    def _remove(self, place: tuple[str, str]) -> None:
        if (kept := self._kept.pop(place, None)) is not None:
            self.bytes -= _size(place, kept)


def _size(place: tuple[str, str], kept: _Kept) -> int:
    return len(kept.result) + len(place[1]) + 200


def _key(pool: ServerPool, uri: str) -> _Key | None:
    """Where an answer would be kept; None where none may be."""
    last = pool.members.last
    if last is None or last.era is not Era.MODERN or pool.spec.sharing is not Sharing.SHARED:
        return None
    if pool.state in AWAY:
        return None  # its calls are refused, and so are these
    return _Key(pool.spec.id, last.id, uri)
