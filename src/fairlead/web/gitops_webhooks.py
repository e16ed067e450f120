"""`/webhooks/{source}`: a Git host says that something was pushed.

It needs no token: what it brings is proved by the source's secret, and it says no more than "look now".
Whatever is not proved gets one and the same answer, whether there is such a source or not. Only these are
counted against a rate, so that nobody who floods us can keep a real webhook out.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from pydantic import Field

from fairlead.core import refusals
from fairlead.core.admission import WEBHOOK_BYTES
from fairlead.core.ratelimit import Gcra, Rate
from fairlead.git.webhooks import REPLAYED, UNPROVED, Refusal
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.status import StatusModel
from fairlead.web.examples import as_json, shown
from fairlead.web.gitops_examples import NEWER
from fairlead.web.gitops_services import Webhooks
from fairlead.web.problems import documented

RATE: Final = Rate(per_minute=60.0, burst=30)  # of what is not proved, by everybody together
_TITLES: Final = {
    400: ("webhook-unreadable", "The webhook cannot be read"),
    401: ("webhook-unproved", "The webhook is not proved"),
    409: ("webhook-replayed", "The webhook came before"),
}


class WebhookAnswer(StatusModel):
    """What was understood. The source is fetched if its branch was pushed to."""

    kind: str = Field(description="github, gitlab, gitea")
    branch: str | None = Field(description="null for anything but a push to a branch")
    commit: str | None = Field(description="That the branch is at now; null when it was removed")


def gitops_webhooks_router(webhooks: Webhooks) -> APIRouter:
    router = APIRouter(tags=["webhooks"])
    unproved = Gcra(RATE)
    example = as_json(WebhookAnswer(kind="github", branch="main", commit=NEWER))
    unreadable = Refusal(400, "the body is no JSON; choose the content type application/json", proved=True)

    @router.post(
        "/webhooks/{source}",
        status_code=202,
        summary="Take a webhook",
        responses={
            202: {"description": "It is looked at"} | shown(push=example),
            **documented(
                *map(_problem, (unreadable, UNPROVED, REPLAYED)),
                refusals.body_too_large(WEBHOOK_BYTES),
                refusals.rate_limited(1.0),
            ),
        },
        openapi_extra={"security": [], "requestBody": _body()},
    )
    async def receive_webhook(
        source: Annotated[str, Path(description="The source's name", max_length=128, examples=["config"])],
        request: Request,
    ) -> WebhookAnswer:
        """Of GitHub, GitLab, Gitea or Forgejo, with the source's `webhookSecret`.

        Without a good signature (or GitLab's token) the answer is 401, whatever else is wrong.
        """
        headers = dict(request.headers.items())
        found = webhooks.receive(source, headers, await request.body(), time.time())
        if isinstance(found, Refusal):
            if not found.proved and (wait := unproved.admit(asyncio.get_running_loop().time())):
                raise ProblemError(refusals.rate_limited(wait))
            raise ProblemError(_problem(found))
        return WebhookAnswer(kind=found.kind, branch=found.branch, commit=found.commit)

    return router


def _problem(refusal: Refusal) -> Problem:
    code, title = _TITLES[refusal.status if refusal.proved else 401]
    return Problem(code, title, f"{refusal.message}.", refusal.status, Fault.CLIENT)


def _body() -> dict[str, Any]:
    push = {"ref": "refs/heads/main", "after": NEWER}
    return {
        "description": "As the host sends it",
        "content": {
            "application/json": {"schema": {"type": "object"}, "examples": {"push": {"value": push}}}
        },
    }
