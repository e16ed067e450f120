"""Following the feed on behalf of a client: what cannot be followed becomes a problem."""

from __future__ import annotations

from typing import Final

from fairlead.events.feed import EpochError, Feed, FutureError, GoneError, Subscription
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.events import StoredEvent
from fairlead.ports import StoreAwayError, StoreSlowError
from fairlead.web.live_filter import Wanted
from fairlead.web.store_gate import store_slow

RETRY: Final = 2.0  # s


async def follow(
    feed: Feed, since: int | None, wanted: Wanted, queue: int, *, epoch: str | None = None
) -> Subscription:
    """`feed.follow`, whose errors are problems: 410, 422, 503."""
    try:
        return await feed.follow(since, epoch=epoch, wanted=wanted, queue=queue)
    except (GoneError, FutureError, StoreAwayError) as error:
        raise ProblemError(problem_of(error)) from None


async def read_page(feed: Feed, after: int, limit: int, *, epoch: str | None = None) -> list[StoredEvent]:
    """`feed.page`, whose errors are problems: 410, 422, 503."""
    try:
        return await feed.page(after, limit, epoch=epoch)
    except (GoneError, FutureError, StoreAwayError) as error:
        raise ProblemError(problem_of(error)) from None


def problem_of(error: GoneError | FutureError | StoreAwayError) -> Problem:
    match error:
        case GoneError():
            return gone_problem(error)
        case FutureError():
            return Problem(
                "events-to-come",
                "There are no such events yet",
                f"`since` is a number that no event has yet; the latest is {error.latest}. Begin with that.",
                422,
                Fault.CLIENT,
                extra={"latest": error.latest},
            )
        case StoreSlowError():
            return store_slow(str(error))
        case _:
            detail = f"{error}. Try again in {RETRY:g} s."
            return Problem(
                "store-unavailable", "The database cannot be reached", detail, 503, Fault.GATEWAY, RETRY
            )


def gone_problem(error: GoneError) -> Problem:
    if isinstance(error, EpochError):
        return Problem(
            "events-gone",
            "The events have another history now",
            "The database was restored, or another one has taken over: numbers of before mean other events. "
            f"Take a snapshot, and go on with since={error.oldest - 1} and epoch={error.epoch}.",
            410,
            Fault.CLIENT,
            extra={"oldest": error.oldest, "epoch": error.epoch},
        )
    detail = (
        f"The events after `since` are not kept any more; the oldest that is kept has the number "
        f"{error.oldest}. Take a snapshot, and go on with since={error.oldest - 1}."
    )
    return Problem(
        "events-gone",
        "These events are not kept any more",
        detail,
        410,
        Fault.CLIENT,
        extra={"oldest": error.oldest},
    )
