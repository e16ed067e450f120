"""`/api/credentials`: what the caller gives us for upstream servers. It is never shown again."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Body, Depends, Path
from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from starlette.requests import Request
from starlette.responses import Response

from fairlead.access.credentials import Credentials, OAuthClient
from fairlead.core.access import may_use
from fairlead.drivers.http_endpoint import header_lines
from fairlead.kit.fetch import check_url, is_loopback
from fairlead.model.access import Caller
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.web.examples import INVALID_ID, SINCE, UNKNOWN_SERVER, shown
from fairlead.web.problems import FieldError, documented, validation_problem
from fairlead.web.services import Services
from fairlead.web.strict import NOT_JSON, StrictBody, StrictRoute, given, require_json

MAX_HEADERS: Final = 20
Server = Annotated[str, Path(description="The id of a server", max_length=128, examples=["github"])]
Line = Annotated[str, Field(min_length=1, max_length=512)]
Value = Annotated[SecretStr, Field(min_length=1, max_length=8192)]


class OAuthBody(StrictBody):
    """An OAuth client. With a refresh token that is used, else the client's own credentials are."""

    token_url: Line
    client_id: Line
    client_secret: Value | None = None
    refresh_token: Value | None = None
    scope: Line | None = None


class CredentialBody(StrictBody):
    """Exactly one of the two."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [given("headers"), given("oauth")]})

    headers: dict[str, Value] | None = Field(default=None, min_length=1, max_length=MAX_HEADERS)
    oauth: OAuthBody | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.headers is None) == (self.oauth is None):
            msg = "give either headers or oauth"
            raise ValueError(msg)
        return self


class CredentialReport(BaseModel):
    """That there is one. `kind` is `headers` or `oauth`; `at` is Unix time, s."""

    server: str
    kind: str
    at: float


class CredentialList(BaseModel):
    credentials: list[CredentialReport]


_EXAMPLES: Final[dict[str, Example]] = {
    "headers": {"summary": "Headers", "value": {"headers": {"Authorization": "Bearer ghp_..."}}},
    "oauth": {
        "summary": "An OAuth client",
        "value": {
            "oauth": {
                "tokenUrl": "https://login.example.com/token",
                "clientId": "fairlead",
                "refreshToken": "rt...",
            }
        },
    },
}
NO_CREDENTIAL: Final = Problem(
    "unknown-credential",
    "No such credential",
    "You have given no credential for this server. PUT gives one.",
    404,
    Fault.CLIENT,
)
NOT_TAKEN: Final = Problem(
    "credential-not-taken",
    "This server takes no credentials",
    "Everybody uses it with the same credential. `credentials: principal` in the fleet file changes that.",
    409,
    Fault.CLIENT,
)


def credentials_router(services: Services, credentials: Credentials) -> APIRouter:
    router = APIRouter(prefix="/api/credentials", tags=["access"], route_class=StrictRoute)
    example = CredentialReport(server="github", kind="oauth", at=SINCE).model_dump()

    @router.get(
        "",
        summary="For which servers the caller has given a credential",
        responses={200: shown(credentials={"credentials": [example]})},
    )
    async def list_credentials(request: Request) -> CredentialList:
        """Those that the caller was granted; never what they are."""
        caller: Caller = request.state.caller
        described = await credentials.describe_all(caller.name)
        return CredentialList(
            credentials=[
                CredentialReport(server=server, kind=kind, at=at)
                for server, (kind, at) in described.items()
                if may_use(caller.grants, server)
            ]
        )

    @router.get(
        "/{server}",
        summary="Whether the caller has given a credential",
        responses={200: shown(credential=example), **documented(NO_CREDENTIAL, INVALID_ID)},
    )
    async def get_credential(server: Server, request: Request) -> CredentialReport:
        """That and when; never what."""
        services.fleet.server(server)
        found = await credentials.describe(request.state.caller.name, server)
        if found is None:
            raise ProblemError(NO_CREDENTIAL)
        return CredentialReport(server=server, kind=found[0], at=found[1])

    @router.put(
        "/{server}",
        summary="Give a credential for a server",
        responses={
            200: shown(credential=example),
            **documented(UNKNOWN_SERVER, NOT_TAKEN, NOT_JSON, INVALID_ID),
        },
        dependencies=[Depends(require_json)],
    )
    async def put_credential(
        server: Server,
        body: Annotated[CredentialBody, Body(openapi_examples=_EXAMPLES)],
        request: Request,
    ) -> CredentialReport:
        """Calls of the caller reach the server with it, from the next one on."""
        url = _url_of(services, server)
        name = request.state.caller.name
        if body.headers is not None:
            headers = {name: value.get_secret_value() for name, value in body.headers.items()}
            _check_headers(headers)
            at, kind = await credentials.put_headers(name, server, headers), "headers"
        else:
            assert body.oauth is not None
            _check_token_url(body.oauth.token_url, url)
            at, kind = await credentials.put_oauth(name, server, _client(body.oauth)), "oauth"
        return CredentialReport(server=server, kind=kind, at=at)

    @router.delete(
        "/{server}",
        status_code=204,
        summary="Take a credential back",
        responses=documented(NO_CREDENTIAL, INVALID_ID),
    )
    async def remove_credential(server: Server, request: Request) -> Response:
        """What was opened with it ends at once."""
        if not await credentials.remove(request.state.caller.name, server):
            raise ProblemError(NO_CREDENTIAL)
        return Response(status_code=204)

    return router


def _url_of(services: Services, server: str) -> str:
    """Raises ProblemError: there is no such server (404), or it takes no credentials (409)."""
    services.fleet.server(server)
    entry: dict[str, Any] = services.config.current().get("servers", {}).get(server) or {}
    if entry.get("credentials") != "principal":
        raise ProblemError(NOT_TAKEN)
    return str(entry.get("url", ""))


def _check_headers(headers: dict[str, str]) -> None:
    if len({name.lower() for name in headers}) != len(headers):
        raise _invalid("body.headers", "a header stands twice", "give each once")
    for name, value in headers.items():
        try:
            header_lines({name: value})
        except ProblemError as bad:
            raise _invalid(f"body.headers.{name[:64]}", bad.problem.detail, "change it") from None


def _check_token_url(token_url: str, url: str) -> None:
    """Where we are sent with a secret: by TLS, and to this machine only for a server that is on it."""
    place = url.partition("?")[0]
    try:
        host = check_url(token_url).hostname or ""
        own = check_url(place).hostname or "" if "$" not in place else ""
    except ValueError as wrong:
        raise _invalid("body.oauth.tokenUrl", str(wrong), "mend it") from None
    if is_loopback(host) and not is_loopback(own):
        what = "it is on this machine, and the server is not"
        raise _invalid("body.oauth.tokenUrl", what, "give that of the server's authorization server")


def _client(body: OAuthBody) -> OAuthClient:
    return OAuthClient(
        body.token_url,
        body.client_id,
        body.client_secret.get_secret_value() if body.client_secret else None,
        body.refresh_token.get_secret_value() if body.refresh_token else None,
        body.scope,
    )


def _invalid(where: str, what: str, how: str) -> ProblemError:
    return ProblemError(validation_problem([FieldError(where=where, what=what, how=how)]))
