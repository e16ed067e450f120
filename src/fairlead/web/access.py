"""`/api/principals`, `/api/keys` and `/api/me`: who may come in, and what each may do."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fairlead.access.roster import NAME, Roster, unknown_principal
from fairlead.core.access import EVERY
from fairlead.model.access import ApiKey, Caller, Effect, Grant, Principal, Role
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.web.examples import INVALID_BODY, as_json, shown
from fairlead.web.permissions import too_weak
from fairlead.web.problems import FieldError, documented, validation_problem
from fairlead.web.strict import NOT_JSON, StrictBody, StrictRoute, require_json

LONGEST: Final = 10 * 366 * 86400.0  # s that a key with an end may be good
_ROLES: Final = "^(viewer|developer|operator|admin)$"
Pattern = Annotated[str, Field(min_length=1, max_length=256)]
Patterns = Annotated[list[Pattern], Field(min_length=1, max_length=100)]
Name = Annotated[str, Path(description="The principal's name", max_length=128, examples=["ada"])]
NewName = Annotated[Name, Path(json_schema_extra={"pattern": f"^(?!(local|env)$){NAME.pattern}$"})]
KeyId = Annotated[str, Path(description="The key's id", max_length=64, examples=["9f86d081884c"])]


class GrantModel(StrictBody):
    """What may (not) be used. In patterns `*` stands for any characters, `?` for one."""

    effect: Annotated[Effect, Field(strict=False)] = Effect.ALLOW
    servers: Patterns = Field(default=[EVERY], description="Ids of servers")
    toolsets: Patterns = Field(
        default=[EVERY], description="Toolsets through which; `*` also for whoever uses none"
    )
    tools: Patterns = Field(
        default=[EVERY],
        description="The servers' own names of tools. With less than `*`, no prompts and resources.",
    )


class PrincipalBody(StrictBody):
    """Without grants that allow, all that the role allows may be used; a denial always wins."""

    role: str = Field(pattern=_ROLES, description="viewer, developer, operator or admin")
    grants: list[GrantModel] = Field(default_factory=list, max_length=100)
    disabled: bool = Field(default=False, description="Refused whatever it shows")


class PrincipalReport(BaseModel):
    """A person or program that may come in. `created` is Unix time, s."""

    name: str
    role: str
    grants: list[GrantModel]
    disabled: bool
    created: float


class PrincipalList(BaseModel):
    principals: list[PrincipalReport]


class KeyBody(StrictBody):
    """What the key is for, and how long it is good."""

    principal: str | None = Field(
        default=None, max_length=128, description="Whose key it is; without it, the caller's own"
    )
    label: str = Field(default="", max_length=200, description="Where it is used, for people")
    expires_in: float | None = Field(
        default=None, gt=0, le=LONGEST, description="Seconds; without it, it does not end"
    )


class KeyReport(BaseModel):
    """A key, without its value. Times are Unix time, s."""

    id: str
    principal: str
    label: str
    created: float
    expires: float | None
    revoked: float | None


class KeyList(BaseModel):
    keys: list[KeyReport]


class NewKeyReport(KeyReport):
    """A key that was just made: the only time that its value is shown."""

    key: str


class MeReport(BaseModel):
    """Who asks, by what, and what it may do."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    principal: str
    role: str
    grants: list[GrantModel]
    credential: str = Field(description="What was shown: key:ID, web:ID, jwt:..., local:... or env:...")
    expires: float | None = Field(description="Unix time, s; null for never")


_GRANT: Final = GrantModel(effect=Effect.ALLOW, servers=["filesystem"], tools=["read_*"])
_ADA: Final = PrincipalReport(
    name="ada", role="developer", grants=[_GRANT], disabled=False, created=1795348800.0
)
_KEY: Final = KeyReport(
    id="9f86d081884c", principal="ada", label="laptop", created=1795348800.0, expires=None, revoked=None
)
_BODY: Final[dict[str, Any]] = {
    "plain": {"summary": "All that a developer may", "value": {"role": "developer"}},
    "granted": {
        "summary": "Some tools of one server",
        "value": {"role": "developer", "grants": [{"servers": ["filesystem"], "tools": ["read_*"]}]},
    },
}
_KEYS: Final[dict[str, Any]] = {
    "own": {"summary": "The caller's own", "value": {"label": "laptop"}},
    "other": {"summary": "For a program", "value": {"principal": "ci", "expiresIn": 7776000}},
}
_BAD_NAME: Final = Problem(
    "bad-name", "'Ada' cannot name a principal", "use small letters", 422, Fault.CLIENT
)
_UNKNOWN_KEY: Final = Problem(
    "unknown-key", "No such key", "There is no key of that id, or it is not yours.", 404, Fault.CLIENT
)


def access_router(roster: Roster) -> APIRouter:
    router = APIRouter(tags=["access"], route_class=StrictRoute)
    me = MeReport(
        principal="ada", role="developer", grants=[_GRANT], credential="key:9f86d081884c", expires=None
    )

    @router.get("/api/me", summary="Who am I?", responses={200: shown(me=as_json(me))})
    async def get_me(request: Request) -> MeReport:
        """The caller's name, role and grants, and what it was let in by."""
        caller: Caller = request.state.caller
        return MeReport(
            principal=caller.name,
            role=caller.role.word,
            grants=list(map(_shown_grant, caller.grants)),
            credential=caller.credential,
            expires=caller.expires,
        )

    _add_principals(router, roster)
    _add_keys(router, roster)
    return router


