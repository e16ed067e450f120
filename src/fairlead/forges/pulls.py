"""Pull requests, in the same way at every forge; a dialect knows how one of them says it.

Opening is idempotent: what is open already is found first, and again when the forge refuses a second one
because somebody was faster. Only branches of the repository itself count: anybody may fork it, and name a
branch of the fork as ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from fairlead.forges.api import ForgeApi, Request

PAGE: Final = 50  # pull requests in an answer
MOST_PAGES: Final = 40


@dataclass(frozen=True, slots=True)
class Pull:
    """An open pull request; `url` is for a person."""

    number: int
    url: str


class Dialect(Protocol):
    """One project, in a forge's own words."""

    def headers(self, token: str) -> dict[str, str]: ...

    def listing(self, branch: str, onto: str | None, page: int) -> Request:
        """Open ones from `branch`, perhaps among others; pages are counted from 1 and have `PAGE` of them."""
        ...

    def pull(self, item: Any, branch: str, onto: str | None) -> Pull | None:
        """One of the forge's answer, if it is from `branch` of the project itself (and to `onto`)."""
        ...

    def creation(self, branch: str, onto: str, title: str, body: str) -> Request: ...

    def closing(self, number: int) -> Request: ...


class PullRequests:
    """Implements `ports.gitops.Forge`."""

    def __init__(self, url: str, dialect: Dialect, token: str) -> None:
        """`url` is the API's base."""
        self._dialect = dialect
        self._api = ForgeApi(url, dialect.headers(token))

    def __repr__(self) -> str:
        return f"PullRequests({self._api.url!r}, {self._dialect!r})"

    async def propose(self, *, branch: str, onto: str, title: str, body: str) -> str:
        if there := await self._open(branch, onto):
            return there[0].url
        request = self._dialect.creation(branch, onto, title, body)
        reply = await self._api.ask(request)
        if reply.status == 201 and (made := self._dialect.pull(reply.body, branch, onto)):
            return made.url
        if there := await self._open(branch, onto):  # somebody was faster
            return there[0].url
        raise self._api.unexpected(reply)

    async def withdraw(self, branch: str) -> None:
        for pull in await self._open(branch):
            reply = await self._api.ask(self._dialect.closing(pull.number))
            if reply.status not in {200, 201}:
                raise self._api.unexpected(reply)

    async def _open(self, branch: str, onto: str | None = None) -> list[Pull]:
        """Those of the first page that has any. Pages may be shorter than asked for; the last is empty."""
        for page in range(1, MOST_PAGES + 1):
            reply = await self._api.ask(self._dialect.listing(branch, onto, page))
            if reply.status != 200 or not isinstance(reply.body, list):
                raise self._api.unexpected(reply)
            found = [pull for item in reply.body if (pull := self._dialect.pull(item, branch, onto))]
            if found or not reply.body:
                return found
        return []


def pull_of(item: Any, *, number: str, url: str) -> Pull | None:
    """From the members of these names; None where they are not there."""
    if not isinstance(item, dict):
        return None
    match item.get(number), item.get(url):
        case int(found), str(address) if address.startswith(("https://", "http://")):
            return Pull(found, address)
    return None
