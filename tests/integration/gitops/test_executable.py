"""Whether a file may be executed is Git's as its content is: deployed, healed or proposed by policy."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.git.command import Git
from fairlead.git.source import RepositorySource, Workshop
from fairlead.gitops.deployments import Deployments, Stores
from fairlead.gitops.drift import DriftDetector
from fairlead.gitops.passes import Subject
from fairlead.gitops.reconcile import Tools, reconcile
from fairlead.gitops.rendering import Renderer
from fairlead.gitops.synchronizer import ConfigSynchronizer
from fairlead.model.gitops import Application, DriftKind, Source
from fairlead.model.reconciling import DeploymentState, DriftRow, DriftState
from fairlead.stores.fleet_file import load_layers
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.kept import kept_stores
from fairlead.targets.files import FilesTarget
from support.gitops_rig import Noted
from support.repositories import ENVIRON, Repository

KEY = '"[executable]"'
HOOK = "base/files/hook.sh"


class Rig:
    """A bare repository, whose author has a clone of it, and a folder."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.author = Repository(folder / "author")
        self.author.commit({HOOK: "#!/bin/sh\n"})
        self.host = self.author.pushable(folder / "host.git")
        self.author.git("remote", "add", "host", str(self.host.path))
        self.home = folder / "home"
        self.home.mkdir()
        self.noted = Noted()
        workshop = Workshop(folder / "state", Git(ENVIRON), str, clock=time.time)
        self.source = RepositorySource("config", Source(url=str(self.host.path)), workshop, lambda _: None)
        self.target = FilesTarget(self.home, str)
        applications, deployments = kept_stores(database)
        self.stores = Stores(applications, deployments)
        self.tools = Tools(
            Renderer(load_layers),
            DriftDetector(applications, self.noted),
            ConfigSynchronizer(Deployments(self.stores, self.noted, holder="here")),
            applications,
            deployments,
        )

    def push(self, mode: int, text: str = "#!/bin/sh\n") -> str:
        (self.author.path / HOOK).chmod(mode)
        commit = self.author.commit({HOOK: text})
        self.author.git("push", "-q", "host", "main")
        return commit

    async def look(self, policy: str) -> list[DriftRow]:
        """Until nothing is to be done; the drift that is left."""
        application = Application.model_validate(
            {
                "name": "app",
                "target": {"files": {"root": str(self.home)}},
                "render": "files",
                "rules": [{"path": "hook.sh", "policy": policy}],
            }
        )
        await self.source.refresh()
        for _ in range(3):
            outcome = await reconcile(
                Subject(application, self.source, self.target), None, self.tools, time.time()
            )
        return list(outcome.look.drift)

    @property
    def hook(self) -> Path:
        return self.home / "hook.sh"

    @property
    def is_executable(self) -> bool:
        return bool(self.hook.stat().st_mode & 0o100)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [
            (data["key"], data["state"]) for kind, _, data in self.noted.events if kind == "drift-detected"
        ]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    database = await Database.open(sqlite_url(tmp_path / "gitops.db"), service="gitops")
    rig = Rig(tmp_path, database)
    yield rig
    await rig.source.close()
    await rig.target.close()
    await database.close()


@pytest.mark.parametrize("policy", ["manual", "remote"])
async def test_a_commit_of_the_mode_alone_is_deployed(rig: Rig, policy: str):
    await rig.look(policy)
    assert not rig.is_executable
    commit = rig.push(0o755)
    assert await rig.look(policy) == []
    assert rig.is_executable
    assert rig.told == [], "it is Git's own change"
    [latest, _] = await rig.stores.deployments.search(application="app")
    assert (latest.commit, latest.state) == (commit, DeploymentState.SUCCEEDED)
    assert "hook.sh: becomes executable" in latest.difference


async def test_a_mode_that_was_changed_by_hand_is_drift_and_healed(rig: Rig):
    rig.push(0o755)
    await rig.look("remote")
    rig.hook.chmod(0o640)
    assert await rig.look("remote") == []
    assert rig.is_executable
    assert rig.told == [(KEY, "open")]
    assert rig.hook.stat().st_mode & 0o777 == 0o750, "what others may do stays theirs"
    [latest, _] = await rig.stores.deployments.search(application="app")
    assert [live.executable for live in await rig.stores.applications.kept_live(latest.id)] == [False]


async def test_a_mode_that_may_stay_is_proposed_and_a_commit_of_the_content_leaves_it(rig: Rig):
    await rig.look("manual")
    rig.hook.chmod(0o755)
    [row] = await rig.look("manual")
    assert (row.key, row.state, row.kind) == (KEY, DriftState.PROPOSED, DriftKind.FILE)
    assert (row.base, row.live, row.desired) == ("false", "true", "false")
    state = (await rig.stores.applications.states())["app"]
    assert state.proposal is not None
    assert rig.host.git("ls-tree", state.proposal, HOOK).startswith("100755")
    rig.push(0o644, "#!/bin/sh\ntrue\n")
    [row] = await rig.look("manual")
    assert (row.state, rig.hook.read_text(), rig.is_executable) == (
        DriftState.PROPOSED,
        "#!/bin/sh\ntrue\n",
        True,
    )
    rig.push(0o755, "#!/bin/sh\ntrue\n")
    assert await rig.look("manual") == []
    assert (await rig.stores.applications.states())["app"].proposal is None


async def test_what_is_there_before_git_comes_is_no_more_overwritten_than_content(rig: Rig):
    rig.hook.write_text("#!/bin/sh\n")
    rig.hook.chmod(0o755)
    [row] = await rig.look("manual")
    assert (row.key, row.state, rig.is_executable) == (KEY, DriftState.CONFLICT, True)
    assert await rig.look("ignore") == []
    assert rig.is_executable
    assert await rig.look("remote") == []
    assert not rig.is_executable