def _add_principals(router: APIRouter, roster: Roster) -> None:
    example = as_json(PrincipalList(principals=[_ADA]))

    @router.get("/api/principals", summary="List the principals", responses={200: shown(principals=example)})
    async def list_principals() -> PrincipalList:
        """Those that are kept here; not `local` and `env`, and not those that access tokens name."""
        return PrincipalList(principals=list(map(_shown_principal, await roster.principals())))

    @router.put(
        "/api/principals/{name}",
        summary="Make or change a principal",
        dependencies=[Depends(require_json)],
        responses={200: shown(ada=as_json(_ADA)), **documented(NOT_JSON, INVALID_BODY, _BAD_NAME)},
    )
    async def put_principal(
        name: NewName, body: Annotated[PrincipalBody, Body(openapi_examples=_BODY)], request: Request
    ) -> PrincipalReport:
        """All of it is replaced; in force at once, also for what is open."""
        grants = tuple(
            Grant(grant.effect, tuple(grant.servers), tuple(grant.toolsets), tuple(grant.tools))
            for grant in body.grants
        )
        wanted = Principal(name, Role[body.role.upper()], grants, body.disabled)
        return _shown_principal(await roster.put_principal(wanted, by=request.state.caller.name))

    @router.delete(
        "/api/principals/{name}",
        status_code=204,
        summary="Remove a principal",
        responses=documented(unknown_principal("ada")),
    )
    async def remove_principal(name: Name, request: Request) -> None:
        """Its keys, sessions and credentials go with it, at once."""
        await roster.remove_principal(name, by=request.state.caller.name)


def _add_keys(router: APIRouter, roster: Roster) -> None:
    example = as_json(KeyList(keys=[_KEY]))
    new = NewKeyReport(**_KEY.model_dump(), key="flk_...")

    @router.get("/api/keys", summary="List API keys", responses={200: shown(keys=example)})
    async def list_keys(
        request: Request,
        principal: Annotated[str | None, Query(max_length=128, description="Whose")] = None,
    ) -> KeyList:
        """The caller's own; an administrator sees all. Their values are not known to anyone."""
        caller: Caller = request.state.caller
        if not _rules_all(caller):
            if principal not in (None, caller.name):
                raise ProblemError(too_weak(Role.ADMIN, caller))
            principal = caller.name
        return KeyList(keys=list(map(_shown_key, await roster.keys(principal))))

    @router.post(
        "/api/keys",
        status_code=201,
        summary="Make an API key",
        dependencies=[Depends(require_json)],
        responses={
            201: shown(key=as_json(new)),
            **documented(unknown_principal("local"), NOT_JSON, INVALID_BODY),
        },
    )
    async def add_key(
        body: Annotated[KeyBody, Body(openapi_examples=_KEYS)], request: Request
    ) -> NewKeyReport:
        """Its value is in this answer and nowhere else. It may do what its principal may.

        A key of one's own must end no later than the key that it is made with.
        """
        caller: Caller = request.state.caller
        principal = body.principal or caller.name
        if principal != caller.name and not _rules_all(caller):
            raise ProblemError(too_weak(Role.ADMIN, caller))
        now = time.time()
        expires = None if body.expires_in is None else now + body.expires_in
        if principal == caller.name and (own := await roster.end_of(caller)) is not None:
            _check_end(expires, own, now)
        made = await roster.add_key(principal, by=caller.name, label=body.label, expires=expires)
        return NewKeyReport(**_shown_key(made.key).model_dump(), key=made.value)

    @router.delete(
        "/api/keys/{id}", status_code=204, summary="Revoke an API key", responses=documented(_UNKNOWN_KEY)
    )
    async def revoke_key(id: KeyId, request: Request) -> None:  # noqa: A002 - the path's own name
        """It is refused from now on, and what was opened by it ends."""
        caller: Caller = request.state.caller
        owner = None if _rules_all(caller) else caller.name
        await roster.revoke_key(id, by=caller.name, owner=owner)


def _check_end(expires: float | None, own: float, now: float) -> None:
    """Nobody puts off his own end by a key that he makes for himself. Raises ProblemError (422)."""
    if expires is None or expires > own:
        left = max(0, int(own - now))
        what = f"the key would outlive the one that you make it with, which ends in {left} s"
        how = f"give less than {left}, or make it with a key that lasts longer"
        raise ProblemError(validation_problem([FieldError(where="body.expiresIn", what=what, how=how)]))


def _rules_all(caller: Caller) -> bool:
    """An administrator whose grants choose is none of people: he could give himself the rest."""
    return caller.role >= Role.ADMIN and not caller.grants


def _shown_principal(principal: Principal) -> PrincipalReport:
    return PrincipalReport(
        name=principal.name,
        role=principal.role.word,
        grants=list(map(_shown_grant, principal.grants)),
        disabled=principal.disabled,
        created=principal.created,
    )


def _shown_grant(grant: Grant) -> GrantModel:
    return GrantModel(
        effect=grant.effect,
        servers=list(grant.servers),
        toolsets=list(grant.toolsets),
        tools=list(grant.tools),
    )


def _shown_key(key: ApiKey) -> KeyReport:
    return KeyReport(
        id=key.id,
        principal=key.principal,
        label=key.label,
        created=key.created,
        expires=key.expires,
        revoked=key.revoked,
    )
