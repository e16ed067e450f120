"""A forge's REST API: JSON over HTTPS with a token, and its refusals as problems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from fairlead.kit.fetch import Answer, FetchError, Reach, fetch
from fairlead.model.errors import Fault, Problem, ProblemError

TIMEOUT: Final = 20.0  # s
LARGEST: Final = 8 * 1024 * 1024  # bytes of an answer: a page of pull requests
AGAIN: Final = 30.0  # s after which a forge that is away is asked again
BUSY: Final = 60.0  # s, where it does not say how long it wants to be left alone
_LONGEST_TEXT: Final = 500  # characters of a forge's own words


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str  # below the API's base URL
    query: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` is JSON, None where it was none; `said` the forge's own words of an error."""

    status: int
    body: Any = field(repr=False)

    @property
    def said(self) -> str:
        """GitHub and Gitea: a text, perhaps with a list; GitLab: a text, a list, a mapping of lists."""
        if not isinstance(self.body, dict):
            return ""
        found: list[str] = []
        for name in ("message", "error", "errors"):
            found += _texts(self.body.get(name))
        return "; ".join(dict.fromkeys(found))[:_LONGEST_TEXT]


@dataclass(frozen=True, slots=True)
class ForgeApi:
    """The API below `url`; `headers` hold the token."""

    url: str
    headers: Mapping[str, str] = field(repr=False)

    async def ask(self, request: Request) -> Reply:
        """The answer, if the forge took the request or refused it for what it says (400, 409, 422).

        Raises ProblemError for everything else; with `retry_after` where it passes.
        """
        content = b"" if request.body is None else json.dumps(request.body).encode()
        headers = {**self.headers, **({"Content-Type": "application/json"} if content else {})}
        url = self.url + request.path + (f"?{urlencode(request.query)}" if request.query else "")
        try:
            answer = await fetch(
                url,
                method=request.method,
                headers=headers,
                body=content,
                timeout=TIMEOUT,
                reach=Reach(limit=LARGEST),
            )
        except FetchError as away:
            raise self._away(str(away), AGAIN) from None
        reply = Reply(answer.status, _json(answer))
        if answer.status in {200, 201, 400, 409, 422}:
            return reply
        raise self._refusal(answer, reply.said)

    def unexpected(self, reply: Reply) -> ProblemError:
        """The forge's answer is an error, or not what its API promises."""
        if reply.status < 400:
            what = "its answer is not what its API promises: is `url` the one of the API, and `kind` right?"
        else:
            what = f"it answered with status {reply.status}: {reply.said or 'without a reason'}"
        return self._problem("forge-refused", "The forge refuses the pull request", what)

    def _refusal(self, answer: Answer, said: str) -> ProblemError:
        words = f" ({said})" if said else ""
        busy = answer.headers.get("retry-after") or answer.headers.get("x-ratelimit-remaining") == "0"
        if answer.status == 429 or (answer.status == 403 and busy):
            wait = answer.headers.get("retry-after", "")
            return self._away(f"it wants fewer requests{words}", float(wait) if wait.isdecimal() else BUSY)
        if answer.status >= 500:
            return self._away(f"it answered with status {answer.status}{words}", AGAIN)
        if answer.status in {401, 403}:
            what = f"the token is not good for pull requests there{words}: mend the forge's `token`"
            return self._problem("forge-refused", "The forge refuses the token", what)
        if answer.status == 404:
            what = f"it has no such project, or hides it from this token{words}: mend `project` or `token`"
            return self._problem("forge-refused", "The forge does not know the project", what)
        return self.unexpected(Reply(answer.status, {"message": said}))

    def _away(self, what: str, again: float) -> ProblemError:
        return self._problem("forge-away", "The forge does not answer", what, again)

    def _problem(self, code: str, title: str, what: str, again: float | None = None) -> ProblemError:
        detail = f"{self.url}: {what}"
        return ProblemError(Problem(code, title, detail, 502, Fault.UPSTREAM, again))


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _texts(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [text for item in value[:20] for text in _texts(item)]
        case {"message": str(text)}:
            return [text]
        case dict():
            return [f"{name} {text}" for name, item in list(value.items())[:20] for text in _texts(item)]
        case _:
            return []
