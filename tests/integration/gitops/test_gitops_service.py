"""The GitOps controller's service beside a real orchestrator, in the checkout that its fleet file is in."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from fairlead.app.compose import System
from fairlead.app.gitops_compose import GitOpsSystem
from fairlead.app.gitops_run import serving_gitops
from fairlead.app.listening import addresses, listening, listening_for_gitops
from fairlead.app.run import serving
from fairlead.app.settings import Settings
from fairlead.model.access import Principal, Role
from fairlead.stores.state import GITOPS, StateFolder
from support.repositories import Repository
from support.stack import TOKEN, fleet, light

GUARD = 60.0  # s
CHECKOUT = "checkout"
Holds = Callable[[Any], bool]


@dataclass
class Place:
    """A checkout with a fleet file in it, and the services that run there."""

    folder: Path
    http: httpx.AsyncClient = field(repr=False)
    gitops: str = ""  # its URL
    orchestrator: str = ""
    system: GitOpsSystem | None = None
    fleet: System | None = None

    def settings(self) -> Settings:
        return Settings(
            config=self.folder / "fleet.yml",
            state_dir=self.folder.parent / "state",
            workspace=self.folder.parent / "workspace",
            port=0,
            gitops_port=0,
            token=SecretStr(TOKEN),
        )

    def write(self, *servers: str, **options: Any) -> None:
        """The fleet file, not committed."""
        (self.folder / "fleet.yml").write_text(fleet_of(*servers, **options))

    async def ask(
        self, path: str, method: str = "GET", *, at: str | None = None, status: int = 200, **more: Any
    ) -> Any:
        answer = await self.http.request(method, (at or self.gitops) + path, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def until(self, path: str, holds: Holds, *, at: str | None = None) -> Any:
        """Ask again and again until the answer is so."""
        answer = None
        try:
            async with asyncio.timeout(GUARD):
                while not holds(answer := await self.ask(path, at=at)):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"{path} stays {json.dumps(answer, indent=1)}")
        return answer

    async def until_ready(self, commit: str, name: str = CHECKOUT) -> None:
        """The application is as the commit says."""

        def is_so(found: Any) -> bool:
            return any(
                each["name"] == name and each["applied"] == commit and ready(each)
                for each in found["applications"]
            )

        await self.until("/api/applications", is_so)

    async def until_servers(self, *names: str, owner: str) -> None:
        """The orchestrator has these, and says who has decided that."""

        def is_so(found: Any) -> bool:
            return set(found["spec"]["servers"]) == set(names) and found["owner"] == owner

        await self.until("/api/fleet", is_so, at=self.orchestrator)

    async def source(self, name: str = CHECKOUT) -> Any:
        [found] = [each for each in (await self.ask("/api/git/status"))["sources"] if each["name"] == name]
        return found

    @asynccontextmanager
    async def with_orchestrator(self) -> AsyncIterator[None]:
        settings = self.settings()
        state = StateFolder(settings.state_dir)
        state.prepare()
        with listening(settings) as listeners:
            async with serving(settings, state, listeners) as self.fleet:
                found = addresses(listeners)
                self.orchestrator = found["orchestrator"]
                state.write_run(found, "0")
                try:
                    yield
                finally:
                    state.clear_run()

    @asynccontextmanager
    async def with_gitops(self) -> AsyncIterator[None]:
        settings = self.settings()
        state = StateFolder(settings.state_dir, GITOPS)
        state.prepare()
        with listening_for_gitops(settings) as listener:
            async with serving_gitops(settings, state, listener) as self.system:
                self.gitops = listener.address
                yield


def fleet_of(*servers: str, **options: Any) -> str:
    return fleet({name: light(**options) for name in servers})


def ready(application: Any) -> bool:
    return any(each["type"] == "Ready" and each["status"] for each in application["conditions"])


@asynccontextmanager
async def both(folder: Path) -> AsyncIterator[Place]:
    """Both services, with the fleet file of `folder`."""
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=GUARD) as http:
        place = Place(folder, http)
        async with place.with_orchestrator(), place.with_gitops():
            yield place


@pytest.fixture
def checkout(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "checkout")
    repository.commit({"fleet.yml": fleet_of("a")})
    return repository


async def test_a_checkout_is_observed(checkout: Repository):
    async with both(checkout.path) as place:
        first = checkout.head
        await place.until_ready(first)
        assert (await place.ask("/api/gitops"))["enabled"] is False
        place.write("a", "b")  # the orchestrator takes it: the file is in charge
        await place.until_servers("a", "b", owner="file")
        found = await place.until("/api/drift/status", lambda answer: "uncommitted" in json.dumps(answer))
        states = {(each["key"], each["state"]) for each in found["drift"]}
        assert ("servers.b", "uncommitted") in states
        second = checkout.commit({"fleet.yml": fleet_of("a", "b")})
        await place.until_ready(second)
        assert not (await place.ask("/api/drift/status"))["drift"]
        assert checkout.head == second
        assert checkout.git("status", "--porcelain", "--ignored") == ""
        assert checkout.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"


async def test_enabled_git_is_in_charge_and_disabled_the_file_is_again(checkout: Repository):
    async with both(checkout.path) as place:
        await place.until_ready(checkout.head)
        assert (await place.ask("/api/gitops/enable", "POST"))["enabled"] is True
        await place.until_servers("a", owner="gitops")
        second = checkout.commit({"fleet.yml": fleet_of("a", "b")})
        await place.until_ready(second)
        await place.until_servers("a", "b", owner="gitops")
        place.write("a", "b", "c")
        await place.until("/api/drift/status", lambda answer: "servers.c" in json.dumps(answer))
        await place.until_servers("a", "b", owner="gitops")
        assert checkout.git("status", "--porcelain") == "M fleet.yml"
        assert checkout.head == second
        assert (await place.ask("/api/gitops/disable", "POST"))["enabled"] is False
        await place.until_servers("a", "b", "c", owner="file")
        await place.until("/api/applications/checkout", lambda found: found["mode"] == "observe")


async def test_what_is_decided_is_remembered_and_a_switched_branch_is_taken(checkout: Repository):
    folder = checkout.path
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=GUARD)
        )
        place = Place(folder, http)
        await stack.enter_async_context(place.with_orchestrator())
        async with place.with_gitops():
            await place.until_ready(checkout.head)
            await place.ask("/api/gitops/enable", "POST")
        checkout.git("switch", "-q", "-c", "other")
        other = checkout.commit({"fleet.yml": fleet_of("b")})
        checkout.git("switch", "-q", "main")
        async with place.with_gitops():
            assert (await place.ask("/api/gitops"))["enabled"] is True
            await place.until_ready(checkout.head)
            checkout.git("switch", "-q", "other")
            await place.until_ready(other)
            await place.until_servers("b", owner="gitops")
            checkout.git("switch", "-q", "main")
            await place.until_servers("a", owner="gitops")
            assert (await place.source())["reason"] == ""


async def test_who_may_come_in_is_known_to_both(checkout: Repository):
    async with both(checkout.path) as place:
        assert place.fleet is not None
        roster = place.fleet.access.roster
        await roster.put_principal(Principal("ada", Role.VIEWER), by="test")
        key = (await roster.add_key("ada", by="test")).value

        async def status(method: str, path: str) -> int:
            headers = {"Authorization": f"Bearer {key}"}
            return (await place.http.request(method, place.gitops + path, headers=headers)).status_code

        async def until_status(wanted: int) -> None:
            async with asyncio.timeout(GUARD):
                while await status("GET", "/api/applications") != wanted:
                    await asyncio.sleep(0.1)

        await until_status(200)
        assert await status("POST", "/api/gitops/enable") == 403
        await roster.remove_principal("ada", by="test")
        await until_status(401)
        assert (await place.ask("/api/gitops"))["enabled"] is False


async def test_a_fleet_that_is_away_is_given_back_when_it_is_there_again(checkout: Repository):
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=GUARD) as http:
        place = Place(checkout.path, http)
        async with place.with_gitops():
            async with place.with_orchestrator():
                await place.until_ready(checkout.head)
                await place.ask("/api/gitops/enable", "POST")
                await place.until_servers("a", owner="gitops")
            problem = await place.ask("/api/gitops/disable", "POST", status=503)
            assert "as soon as that can be" in problem["detail"]
            assert (await place.ask("/api/gitops"))["enabled"] is False
        async with place.with_gitops(), place.with_orchestrator():
            await place.until_servers("a", owner="file")


@pytest.mark.parametrize(
    ("oddity", "expected"),
    [
        ("none", "NoRepository"),
        ("unborn", "NoCommit"),
        ("detached", "DetachedHead"),
        ("shallow", "ShallowClone"),
        ("linked", "LinkedWorktree"),
        pytest.param(
            "foreign",
            "ForeignOwner",
            marks=pytest.mark.skipif(
                os.geteuid() != 0, reason="only root can give a folder to somebody else"
            ),
        ),
    ],
)
async def test_an_odd_checkout_is_told_and_stops_nothing(tmp_path: Path, oddity: str, expected: str):
    folder = made(oddity, tmp_path)
    if not (folder / "fleet.yml").exists():
        (folder / "fleet.yml").write_text(fleet_of("a"))
    async with both(folder) as place:
        await place.until("/api/git/status", lambda found: found["sources"] and found["sources"][0]["reason"])
        source = await place.source()
        assert source["reason"] == expected
        assert source["message"]
        if expected in {"DetachedHead", "ShallowClone", "LinkedWorktree"}:
            await place.until_ready(source["head"])
        await place.until("/health", lambda found: found["status"] == "ok")
        await place.until(
            "/api/servers", lambda found: found["servers"][0]["state"] == "ready", at=place.orchestrator
        )


def made(oddity: str, folder: Path) -> Path:
    if oddity == "none":
        (folder / "none").mkdir()
        return folder / "none"
    if oddity == "unborn":
        return Repository(folder / "unborn").path
    repository = Repository(folder / "repository")
    for text in (fleet_of("b"), fleet_of("a")):
        repository.commit({"fleet.yml": text})
    if oddity == "detached":
        repository.git("checkout", "-q", "--detach")
    elif oddity == "shallow":
        return repository.clone(folder / "shallow", "--depth=1").path
    elif oddity == "linked":
        repository.git("worktree", "add", "-q", "-b", "linked", str(folder / "linked"))
        return folder / "linked"
    elif oddity == "foreign":
        for file in (repository.path, *repository.path.rglob("*")):
            os.chown(file, 12345, 12345)
    return repository.path


def application(name: str, root: Path) -> str:
    return json.dumps({
        "version": "1", "name": name, "path": f"apps/{name}", "render": "files", "policy": "remote",
        "target": {"files": {"root": str(root)}},
    })  # fmt: skip


def declaring(folder: Path, *names: str, home: Path) -> Repository:
    """A configuration repository with an application of files for each name."""
    repository = Repository(folder)
    files = {f"applications/{name}.yml": application(name, home / name) for name in names}
    files |= {f"apps/{name}/base/files/note": f"{folder.name}\n" for name in names}
    repository.commit(files)
    return repository


def name_sources(folder: Path, **sources: Repository) -> None:
    """Replaces gitops.yml."""
    document = {"version": "1", "sources": {name: {"url": str(each.path)} for name, each in sources.items()}}
    new = folder / "gitops.yml.new"
    new.write_text(json.dumps(document))
    new.replace(folder / "gitops.yml")


async def test_gitops_yml_is_followed(checkout: Repository, tmp_path: Path):
    home = tmp_path / "home"
    for name in ("one", "two"):
        (home / name).mkdir(parents=True)
    first = declaring(tmp_path / "first", "one", home=home)
    second = declaring(tmp_path / "second", "one", "two", home=home)
    async with both(checkout.path) as place:
        await place.until_ready(checkout.head)
        name_sources(checkout.path, first=first)
        await place.until_ready(first.head, "one")
        assert (home / "one/note").read_text() == "first\n"
        name_sources(checkout.path, first=first, second=second)
        await place.until_ready(second.head, "two")
        refused = await place.until(
            "/api/git/status",
            lambda found: (
                "two sources" in json.dumps(found)
                or any(each["name"] == "second" and each["reason"] for each in found["sources"])
            ),
        )
        [told] = [each for each in refused["sources"] if each["name"] == "second"]
        assert told["reason"] == "InvalidConfig"
        assert "one: the source first declares it already" in told["message"]
        (checkout.path / "gitops.yml").write_text("version: '1'\nsources: [\n")
        broken = await place.until("/api/git/status", lambda found: found["reason"])
        assert broken["reason"] == "InvalidConfig"
        assert "gitops.yml:" in broken["message"]
        assert {each["name"] for each in broken["sources"]} == {"checkout", "first", "second"}
        assert (await place.ask("/health"))["status"] == "degraded"
        third = first.commit({"apps/one/base/files/note": "still followed\n"})
        await place.until_ready(third, "one")
        name_sources(checkout.path, second=second)
        await place.until_ready(second.head, "one")
        assert (home / "one/note").read_text() == "second\n"
        (checkout.path / "gitops.yml").unlink()
        await place.until(
            "/api/applications", lambda found: [each["name"] for each in found["applications"]] == [CHECKOUT]
        )
        assert (home / "two/note").read_text() == "second\n"
        assert (await place.ask("/api/git/status"))["reason"] == ""
        await place.until("/health", lambda found: found["status"] == "ok")


def keeping(folder: Path, name: str) -> Repository:
    """A configuration repository whose application is this machine's fleet, with one server of its name."""
    repository = Repository(folder)
    document = {"version": "1", "name": name, "target": {"fleet": {}}, "path": "x", "render": "servers.yml"}
    repository.commit(
        {f"applications/{name}.yml": json.dumps(document), "x/base/servers.yml": fleet_of(name)}
    )
    return repository


async def test_two_do_not_keep_one_fleet(checkout: Repository, tmp_path: Path):
    one, two = keeping(tmp_path / "one", "one"), keeping(tmp_path / "two", "two")
    name_sources(checkout.path, one=one)
    async with both(checkout.path) as place:
        await place.until_servers("one", owner="gitops")
        name_sources(checkout.path, one=one, two=two)
        told = await place.until("/api/git/status", lambda found: "two: the application" in json.dumps(found))
        [source] = [each for each in told["sources"] if each["name"] == "two"]
        assert source["reason"] == "InvalidConfig"
        assert "two: the application one keeps this fleet as Git says already" in source["message"]
        problem = await place.ask("/api/gitops/enable", "POST", status=409)
        assert "the application one keeps this fleet" in problem["detail"]
        one.commit({"applications/one.yml": None})
        await place.until_servers("two", owner="gitops")
        name_sources(checkout.path)
        await place.until("/api/applications", lambda found: len(found["applications"]) == 1)
        await place.ask("/api/gitops/enable", "POST")
        await place.until_servers("a", owner="gitops")
