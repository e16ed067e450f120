"""`/api/audit`: who did what, when, with what outcome."""

from __future__ import annotations

from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fairlead.model.audit import DIGEST, AuditFilter, AuditKind, AuditRecord
from fairlead.model.errors import ProblemError
from fairlead.ports import Auditor, StoreAwayError
from fairlead.web.examples import SINCE, shown
from fairlead.web.live_following import problem_of
from fairlead.web.problems import documented
from fairlead.web.strict import StrictRoute

MAX_RECORDS: Final = 1000

Moment = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False)]
Word = Annotated[str | None, Query(min_length=1, max_length=500)]

_EXAMPLE: Final = AuditRecord(
    SINCE,
    AuditKind.CALL,
    principal="ada",
    credential="key:k1",
    action="tools/call",
    server="filesystem",
    instance="filesystem-1",
    tool="read_text_file",
    outcome="ok",
    seconds=0.0021,
    request_bytes=62,
    answer_bytes=5120,
    arguments=DIGEST + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
)


class Audit(Auditor, Protocol):
    """An `Auditor` that can be asked, too."""

    async def search(self, wanted: AuditFilter) -> list[AuditRecord]:
        """The latest that fit, newest first. Raises StoreAwayError."""
        ...


class AuditLine(BaseModel):
    """One record; what does not apply is left out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    at: float = Field(description="When it was over: Unix time, s")
    kind: AuditKind
    principal: str | None = None
    credential: str | None = Field(default=None, description="What was shown: key:ID, web:ID, local:..., ...")
    action: str | None = Field(default=None, description="tools/call, PUT /api/fleet, ...")
    server: str | None = None
    instance: str | None = None
    tool: str | None = Field(default=None, description="Or prompt, or resource: the server's own name")
    outcome: str | None = Field(default=None, description="ok, tool_error, timeout, ...; a problem's code")
    seconds: float | None = None
    request_bytes: int | None = Field(default=None, description="Of params, or of a body")
    answer_bytes: int | None = None
    arguments: str | None = Field(
        default=None, description="SHA-256 of the value of `arguments`, as sent; or without secrets, as JSON"
    )
    request_id: str | None = None
    peer: str | None = None
    detail: dict[str, Any] | None = None
    node: str | None = Field(default=None, description="The process, by the id of its state folder")


class AuditPage(BaseModel):
    records: list[AuditLine] = Field(description="The newest first")


def audit_router(audit: Audit) -> APIRouter:
    router = APIRouter(tags=["audit"], route_class=StrictRoute)
    example = {"records": [_EXAMPLE.document()]}

    @router.get(
        "/api/audit",
        summary="Who did what",
        response_model_exclude_none=True,
        responses={
            200: shown(audit=example),
            **documented(problem_of(StoreAwayError("orchestrator.db: disk full"))),
        },
    )
    async def search_audit(
        *,
        since: Moment = None,
        until: Moment = None,
        kind: AuditKind | None = None,
        principal: Word = None,
        server: Word = None,
        tool: Word = None,
        outcome: Word = None,
        limit: Annotated[int, Query(ge=1, le=MAX_RECORDS)] = 100,
    ) -> AuditPage:
        """The latest records that fit, from `since` on and before `until` (Unix time, s).

        For older ones go on with the last one's `at` as `until`. A call is here within a second.
        """
        wanted = AuditFilter(
            since=since,
            until=until,
            kind=kind,
            principal=principal,
            server=server,
            tool=tool,
            outcome=outcome,
            limit=limit,
        )
        try:
            records = await audit.search(wanted)
        except StoreAwayError as away:
            raise ProblemError(problem_of(away)) from None
        return AuditPage(records=[AuditLine.model_validate(record.document()) for record in records])

    return router
