"""Brings a folder to what the newest of some commits says, and is killed with SIGKILL at a step of that.

Usage: python killed_sync.py FOLDER POINT [sick]. FOLDER has `commits.json` (a list of commits, each by path
the text) and the target `home`; `sick` makes what the second commit writes unhealthy. Without a POINT ("") it
runs to its end and prints what the last look found, and the states of all deployments.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.gitops.deployments import Deployments, Stores
from fairlead.gitops.drift import DriftDetector
from fairlead.gitops.passes import Subject
from fairlead.gitops.reconcile import Tools, reconcile
from fairlead.gitops.rendering import Renderer
from fairlead.gitops.synchronizer import ConfigSynchronizer
from fairlead.model.gitops import Application
from fairlead.model.spec_problem import Loaded
from fairlead.ports import NO_RECORDER
from fairlead.ports.gitops import Commit, Health, Proposal
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.kept import kept_stores
from fairlead.targets.files import FilesTarget
from support.snapshots import FakeSnapshot

LOOKS = 8


class CommitList:
    """Implements `ports.gitops.GitSource`."""

    name, problem, age = "config", None, 0.0

    def __init__(self, commits: list[dict[str, str]]) -> None:
        self._all = [FakeSnapshot(files, commit=f"c{number}") for number, files in enumerate(commits, 1)]

    @property
    def head(self) -> FakeSnapshot:
        return self._all[-1]

    async def snapshot(self, commit: str) -> FakeSnapshot:
        return next(each for each in self._all if each.commit.id == commit)

    async def log(self, limit: int, *, path: str = "") -> list[Commit]:
        return [each.commit for each in reversed(self._all)][:limit]

    async def propose(self, proposal: Proposal) -> str:
        return proposal.branch

    async def withdraw(self, branch: str) -> None:
        """There is none."""


class Target(FilesTarget):
    """Becomes sick of what the second commit writes, if it is to."""

    sick = False

    async def health(self) -> Health:
        new = "second" in (self._root / ".mcp.json").read_text()
        return Health(healthy=not (self.sick and new), done=True, message="it does not start")


async def main(folder: Path, point: str, sick: bool) -> None:
    at = killer(point)
    database = await Database.open(sqlite_url(folder / "gitops.db"), service="gitops")
    applications, deployments = kept_stores(database)
    target = Target(folder / "home", lambda text: text, at=at)
    target.sick = sick
    deployer = Deployments(Stores(applications, deployments), NO_RECORDER, holder="here", at=at)
    tools = Tools(
        Renderer(lambda layers: Loaded(None, ())),  # type: ignore[call-arg]
        DriftDetector(applications, NO_RECORDER),
        ConfigSynchronizer(deployer),
        applications,
        deployments,
    )
    application = Application(
        name="app", target={"files": {"root": str(folder / "home")}}, render="files",
        rules=({"path": "second.txt", "wave": 1},),
    )  # type: ignore[arg-type]  # fmt: skip
    source = CommitList(json.loads((folder / "commits.json").read_text()))
    findings: list[str] = []
    for number in range(LOOKS):
        subject = Subject(application, source, target)
        outcome = await reconcile(subject, None, tools, 1.0 + number)
        findings = [f"{each.reason}: {each.message}" for each in outcome.findings]
    states = [row.state for row in await deployments.search(application="app")]
    journal = sum([len(await applications.intents(row.id)) for row in await deployments.search()])
    drift = [row.key for row in await applications.drift("app")]
    await target.close()
    await database.close()
    print(json.dumps({"findings": findings, "states": states, "journal": journal, "drift": drift}))


def killer(point: str) -> Callable[[str], None]:
    def at(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


if __name__ == "__main__":
    given: list[Any] = sys.argv
    asyncio.run(main(Path(given[1]), given[2], given[3:] == ["sick"]))
