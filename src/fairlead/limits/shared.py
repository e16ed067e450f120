"""Limits of one service that is several processes: the centre of their buckets, in Redis or Valkey.

See `core.ratelimit` for how they are shared. Here is the loop that tells the centre what was used and hears
what is left, and the centre itself: a script that does for each bucket what `core.ratelimit.settled` does. It
keeps a hash for each bucket that is in use (`arrival`, in microseconds of the server's clock; and when each
process told of it last), and a sorted set of the processes that are there. Whatever is not touched for a
while is forgotten. No request ever waits for any of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from fairlead.core.accounts import Accounts
from fairlead.core.ratelimit import MOST_OWED, RECENT, Use
from fairlead.kit.redis import redis_client
from fairlead.kit.tasks import Tasks, require_running

PERIOD: Final = 0.1  # s between two tellings, while there is anything to tell
HEARTBEAT: Final = 1.0  # s, else
TIMEOUT: Final = 0.5  # s for one telling
PAUSES: Final = (0.1, 0.2, 0.5, 1.0)  # s after failures in a row; then the last one again and again
PRESENT: Final = 5.0  # s for which a process that says nothing counts as there
AT_ONCE: Final = 200  # buckets of one telling: the server does nothing else meanwhile

# KEYS: the set of processes, then the buckets. ARGV: this process, and times in microseconds: how long it
# counts as present, and as a user; the most that is owed; then of each bucket the requests' cost, the time
# over which they came, and the capacity. Returns the number of processes, then of each bucket the backlog and
# the number of its users.
_SCRIPT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local me, present, recent, owed = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function whole(number) return string.format('%.0f', number) end
redis.call('ZADD', KEYS[1], whole(now), me)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. whole(now - present))
redis.call('PEXPIRE', KEYS[1], whole(present / 1000))
local answer = {redis.call('ZCARD', KEYS[1])}
for index = 2, #KEYS do
  local cost, came, capacity = unpack(ARGV, 3 * index - 1, 3 * index + 1)
  local arrival, users = 0, 1
  local kept = redis.call('HGETALL', KEYS[index])
  for field = 1, #kept, 2 do
    local value = tonumber(kept[field + 1])
    if kept[field] == 'arrival' then
      arrival = value
    elseif kept[field] ~= me then
      if value < now - recent then
        redis.call('HDEL', KEYS[index], kept[field])
      else
        users = users + 1
      end
    end
  end
  arrival = math.max(arrival, now - came) + cost
  arrival = math.min(arrival, now + capacity + owed)
  local backlog = math.max(0, arrival - now)
  redis.call('HSET', KEYS[index], 'arrival', whole(arrival), me, whole(now))
  redis.call('PEXPIRE', KEYS[index], whole((backlog + recent) / 1000))
  answer[2 * index - 2] = whole(backlog)
  answer[2 * index - 1] = users
end
return answer
"""

LOG = structlog.get_logger("fairlead.limits")
_AWAY: Final = (RedisError, OSError)  # TimeoutError is an OSError


class SharedLimits:
    """Shares the accounts of this process with the others of its service."""

    def __init__(self, url: str, accounts: Accounts, *, service: str, process: str) -> None:
        """`url` as of the setting `bus`; `process` is another one for each process and each start.

        Raises ProblemError for what is no such URL.
        """
        self._redis = redis_client(url, "fairlead-limits", connect=TIMEOUT, answer=TIMEOUT)
        self._accounts = accounts
        self._prefix = f"fairlead:{service}:limits:"
        self._process = f"process:{process}"
        self._script = self._redis.register_script(_SCRIPT)
        self._tasks = Tasks(self._task_failed)
        self._connected = False
        self._reason = "not connected yet"
        self._tellings = 0

    def __repr__(self) -> str:
        return f"<SharedLimits connected={self._connected} tellings={self._tellings} {self._accounts}>"

    @property
    def connected(self) -> bool:
        """False: this process goes on with its fair share among those that it saw last."""
        return self._connected

    @property
    def reason(self) -> str:
        """Why it is not connected; empty while it is."""
        return "" if self._connected else self._reason

    def start(self) -> None:
        self._tasks.spawn(self._share(), "share limits")

    async def close(self) -> None:
        """Leave at once, so that the others need not keep a share for this process."""
        await self._tasks.close()
        if self._connected:
            try:
                async with asyncio.timeout(TIMEOUT):
                    await self._redis.zrem(self._prefix + "processes", self._process)
            except _AWAY:
                pass  # it is forgotten soon anyway
        self._connected, self._reason = False, "closed"
        await self._redis.aclose()

    async def _share(self) -> None:
        loop = asyncio.get_running_loop()
        pauses = iter(PAUSES)
        told = float("-inf")  # loop time
        while True:
            now = loop.time()
            uses = self._accounts.uses(now)
            pause = PERIOD
            if uses or now >= told + HEARTBEAT:
                try:
                    await self._tell_all(uses)
                except _AWAY as away:
                    self._is_away(away)
                    pause = next(pauses, PAUSES[-1])
                else:
                    told, pauses = now, iter(PAUSES)
                    self._is_back()
            require_running()
            await asyncio.sleep(pause)

    async def _tell_all(self, uses: Mapping[str, Use]) -> None:
        items = list(uses.items())
        for start in range(0, max(1, len(items)), AT_ONCE):
            await self.tell(dict(items[start : start + AT_ONCE]))

    async def tell(self, uses: Mapping[str, Use]) -> None:
        """One telling. Raises RedisError, OSError."""
        async with asyncio.timeout(TIMEOUT):
            answer: Sequence[Any] = await self._script(
                keys=[self._prefix + "processes", *(f"{self._prefix}bucket:{name}" for name in uses)],
                args=[self._process, *map(_micros, (PRESENT, RECENT, MOST_OWED)), *_arguments(uses)],
            )
        self._tellings += 1
        self._accounts.processes = max(1, int(answer[0]))
        backlogs = (int(backlog) / 1e6 for backlog in answer[1::2])
        news = zip(backlogs, map(int, answer[2::2]), strict=True)
        self._accounts.told(uses, dict(zip(uses, news, strict=True)), asyncio.get_running_loop().time())

    def _is_away(self, error: BaseException) -> None:
        reason = str(error) or type(error).__name__
        if self._connected or self._reason == "not connected yet":
            LOG.error("limits are not shared", reason=reason, processes=self._accounts.processes)
        self._connected, self._reason = False, reason
        self._accounts.apart()

    def _is_back(self) -> None:
        if not self._connected:
            LOG.info("limits are shared", processes=self._accounts.processes)
        self._connected = True

    def _task_failed(self, name: str, error: BaseException) -> None:
        LOG.error("task failed", task=name, exc_info=error)
        self._is_away(error)


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def _arguments(uses: Mapping[str, Use]) -> list[int]:
    found: list[int] = []
    for use in uses.values():
        found += map(_micros, (use.spent * use.rate.interval, use.seconds, use.rate.capacity))
    return found
