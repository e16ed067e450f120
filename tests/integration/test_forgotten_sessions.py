"""Backends over HTTP that forget the gateway's session: it begins a new one behind its clients' backs."""

import asyncio
import contextlib

import pytest

from support.forgetful import Forgetful
from support.stack import running, until

statuses = pytest.mark.parametrize("status", [404, 400])


@contextlib.asynccontextmanager
async def service(tmp_path, status, **spec):
    async with Forgetful(status).serving() as far:
        server = {"url": far.url, "transport": "streamable-http", **spec}
        async with running(tmp_path, {"far": server}) as stack:
            yield far, stack


@statuses
async def test_of_a_shared_server_clients_notice_nothing(tmp_path, status):
    """Not even of calls that must not happen twice: who does not know the session has not begun them."""
    async with service(tmp_path, status) as (far, stack):
        session = await stack.session()
        for tool in ("echo", "write", "write"):
            far.forget()
            assert await session.text(f"far__{tool}", text="x") == "x"
        assert far.begun == ["echo x", "write x", "write x"]
        far.forget()
        request = {
            "server": "far",
            "method": "tools/call",
            "params": {"name": "write", "arguments": {"text": "y"}},
        }
        answer = await stack.rest("POST", "/api/request", json=request)
        assert answer.json()["result"]["content"][0]["text"] == "y"
        assert far.begun.count("write y") == 1


@statuses
async def test_a_call_that_had_begun_is_not_begun_again(tmp_path, status):
    async with service(tmp_path, status) as (far, stack):
        session = await stack.session()
        waits = asyncio.create_task(session.call("far__wait"))
        await until(lambda: far.begun == ["wait"])
        far.forget()
        assert await session.text("far__echo", text="x") == "x"
        error = (await waits)["error"]
        assert "session ended by the server; the call was not replayed" in error["message"]
        assert far.begun == ["wait", "echo x"]


@statuses
async def test_a_session_whose_own_instance_is_gone_is_told_and_begins_anew(tmp_path, status):
    spec = {"sharing": "session", "scaling": {"maxInstances": 4}}
    async with service(tmp_path, status, **spec) as (far, stack):
        ada, bob = await stack.session(), await stack.session()
        for count in ("1", "2"):
            assert await ada.text("far__count") == count
            assert await bob.text("far__count") == count
        far.forget()
        error = (await ada.call("far__count"))["error"]
        assert "the server's state went with the instance" in error["message"]
        assert await ada.text("far__count") == "1"
        assert await ada.text("far__count") == "2"
        error = (await bob.call("far__count"))["error"]
        assert "the server's state went with the instance" in error["message"]
        assert await bob.text("far__count") == "1"
        assert len(stack.system.gateway.sessions) == 2


async def test_an_instance_whose_session_goes_while_it_comes_up_is_given_up_at_once(tmp_path):
    """Nothing that is asked on a link that is over would ever be answered."""
    async with service(tmp_path, 404, sharing="session", scaling={"maxInstances": 4}) as (far, stack):
        session = await stack.session()
        for _ in range(3):  # each time another one is being warmed up behind
            assert "result" in await session.call("far__echo", text="x")
            far.forget()
            assert "error" in await session.call("far__echo", text="x")
        assert await session.text("far__echo", text="x") == "x"


async def test_a_server_that_wants_another_session_for_a_tool_keeps_its_own(tmp_path):
    """An error of the request itself is the client's to see, whatever it speaks of."""
    async with service(tmp_path, 404) as (_, stack):
        session = await stack.session()
        told = await session.call("far__echo", wrong="a session")
        assert told["result"]["isError"]
        assert stack.system.fleet.server("far").instances[0].id == "far-1"
