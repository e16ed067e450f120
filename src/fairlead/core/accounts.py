"""What callers have used of their limits in this process: an account for each, a bucket of a server, of all.

Requests in a minute hold over all processes (see `ratelimit`), calls in flight of one principal likewise: its
bound is shared out as its rate is. Calls in flight of a server, and of all, are bounded in each process: they
protect what a process has, its memory and its instances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fairlead.core.ratelimit import Gcra, Rate, Use

UNLIMITED: Final = Rate(1e12, 10**9)
ALL: Final = "all"
MAX_ACCOUNTS: Final = 2000  # those that owe nothing go when there are more
_LEAST_BURST: Final = 10
_BURST_SECONDS: Final = 10.0


def rate_of(per_minute: int | None, burst: int | None = None) -> Rate | None:
    """The rate as a spec says it; a sixth of the requests may come at once, unless `burst` says otherwise."""
    if per_minute is None:
        return None
    usual = max(min(_LEAST_BURST, per_minute), int(per_minute * _BURST_SECONDS / 60))
    return Rate(float(per_minute), usual if burst is None else burst)


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """What each principal may use, and (`total`) what all may; None: as much as it likes."""

    rate: Rate | None = None
    calls: int | None = None  # in flight
    total: Rate | None = None


class Account(Gcra):
    """What one principal uses: its requests, and its calls in flight, which are `calls` of `most`."""

    __slots__ = ("_bound", "calls", "most")

    def __init__(self, limits: AccountLimits, *, share: float, above: Gcra | None) -> None:
        self.calls = 0
        self.most: float = math.inf
        self._bound: float = math.inf
        super().__init__(limits.rate or UNLIMITED, share=share)
        self.limit(limits, above)

    def limit(self, limits: AccountLimits, above: Gcra | None) -> None:
        """Other limits from now on; what is used up stays so."""
        self._bound = math.inf if limits.calls is None else limits.calls
        self.above = above
        self.change(limits.rate or UNLIMITED)

    def set_share(self, share: float) -> None:
        super().set_share(share)
        self.most = max(1, math.ceil(self._bound * share)) if self._bound < math.inf else math.inf

    def use(self, now: float) -> Use | None:
        if self.rate is UNLIMITED and self._bound == math.inf:
            return None
        return super().use(now)

    @property
    def held(self) -> bool:
        return self.calls > 0


class Accounts:
    """All of one process. Buckets are told of by name: `principal:NAME`, `server:ID`, `all`."""

    def __init__(self) -> None:
        self.processes = 1  # that are known to share these limits, this one among them
        self._limits = AccountLimits()
        self._accounts: dict[str, Account] = {}  # by principal
        self._servers: dict[str, Gcra] = {}
        self._total: Gcra | None = None

    def __repr__(self) -> str:
        return f"<Accounts {len(self._accounts)} servers={len(self._servers)} processes={self.processes}>"

    def __len__(self) -> int:
        return len(self._accounts)

    def set_limits(self, limits: AccountLimits) -> None:
        """New limits; buckets that are not changed stay as full as they are."""
        self._limits = limits
        self._total = self._bucket(self._total, limits.total)
        for account in self._accounts.values():
            account.limit(limits, self._total)

    def of(self, principal: str) -> Account:
        account = self._accounts.get(principal)
        if account is None:
            share = 1 / self.processes
            account = self._accounts[principal] = Account(self._limits, share=share, above=self._total)
        return account

    def server(self, server: str, rate: Rate | None) -> Gcra | None:
        """The bucket of a server whose rate is bounded. None: it is not, or there is no such server."""
        bucket = self._bucket(self._servers.pop(server, None), rate)
        if bucket is not None:
            self._servers[server] = bucket
        return bucket

    def _bucket(self, there: Gcra | None, rate: Rate | None) -> Gcra | None:
        if rate is None:
            return None
        if there is None:
            return Gcra(rate, share=1 / self.processes)
        there.change(rate)
        return there

    def forget_idle(self, now: float) -> bool:
        """Let go of accounts that owe nothing, once there are very many; whether any went."""
        before = len(self._accounts)
        if before > MAX_ACCOUNTS:
            kept = {name: each for name, each in self._accounts.items() if each.calls or each.owes(now)}
            self._accounts = kept
        return len(self._accounts) < before

    # -- shared by processes -----------------------------------------------------------------------------

    def uses(self, now: float) -> dict[str, Use]:
        """What there is to tell the centre, by bucket; those that nobody used fall back to a fair share."""
        found: dict[str, Use] = {}
        for name, bucket in self._named():
            use = bucket.use(now)
            if use is not None:
                found[name] = use
            else:
                bucket.set_share(1 / self.processes)
        return found

    def told(self, uses: Mapping[str, Use], news: Mapping[str, tuple[float, int]], now: float) -> None:
        """The centre's answer: of each bucket the backlog, s, and how many processes use it now."""
        buckets = dict(self._named())
        for name, use in uses.items():
            if name in buckets and buckets[name].rate == use.rate:
                backlog, users = news[name]
                sharers = self.processes if buckets[name].fresh else users
                buckets[name].told(use, backlog, 1 / sharers, now)

    def apart(self) -> None:
        """The centre cannot be reached: go on with a fair share of everything."""
        for _, bucket in self._named():
            bucket.set_share(1 / self.processes)

    def _named(self) -> list[tuple[str, Gcra]]:
        named: list[tuple[str, Gcra]] = [(f"principal:{name}", each) for name, each in self._accounts.items()]
        named += [(f"server:{name}", each) for name, each in self._servers.items()]
        return named if self._total is None else [*named, (ALL, self._total)]
