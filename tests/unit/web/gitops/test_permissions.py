"""Who may do what with the GitOps controller, and who counts as a person that approves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts

from fairlead.access.keys import KeyDigests
from fairlead.access.login import Logins
from fairlead.access.roster import Roster
from fairlead.core.admission import SignIn, is_public
from fairlead.model.access import Caller, Effect, Grant, Principal, Role
from fairlead.model.errors import ProblemError
from fairlead.model.reconciling import DeploymentState
from fairlead.ports import NO_RECORDER
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.identities import SqlIdentityStore
from fairlead.web.gitops_app import create_gitops_app
from fairlead.web.gitops_approval import Approvers
from fairlead.web.permissions import GITOPS_PERMISSIONS, PERMISSIONS, Reach
from fairlead.web.services import BrowserLogins
from support.gitops_web import BEARER, FIRST, GitOpsRig, gitops_services, policy, servers
from support.web_services import client

WRITING = {
    "/api/deployments": {"application": "fleet", "commit": FIRST},
    "/api/applications/{name}/holds": {"path": "servers.a", "seconds": 60, "reason": "x"},
    "/api/applications/{name}/resolve": {"object": "fleet", "key": "servers.a", "take": "remote"},
    "/api/config/validate": {"documents": {"applications/a.yml": "name: a"}},
    "/api/principals/{name}": {"role": "viewer"},
    "/api/keys": {},
}
"""Bodies that are understood, of those that need one."""


@pytest.fixture
async def rig() -> AsyncIterator[GitOpsRig]:
    rig = GitOpsRig()
    rig.commit(FIRST, {"fleet": servers()})
    async with rig.running():
        yield rig


@pytest.fixture
async def roster(tmp_path: Path) -> AsyncIterator[Roster]:
    database = await Database.open(sqlite_url(tmp_path / "o.db"), service="gitops")

    async def changed() -> None:
        return None

    yield Roster(SqlIdentityStore(database), KeyDigests(b"m" * 32), NO_RECORDER, changed)
    await database.close()


def path_of(route: str) -> str:
    for name, value in {
        "{id}": "nobody", "{name}": "fleet", "{commit}": FIRST, "{source}": "a~b",
    }.items():  # fmt: skip
        route = route.replace(name, value)
    return route


ROUTES = sorted(GITOPS_PERMISSIONS)


async def test_the_table_has_exactly_the_routes_of_the_app(rig, roster, tmp_path):
    logins = Logins.__new__(Logins)  # only that there are some counts here
    of = gitops_services(rig, roster=roster, browsers=BrowserLogins(logins, "http://x"))
    found = {
        (method, context.path)
        for context in iter_route_contexts(create_gitops_app(of).router.routes)
        for method in (context.methods or {"GET"})
        if not is_public(method.encode(), path_of(context.path).encode(), webhooks=True)
    }
    assert found - {("HEAD", "/openapi.json")} == set(GITOPS_PERMISSIONS)


def test_what_both_services_have_takes_the_same():
    for route in GITOPS_PERMISSIONS.keys() & PERMISSIONS.keys():
        assert GITOPS_PERMISSIONS[route] == PERMISSIONS[route], route


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_each_asks_what_the_table_says(rig, roster, method, route):
    permission = GITOPS_PERMISSIONS[method, route]
    plain = gitops_services(rig, roster=roster)
    chosen = gitops_services(rig, roster=roster, admits=policy(grants=(Grant(Effect.DENY, servers=("x",)),)))
    body = WRITING.get(route)
    async with client(plain) as stranger:
        assert (await stranger.request(method, path_of(route), json=body)).status_code == 401
    for role in Role:
        for of, choosing in ((plain, False), (chosen, True)):
            if route in ("/api/session", "/logout", "/api/login-links"):
                continue  # they are there with logins only
            async with client(of, **BEARER[role]) as http:
                answer = await http.request(method, path_of(route), json=body)
            refused = role < permission.role or (choosing and permission.reach is Reach.FLEET)
            assert (answer.status_code == 403) is refused, (role, choosing, answer.text)
            if role < permission.role:
                assert permission.role.word in answer.json()["detail"]


@pytest.mark.parametrize(
    "path", ["//api/deployments", "/api/deployments/", "/api/%64eployments", "/API/deployments"]
)
async def test_other_spellings_open_nothing(rig, path):
    body = {"application": "fleet", "commit": FIRST}
    async with client(gitops_services(rig), **BEARER[Role.VIEWER]) as http:
        assert (await http.post(path, json=body)).status_code in (403, 404, 405)
    assert all(row.actor != "viewer" for row in rig.rows.rows.values())


async def test_a_viewer_changes_nothing(rig):
    before = (dict(rig.rows.rows), dict(rig.store.kept), list(rig.store.held), rig.ownership.enabled)
    async with client(gitops_services(rig), **BEARER[Role.VIEWER]) as http:
        for method, route in ROUTES:
            await http.request(method, path_of(route), json=WRITING.get(route))
    after = (dict(rig.rows.rows), dict(rig.store.kept), list(rig.store.held), rig.ownership.enabled)
    assert before == after


class TestApproval:
    """The service's own tokens are nobody in particular."""

    def approvers(self, roster: Roster | None, **sign_in: str) -> Approvers:
        admits = replace(policy(), sign_in=SignIn(**sign_in))
        return Approvers(roster, lambda: admits)

    @pytest.mark.parametrize("name", ["local", "env"])
    async def test_the_only_one_there_is_may(self, roster, name):
        owner = Caller(name, Role.ADMIN, credential=f"{name}:x")
        assert await self.approvers(roster).name_of(owner) == name
        assert await self.approvers(None).name_of(owner) == name

    @pytest.mark.parametrize("name", ["local", "env"])
    async def test_not_where_somebody_else_could(self, roster, name):
        await roster.put_principal(Principal("ada", Role.OPERATOR), by="local")
        with pytest.raises(ProblemError, match="needs a person") as refused:
            await self.approvers(roster).name_of(Caller(name, Role.ADMIN, credential=f"{name}:x"))
        assert refused.value.problem.status == 403

    async def test_a_browser_that_the_local_token_let_in_is_no_person_either(self, roster):
        await roster.put_principal(Principal("ada", Role.OPERATOR), by="local")
        with pytest.raises(ProblemError, match="needs a person"):
            await self.approvers(roster).name_of(Caller("local", Role.ADMIN, credential="web:1"))

    @pytest.mark.parametrize(
        "nobody",
        [
            Principal("eve", Role.DEVELOPER),
            Principal("eve", Role.ADMIN, disabled=True),
            Principal("eve", Role.ADMIN, (Grant(servers=("a",)),)),
        ],
    )
    async def test_who_could_not_approve_does_not_count(self, roster, nobody):
        await roster.put_principal(nobody, by="local")
        assert await self.approvers(roster).name_of(Caller("local", Role.ADMIN)) == "local"

    async def test_people_of_an_authorization_server_count(self, roster):
        approvers = self.approvers(roster, issuer="https://login.example")
        with pytest.raises(ProblemError, match="needs a person"):
            await approvers.name_of(Caller("local", Role.ADMIN))
        assert await approvers.name_of(Caller("oauth:ada", Role.OPERATOR)) == "oauth:ada"

    async def test_over_rest(self, rig, roster):
        await roster.put_principal(Principal("ada", Role.OPERATOR), by="local")
        rig.row("waits", state=DeploymentState.WAITING, author="Operator <operator@example.org>")
        of = gitops_services(rig, roster=roster)
        async with client(of, **BEARER[Role.OPERATOR]) as author:
            answer = await author.post("/api/deployments/waits/approve")
            assert (answer.status_code, answer.json()["title"]) == (403, "Not allowed")
            assert "of their own" in answer.json()["detail"]
        async with client(of, **BEARER[Role.DEVELOPER]) as developer:
            assert (await developer.post("/api/deployments/waits/approve")).status_code == 403
        async with client(of, **BEARER[Role.ADMIN]) as other:
            answer = await other.post("/api/deployments/waits/approve")
            assert (answer.status_code, answer.json()["approvedBy"]) == (200, ["admin"])
            twice = await other.post("/api/deployments/waits/approve")
            assert twice.status_code in (403, 409)
