"""Every route of the running service, with every kind of credential that is too weak for it."""

from __future__ import annotations

import time

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from fairlead.core.admission import is_public
from fairlead.model.access import Effect, Grant, Role
from fairlead.web.permissions import PERMISSIONS, Reach
from support.stack import light, running

GRANT = Grant(servers=("other",))


def routes(app):
    """All (method, route template) of the app, but for what is public."""
    found = {
        (method, context.path)
        for context in iter_route_contexts(app.router.routes)
        for method in (context.methods or {"GET"})
        if not is_public(method.encode(), path_of(context.path).encode())
    }
    return sorted(found - {("HEAD", "/openapi.json")})


def path_of(route: str) -> str:
    return (
        route.replace("{id}", "one")
        .replace("{name}", "ada")
        .replace("{server}", "one")
        .replace("{toolset}", "one")
    )


async def test_the_table_has_every_route_and_each_asks_what_it_says(tmp_path):
    async with running(tmp_path, {"one": light()}) as stack:
        table = routes(stack.system.app)
        assert set(table) == set(PERMISSIONS)
        keys = {role: await stack.key(role.word, role) for role in Role}
        keys |= {f"{role.word} of another": await stack.key(f"{role.word}-2", role, GRANT) for role in Role}
        roster = stack.system.access.roster
        expired = (await roster.add_key("admin", by="t", expires=time.time() - 1)).value
        revoked = await roster.add_key("admin", by="t")
        await roster.revoke_key(revoked.key.id, by="t")
        nobody = {"none": None, "unknown": "flk_" + "x" * 43, "expired": expired, "revoked": revoked.value}

        async def answer(method, route, token) -> httpx.Response:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return await stack.http.request(method, stack.url + path_of(route), headers=headers)

        for method, route in table:
            for why, token in nobody.items():
                assert (await answer(method, route, token)).status_code == 401, (method, route, why)
            permission = PERMISSIONS[method, route]
            for role in Role:
                weak = role < permission.role
                elsewhere = permission.reach in (Reach.SERVER, Reach.FLEET)
                for key, refused in ((role, weak), (f"{role.word} of another", weak or elsewhere)):
                    if not refused:
                        continue
                    got = await answer(method, route, keys[key])
                    assert got.status_code == 403, (method, route, key, got.text)
                    assert got.json()["type"] == "urn:fairlead:problem:forbidden"
                    assert weak == (permission.role.word in got.json()["detail"])


async def test_what_is_allowed_is_let_through(tmp_path):
    async with running(tmp_path, {"one": light()}) as stack:
        for role in Role:
            headers = {
                "Authorization": f"Bearer {await stack.key('ada', role, Grant(Effect.DENY, servers=('x',)))}"
            }
            for method, route in routes(stack.system.app):
                permission = PERMISSIONS[method, route]
                mine = role >= permission.role and permission.reach is not Reach.FLEET
                if mine and method == "GET" and route not in ("/ws", "/api/metrics/trends"):
                    got = await stack.http.request(method, stack.url + path_of(route), headers=headers)
                    assert got.status_code in (200, 404), (role, route, got.text)


@pytest.mark.parametrize(
    "target", ["//api/principals", "/api//principals", "/api/principals/", "/api/%70rincipals"]
)
async def test_other_spellings_of_a_path_open_nothing(tmp_path, target):
    async with running(tmp_path, {}) as stack:
        headers = {"Authorization": f"Bearer {await stack.key('eve', Role.OPERATOR)}"}
        got = await stack.http.get(stack.url + target, headers=headers)
        assert got.status_code in (403, 404)
        assert "created" not in got.text
