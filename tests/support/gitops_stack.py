"""The whole GitOps controller service in the test's own process, over a folder that a repository keeps."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from pydantic import SecretStr

from fairlead.app.gitops_compose import GitOpsSystem
from fairlead.app.gitops_run import serving_gitops
from fairlead.app.listening import listening_for_gitops
from fairlead.app.settings import Settings
from fairlead.stores.state import GITOPS, StateFolder
from support.repositories import Repository
from support.stack import TOKEN, fleet, until


@dataclass
class GitOpsStack:
    """`repository` is the source `config`; its application `files` keeps the folder `home`."""

    system: GitOpsSystem
    port: int
    repository: Repository
    home: Path

    @property
    def app(self) -> FastAPI:
        return self.system.app


@contextlib.asynccontextmanager
async def gitops_running(folder: Path) -> AsyncIterator[GitOpsStack]:
    """Until the block ends. It begins when the application is as Git says."""
    home = folder / "home"
    home.mkdir()
    repository = Repository(folder / "repository")
    application = {
        "version": "1", "name": "files", "path": "config", "render": "files",
        "target": {"files": {"root": str(home)}}, "policy": "remote",
    }  # fmt: skip
    repository.commit(
        {
            "applications/files.yml": json.dumps(application),
            "config/base/files/settings.json": '{"theme": "dark"}\n',
        }
    )
    (folder / "fleet.yml").write_text(fleet({}))
    sources = {"config": {"url": str(repository.path)}}
    (folder / "gitops.yml").write_text(json.dumps({"version": "1", "sources": sources}))
    state = StateFolder(folder / "state", GITOPS)
    settings = Settings(
        config=folder / "fleet.yml",
        state_dir=state.root,
        workspace=folder / "workspace",
        gitops_port=0,
        token=SecretStr(TOKEN),
    )
    state.prepare()
    with listening_for_gitops(settings) as listener:
        async with serving_gitops(settings, state, listener) as system:
            await until((home / "settings.json").exists, lambda: repr(system.controller))
            await system.controller.idle()
            yield GitOpsStack(system, listener.port, repository, home)
