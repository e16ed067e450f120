"""The fleet target against a real orchestrator with real servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.app.settings import TlsSettings
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import Severity
from fairlead.model.reconciling import Live
from fairlead.ports.gitops import ChangedMeanwhileError, Health, TargetAwayError, Write
from fairlead.stores.fleet_file import document, load_document
from fairlead.targets.fleet import FleetTarget
from fairlead.targets.orchestrator import Place
from support.git_server import Certificate
from support.service_process import Service
from support.stack import TOKEN, Stack, light, running, until

GUARD = 60.0  # s


def normal(written: Any) -> dict[str, Any]:
    loaded = load_document(dict(written), "test")
    assert loaded.spec is not None, loaded.problems
    return document(loaded.spec)


def target_of(url: str, token: str = TOKEN) -> FleetTarget:
    return FleetTarget(lambda: Place(url, token), normal)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"a": light(), "b": light()}) as running_stack:
        yield running_stack


async def live(target: FleetTarget) -> Live:
    return (await target.read(["fleet"]))["fleet"]


def changed(of: Live, **servers: dict[str, Any] | None) -> Write:
    """The fleet with some servers' members changed; None removes the server."""
    spec = json.loads(of.content)
    for name, members in servers.items():
        if members is None:
            del spec["servers"][name]
        else:
            spec["servers"].setdefault(name, {}).update(members)
    return Write("fleet", of.tag, json.dumps(spec).encode(), spec)


async def settled(target: FleetTarget) -> Health:
    async with asyncio.timeout(GUARD):
        while not (health := await target.health()).done:
            await asyncio.sleep(0.02)
    return health


async def edit(stack: Stack, server: str, **scaling: int) -> None:
    answer = await stack.rest("POST", f"/api/servers/{server}/scale", json=scaling)
    assert answer.status_code == 200, answer.text


async def test_what_is_there_is_read_in_the_spelling_that_desired_documents_are_brought_to(stack: Stack):
    target = target_of(stack.url)
    there = await live(target)
    written = json.loads(stack.fleet_file.read_text())
    assert there.document == target.normal(written) == json.loads(there.content)
    assert target.normal(there.document) == there.document
    assert (there.object, there.problem, there.by) == ("fleet", "", {})
    assert await target.read(["other"]) == {}
    assert TOKEN not in repr(target)
    assert TOKEN not in repr(Place(stack.url, TOKEN))


async def test_a_write_becomes_the_accepted_spec_and_what_it_touched_is_healthy(stack: Stack):
    target = target_of(stack.url)
    before = await live(target)
    write = changed(before, a={"args": light("--label", "2")["args"]}, b=None, c=light())
    told = await target.check([write])
    assert told == "starts c; replaces a; stops b"
    assert (await live(target)).tag == before.tag, "a dry run changes nothing"
    tag = await target.write(write)
    assert await settled(target) == Health(True, True, f"generation {target.generation} is as it should be")
    after = await live(target)
    assert (after.tag, list(after.document["servers"])) == (tag, ["a", "c"])
    status = (await stack.rest("GET", "/api/fleet")).json()
    assert (status["owner"], status["generation"], target.generation) == ("gitops", 2, 2)


async def test_live_edits_are_known_by_name_and_go_when_a_write_does_not_have_them(stack: Stack):
    target = target_of(stack.url)
    accepted = await live(target)
    await edit(stack, "a", maxInstances=3)
    edited = await live(target)
    assert dict(edited.by) == {"servers.a.scaling.maxInstances": "env"}
    back = Write("fleet", edited.tag, accepted.content, accepted.document)
    assert "takes back live edits of servers.a.scaling.maxInstances" in await target.check([back])
    await target.write(back)
    after = await live(target)
    assert (after.document, dict(after.by)) == (accepted.document, {})


async def test_a_live_edit_that_a_write_has_stays(stack: Stack):
    target = target_of(stack.url)
    await edit(stack, "a", maxInstances=3)
    edited = await live(target)
    key = "servers.a.scaling.maxInstances"
    write = replace(changed(edited, b=None), keeps=(key,))
    assert await target.check([write]) == "stops b"
    await target.write(write)
    after = await live(target)
    assert after.document["servers"]["a"]["scaling"]["maxInstances"] == 3
    assert "b" not in after.document["servers"]
    assert dict(after.by) == {key: "env"}
    assert (await stack.rest("DELETE", "/api/fleet/overrides")).status_code == 200
    assert "scaling" not in (await live(target)).document["servers"]["a"]


