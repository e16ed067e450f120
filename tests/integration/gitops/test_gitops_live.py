"""The GitOps controller over its live connection: commands as by REST, and events as they happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from fairlead.model.access import Effect, Grant, Role
from fairlead.model.reconciling import DeploymentState
from support.gitops_live import GitOpsLive, gitops_live
from support.gitops_web import EVENTS, FIRST, SECOND, GitOpsRig, servers
from support.live_service import ask, told

MORE: dict[str, Any] = {
    "next": {"environment": "production", "promoted_from": "fleet", "sync": {"approval": True}},
}


@pytest.fixture
async def service() -> AsyncIterator[GitOpsLive]:
    rig = GitOpsRig(more=dict(MORE))
    rig.commit(FIRST, {"fleet": servers(), "next": servers()})
    async with gitops_live(rig) as running:
        yield running


@pytest.fixture
async def client(service: GitOpsLive) -> AsyncIterator[ClientConnection]:
    async with service.connect() as connected:
        welcome = await told(connected)
        assert (welcome["service"], welcome["principal"]) == ("gitops", "admin")
        yield connected


async def command(client: ClientConnection, name: str, **members: Any) -> dict[str, Any]:
    """The answer to a command; events that come before it are passed over."""
    answer = await ask(client, type="command", id=name, name=name, **members)
    while answer["type"] == "event":
        answer = await told(client)
    assert answer["id"] == name
    return answer


async def result(client: ClientConnection, name: str, **members: Any) -> Any:
    answer = await command(client, name, **members)
    assert answer["type"] == "result", answer
    return answer["result"]


async def get(client: ClientConnection, what: str, **members: Any) -> Any:
    answer = await ask(client, type="get", id=what, what=what, **members)
    assert answer["type"] == "result", answer
    return answer["result"]


def code(answer: dict[str, Any]) -> str:
    assert answer["type"] == "error", answer
    return answer["problem"]["type"].removeprefix("urn:fairlead:problem:")


async def events_until(client: ClientConnection, kind: str, **data: Any) -> list[dict[str, Any]]:
    """What is told, up to one of this type with these members."""
    found = []
    while True:
        message = await told(client)
        assert message["type"] == "event", message
        found.append(message["event"])
        last = found[-1]
        if last["type"] == kind and data.items() <= last["data"].items():
            return found


async def test_a_commit_is_told_from_its_declaration_to_its_end(service, client):
    types = [each.value for each in EVENTS]
    assert (await ask(client, type="subscribe", id="s", types=types))["type"] == "result"
    service.rig.more["new"] = {"environment": "staging"}
    service.rig.commit(SECOND, {"fleet": servers(["y"]), "next": servers(), "new": servers()})
    happened = await events_until(client, "sync-completed", application="fleet")
    by_kind = {event["type"]: event for event in happened if event["data"].get("application", "") != "new"}
    assert by_kind["config-changed"]["data"] == {
        "source": "config", "commit": SECOND, "added": ["new"], "changed": [], "removed": [],
    }  # fmt: skip
    started, completed = by_kind["deployment-started"]["data"], by_kind["deployment-completed"]["data"]
    assert started["deployment"] == completed["deployment"]
    assert (started["commit"], started["reason"], completed["state"]) == (SECOND, "commit", "succeeded")
    assert by_kind["sync-started"]["data"]["commit"] == SECOND
    assert by_kind["sync-completed"]["data"]["changed"] == 1
    numbers = [int(event["sequence"]) for event in happened]
    assert numbers == sorted(set(numbers))
    assert all(event["subject"] for event in happened)


async def test_an_edit_is_told_and_healed(service, client):
    assert (await ask(client, type="subscribe", id="s"))["type"] == "result"
    service.rig.edit("fleet", servers(["by hand"])["fleet"])
    happened = await events_until(client, "sync-completed", application="fleet")
    drift = next(event["data"] for event in happened if event["type"] == "drift-detected")
    assert (drift["application"], drift["object"], drift["key"]) == ("fleet", "fleet", "servers.a.args")
    assert (drift["kind"], drift["severity"], drift["state"]) == ("configuration", "high", "open")
    [started] = [event["data"] for event in happened if event["type"] == "deployment-started"]
    assert started["reason"] == "heal"
    async with service.http() as http:
        metrics = (await http.get("/metrics")).text
    assert (
        'claude_gitops_drift_total{application="fleet",kind="configuration",severity="high"} 1.0' in metrics
    )


async def test_a_promotion_is_approved_and_rolled_back(service, client):
    pending = await result(client, "promote", application="next")
    assert (pending["state"], pending["actor"]) == ("pending", "admin")
    await service.rig.state_of(pending["id"], DeploymentState.WAITING)
    async with service.connect(Role.OPERATOR) as other:
        await told(other)
        seen = (await get(other, "deployment", deployment=pending["id"]))["revision"]
        stale = await command(other, "approve", deployment=pending["id"], revision=seen - 1)
        assert code(stale) == "changed-meanwhile"
        approved = await result(other, "approve", deployment=pending["id"], revision=seen)
    assert approved["approvedBy"] == ["operator"]
    await service.rig.state_of(pending["id"], DeploymentState.SUCCEEDED)
    shown = await get(client, "deployment", deployment=pending["id"])
    assert [step["name"] for step in shown["steps"]][-1] == "finish"
    answer = await command(client, "rollback", deployment=pending["id"])
    assert code(answer) == "nothing-before"
    service.rig.commit(SECOND, {"fleet": servers(["y"]), "next": servers(["y"])})
    await service.rig.settle()
    latest = (await get(client, "application", application="fleet"))["deployment"]
    back = await result(client, "rollback", deployment=latest)
    assert (back["reason"], back["commit"]) == ("rollback", FIRST)
    await service.rig.state_of(back["id"], DeploymentState.SUCCEEDED)
    assert service.rig.target("fleet").document("fleet") == servers()["fleet"]


async def test_every_other_command(service, client):
    assert await result(client, "sync") == {"applications": ["fleet", "next"], "observed": []}
    assert (await result(client, "check", application="fleet"))["drift"] == []
    assert (await result(client, "suspend", application="fleet"))["suspended"]
    assert not (await result(client, "resume", application="fleet"))["suspended"]
    held = await result(
        client, "hold", application="fleet", path="servers.a.**", seconds=60, reason="incident 42"
    )
    assert held["by"] == "admin"
    assert await result(client, "release", application="fleet", path="servers.a.**") is None
    assert code(await command(client, "release", application="fleet", path="servers.a.**")) == "unknown-hold"
    pending = await result(client, "deploy", application="next", commit=FIRST)
    await service.rig.state_of(pending["id"], DeploymentState.WAITING)
    assert (await result(client, "cancel", deployment=pending["id"]))["state"] == "cancelled"
    assert await result(client, "unblock", application="next", commit=FIRST) is None
    resolving = {"object": "fleet", "key": "servers.a", "take": "local"}
    assert code(await command(client, "resolve", application="fleet", **resolving)) == "unknown-difference"


async def test_snapshots_are_as_rest_has_them(service, client):
    async with service.http() as http:
        for what, path in {
            "applications": "/api/applications",
            "sync": "/api/sync/status",
            "drift": "/api/drift/status",
            "deployments": "/api/deployments",
            "git": "/api/git/status",
        }.items():
            assert await get(client, what) == (await http.get(path)).json(), what
        shown = await get(client, "diff", application="fleet")
        assert shown == (await http.get("/api/applications/fleet/diff")).json()
    assert (await get(client, "drift", severity="critical", kind="service"))["drift"] == []


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("sync", {"commit": "main"}),
        ("sync", {"aplication": "fleet"}),
        ("deploy", {"application": "fleet"}),
        ("hold", {"application": "fleet", "path": "x", "seconds": "60", "reason": "x"}),
        ("resolve", {"application": "fleet", "object": "fleet", "take": "manual"}),
        ("approve", {"deployment": ""}),
        ("restart", {"server": "a"}),
    ],
)
async def test_messages_that_cannot_be(client, name, members):
    assert code(await command(client, name, **members)) == "invalid-request"
    assert (await ask(client, type="ping", id="p"))["type"] == "pong"


async def test_roles_are_those_of_rest(service):
    async with service.connect(Role.VIEWER) as viewer, service.connect(Role.DEVELOPER) as developer:
        assert (await told(viewer))["role"] == "viewer"
        await told(developer)
        assert await get(viewer, "sync")
        for name, members in {
            "check": {},
            "sync": {},
            "deploy": {"application": "next", "commit": FIRST},
            "promote": {"application": "next"},
            "suspend": {"application": "fleet"},
        }.items():
            assert code(await command(viewer, name, **members)) == "forbidden"
            if name != "check":
                assert code(await command(developer, name, **members)) == "forbidden"
        assert (await result(developer, "check"))["applications"] == 2
    assert {row.actor for row in service.rig.rows.rows.values()} == {"Bob <bob@example.org>"}
    refusals = [each for each in service.audit.records if each.kind.value == "refusal"]
    assert len(refusals) == 9
    assert {each.action for each in refusals} >= {"ws command deploy", "ws command promote"}


async def test_who_was_granted_some_servers_is_told_nothing():
    rig = GitOpsRig()
    rig.commit(FIRST, {"fleet": servers()})
    chosen = (Grant(Effect.DENY, servers=("x",)),)
    async with gitops_live(rig, grants=chosen) as service, service.connect() as client:
        await told(client)
        assert code(await ask(client, type="get", id="1", what="applications")) == "forbidden"
        refused = await ask(client, type="subscribe", id="s", types=["drift-detected"])
        assert code(refused) == "forbidden"
        assert (await ask(client, type="subscribe", id="s"))["type"] == "result"
        rig.edit("fleet", servers(["by hand"])["fleet"])
        await rig.settle()
        assert (await ask(client, type="ping", id="p"))["type"] == "pong"


async def test_while_the_database_is_away_nothing_is_changed_and_all_is_shown(service, client):
    service.away["store"] = "disk full"
    assert code(await command(client, "suspend", application="fleet")) == "store-unavailable"
    assert code(await command(client, "sync")) == "store-unavailable"
    assert await get(client, "applications")
    assert await result(client, "check") is not None


async def test_a_command_goes_on_when_its_client_has_gone(service):
    gate, there = asyncio.Event(), asyncio.Event()
    put = service.rig.store.put_hold

    async def slowly(hold: Any) -> None:
        there.set()
        await gate.wait()
        await put(hold)

    service.rig.store.put_hold = slowly
    async with service.connect() as client:
        await told(client)
        held = {"application": "fleet", "path": "servers.a", "seconds": 60, "reason": "x"}
        asking = asyncio.ensure_future(command(client, "hold", **held))
        await there.wait()
        asking.cancel()
    gate.set()
    while not service.rig.store.held:
        await asyncio.sleep(0)
    assert service.rig.store.held[0].by == "admin"
