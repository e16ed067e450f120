"""Two orchestrators on one PostgreSQL and one Valkey know the same people."""

from __future__ import annotations

import asyncio
import time

import pytest
from pydantic import SecretStr

from fairlead.model.access import Grant, Principal, Role
from fairlead.model.errors import ProblemError
from support.servers import cuttable_proxy
from support.stack import light, running

KEY = SecretStr("one-key-for-all-of-the-processes")
SERVERS = {"one": light(), "two": light()}


async def status(stack, token):
    headers = {"Authorization": f"Bearer {token}"}
    return (await stack.http.get(stack.url + "/api/me", headers=headers)).status_code


async def until_status(stack, token, wanted, within):
    begun = time.monotonic()
    while await status(stack, token) != wanted:
        assert time.monotonic() - begun < within
        await asyncio.sleep(0.01)


def shared(postgres_url, bus=None):
    return {"database": SecretStr(postgres_url), "key": KEY, "bus": bus and SecretStr(bus)}


@pytest.mark.parametrize("bus", ["there", "away", "none"])
async def test_a_key_revoked_in_one_is_refused_in_the_other(tmp_path, postgres_url, valkey_url, bus):
    bound = 1.0 if bus == "there" else 2.5
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    async with cuttable_proxy(valkey_url) as proxy:
        settings = shared(postgres_url, None if bus == "none" else proxy.url)
        async with (
            running(tmp_path / "a", SERVERS, settings=settings) as one,
            running(tmp_path / "b", SERVERS, settings=settings) as other,
        ):
            if bus == "away":
                await proxy.cut()
            key = await one.key("ada", Role.DEVELOPER)
            await until_status(other, key, 200, 3.0)
            client = other.modern(token=key)
            assert await client.text("two__echo", text="hi") == "hi"
            await one.key("ada", Role.DEVELOPER, Grant(servers=("one",)))
            async with asyncio.timeout(bound):
                while "error" not in await client.call("two__echo", text="hi"):
                    await asyncio.sleep(0.01)
            assert await client.text("one__echo", text="hi") == "hi"
            await one.remove("ada")
            await until_status(other, key, 401, bound)


async def test_another_key_is_told_at_the_start(tmp_path, postgres_url):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    async with running(tmp_path / "a", {}, settings=shared(postgres_url)) as stack:
        await stack.key("ada")
        with pytest.raises(ProblemError, match="the service's key is not the one") as caught:
            async with running(tmp_path / "b", {}, settings=shared(postgres_url) | {"key": None}):
                pass
        assert "FAIRLEAD_KEY" in caught.value.problem.detail
        assert KEY.get_secret_value() not in caught.value.problem.detail


async def test_while_the_database_is_away_people_come_in_and_nothing_changes(tmp_path, postgres_url):
    async with cuttable_proxy(postgres_url) as proxy:
        (tmp_path / "a").mkdir()
        async with running(tmp_path / "a", SERVERS, settings=shared(proxy.url)) as stack:
            key = await stack.key("ada", Role.DEVELOPER)
            await proxy.cut()
            client = stack.modern(token=key)
            assert await client.text("one__echo", text="hi") == "hi"
            for method, path, body in (
                ("PUT", "/api/principals/bob", {"role": "admin"}),
                ("POST", "/api/keys", {"principal": "ada"}),
                ("DELETE", "/api/principals/ada", None),
                ("GET", "/api/principals", None),
            ):
                answer = await stack.rest(method, path, json=body)
                assert answer.status_code == 503, (method, path)
                assert "retry-after" in answer.headers
            assert await client.text("one__echo", text="hi") == "hi"
            await proxy.heal()
            async with asyncio.timeout(20):
                while (await stack.rest("GET", "/api/principals")).status_code != 200:
                    await asyncio.sleep(0.05)
            principals = await stack.system.access.roster.principals()
            assert [each.name for each in principals] == ["ada"]
            await stack.system.access.roster.put_principal(Principal("ada", Role.VIEWER), by="t")
            answer = await client.post(client.message("tools/call", {"name": "one__echo", "arguments": {}}))
            assert answer.status_code == 403