async def test_what_was_changed_meanwhile_is_not_written_over(stack: Stack):
    target = target_of(stack.url)
    stale = changed(await live(target), b=None)
    await edit(stack, "a", maxInstances=3)
    with pytest.raises(ChangedMeanwhileError, match="changed meanwhile"):
        await target.write(stale)
    with pytest.raises(ChangedMeanwhileError):
        await target.write(Write("fleet", None, stale.content, stale.document))
    assert (await live(target)).document["servers"]["a"]["scaling"]["maxInstances"] == 3


async def test_a_server_that_cannot_start_is_refused_and_the_fleet_is_as_before(stack: Stack):
    target = target_of(stack.url)
    before = await live(target)
    with pytest.raises(ProblemError) as refused:
        await target.write(changed(before, a={"args": ["-c", "raise SystemExit(1)"]}))
    assert (refused.value.problem.code, refused.value.problem.status) == ("change-refused", 409)
    after = await live(target)
    assert (after.document, after.tag) == (before.document, before.tag)
    assert target.generation is None


async def test_a_write_that_is_given_up_ends_there_too(stack: Stack):
    target = target_of(stack.url)
    before = await live(target)
    mute = {"args": ["-c", "import time; time.sleep(3600)"], "timeouts": {"start": "50m"}}
    writing = asyncio.create_task(target.write(changed(before, a=mute)))
    async with asyncio.timeout(GUARD):
        while not await _is_changing(stack):
            await asyncio.sleep(0.02)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await target.settle()
    after = await live(target)
    assert (after.document, after.tag) == (before.document, before.tag)
    assert not await _is_changing(stack)
    await target.write(changed(after, b=None))
    assert (await settled(target)).healthy


async def _is_changing(stack: Stack) -> bool:
    status = (await stack.rest("GET", "/api/fleet")).json()
    return any(each["type"] == "Reconciling" and each["status"] for each in status["conditions"])


@pytest.mark.parametrize("members", [{"comand": "x"}, {"command": "x", "scaling": {"minInstances": -1}}])
async def test_a_wrong_spec_is_refused_when_it_is_checked(stack: Stack, members: dict[str, Any]):
    target = target_of(stack.url)
    there = await live(target)
    for attempt in (target.check([changed(there, new=members)]), target.write(changed(there, new=members))):
        with pytest.raises(ProblemError) as refused:
            await attempt
        assert refused.value.problem.status == 422
        assert refused.value.problem.extra["problems"]


async def test_a_fleet_is_not_removed(stack: Stack):
    target = target_of(stack.url)
    gone = Write("fleet", (await live(target)).tag, None, None)
    for attempt in (target.check([gone]), target.write(gone)):
        with pytest.raises(ProblemError, match="cannot be removed"):
            await attempt


async def test_a_new_server_that_fails_is_not_healthy_and_one_without_its_secret_is(stack: Stack):
    target = target_of(stack.url)
    await target.write(changed(await live(target), bad={"command": "no-such-command-at-all"}))
    health = await settled(target)
    assert (health.healthy, health.done) == (False, True)
    assert "bad is blocked" in health.message
    keyless = light(environment={"KEY": "${NOBODY_HAS_SET_THIS}"})
    await target.write(changed(await live(target), bad=None, keyless=keyless))
    health = await settled(target)
    assert (health.healthy, health.done) == (True, True)
    assert "keyless is blocked: needs NOBODY_HAS_SET_THIS" in health.message


async def test_a_server_that_a_write_left_alone_does_not_count(stack: Stack):
    target = target_of(stack.url)
    await target.write(changed(await live(target), bad={"command": "no-such-command-at-all"}))
    assert not (await settled(target)).healthy
    await target.write(changed(await live(target), c=light()))
    assert (await settled(target)).healthy
    another = target_of(stack.url)
    assert not (await settled(another)).healthy, "without a write of its own, all count"


