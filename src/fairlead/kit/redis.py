"""Connections to Redis or Valkey, as all of the service opens them."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fairlead.model.errors import Fault, Problem, ProblemError


def redis_client(url: str, name: str, *, connect: float, answer: float) -> Redis:
    """A client that connects when it is used. `connect` and `answer` are limits in s; `name` is for people.

    `url` is `redis://`, `rediss://` (TLS) or `unix://`, as of the setting `bus`. It tries nothing twice: its
    owner does. It speaks RESP2, which every server does. Raises ProblemError for what is no such URL.
    """
    try:
        client: Redis = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=answer,
            socket_connect_timeout=connect,
            retry=Retry(NoBackoff(), 0),
            client_name=name,
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        )
    except ValueError:  # its text may repeat the URL, and that the password
        detail = "it must be redis://[user:password@]host[:port][/number], rediss://... or unix:///path"
        raise ProblemError(Problem("bad-settings", "bus: not a URL", detail, 400, Fault.CLIENT)) from None
    return client