async def test_what_does_not_run_as_it_should_is_told(stack: Stack):
    target = target_of(stack.url)
    assert await target.symptoms() == []
    assert (await stack.rest("POST", "/api/servers/b/stop")).status_code == 200
    [stopped] = await target.symptoms()
    assert (stopped.object, stopped.key, stopped.severity) == ("fleet", "servers.b.state", Severity.HIGH)
    assert (stopped.live, stopped.desired) == ('"stopped"', '"ready"')
    assert (await stack.rest("POST", "/api/servers/b/start")).status_code == 200
    await stack.ready("b")
    assert await target.symptoms() == []


class Heard:
    """What `changes` says, as it comes."""

    def __init__(self, target: FleetTarget) -> None:
        self.said: list[str] = []
        self._changes = target.changes()
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async with contextlib.aclosing(self._changes) as changes:
            async for each in changes:
                self.said.append(each)

    async def __aenter__(self) -> Heard:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def test_changes_are_heard(stack: Stack):
    kept: list[dict[str, Any]] = []
    while sum(event["type"] == "instance-ready" for event in kept) < 2:  # what belongs to the start
        kept = (await stack.rest("GET", "/api/events")).json()["events"]
    async with Heard(target_of(stack.url)) as heard:
        await until(lambda: heard.said == ["", ""])
        await edit(stack, "a", maxInstances=3)
        await until(lambda: heard.said == ["", "", "fleet"])
        assert (await stack.rest("POST", "/api/servers/b/stop")).status_code == 200
        await until(lambda: heard.said[3:] != [])
        assert set(heard.said[2:]) == {"fleet"}


async def test_an_orchestrator_that_goes_and_comes_back_elsewhere(tmp_path: Path):
    service = Service(tmp_path / "it")
    target = FleetTarget(lambda: Place(service.url, TOKEN), normal)
    await service.start()
    async with Heard(target) as heard:
        await until(lambda: heard.said.count("") == 2)
        tag = (await live(target)).tag
        await service.kill()
        await until(lambda: heard.said.count("") == 3)
        for attempt in (target.read(["fleet"]), target.health(), target.symptoms()):
            with pytest.raises(TargetAwayError, match="cannot be reached"):
                await attempt
        async with service.running():
            await until(lambda: heard.said.count("") == 4)
            with pytest.raises(ChangedMeanwhileError):
                await target.write(Write("fleet", tag, b"", (await live(target)).document))


@pytest.mark.parametrize("token", ["flt_wrong", ""], ids=["wrong", "none"])
async def test_a_token_that_is_not_good_is_told(stack: Stack, token: str):
    target = target_of(stack.url, token)
    with pytest.raises(ProblemError) as refused:
        await target.read(["fleet"])
    assert refused.value.problem.status == 401
    assert "mend the target's `token`" in refused.value.problem.detail
    async with Heard(target) as heard:
        await until(lambda: heard.said == ["", ""])  # once when it did not succeed, then silence


async def test_over_tls_only_who_is_trusted_is_spoken_to(tmp_path: Path):
    own = Certificate(tmp_path / "own")
    settings = {"tls": TlsSettings(certificate=own.chain, key=own.key)}
    async with running(tmp_path, {"a": light()}, settings=settings) as stack:
        trusting = ssl.create_default_context(cafile=own.chain)
        target = FleetTarget(lambda: Place(stack.url, TOKEN, trusting), normal)
        there = await live(target)
        await target.write(changed(there, a={"args": light("--label", "2")["args"]}))
        async with Heard(target) as heard:
            await until(lambda: heard.said.count("") == 2)
            before = len(heard.said)
            await edit_over_tls(stack, trusting)
            await until(lambda: len(heard.said) > before)
        stranger = target_of(stack.url)
        with pytest.raises(TargetAwayError, match="TLS failed"):
            await stranger.read(["fleet"])


async def edit_over_tls(stack: Stack, trusting: ssl.SSLContext) -> None:
    async with httpx.AsyncClient(base_url=stack.url, verify=trusting) as http:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = await http.post("/api/servers/a/scale", json={"maxInstances": 3}, headers=headers)
    assert answer.status_code == 200, answer.text
