"""A workshop for sources, and repositories to follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fairlead.git.command import Git
from fairlead.git.source import RepositorySource, Workshop
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Source
from support.git_server import GitServer, git_server
from support.repositories import ENVIRON, Repository


class Rig:
    """Makes sources below one state folder. `secrets` are what placeholders stand for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = dict(ENVIRON)
        self.secrets: dict[str, str] = {}
        self.now = 1000.0
        self.patience = 60.0
        self.largest = 2**30
        self.changed: asyncio.Queue[RepositorySource] = asyncio.Queue()
        self._opened: list[RepositorySource] = []

    def resolve(self, text: str) -> str:
        name = text.removeprefix("${").removesuffix("}")
        if name not in self.secrets:
            raise SpecError(f"{name} is not set", "set it")
        return self.secrets[name]

    def workshop(self) -> Workshop:
        git = Git(self.environ, patience=self.patience, largest=self.largest)
        return Workshop(self.folder, git, self.resolve, clock=lambda: self.now)

    def source(self, url: object, name: str = "config", **spec: object) -> RepositorySource:
        source = RepositorySource(
            name, Source.model_validate({"url": str(url), **spec}), self.workshop(), self.changed.put_nowait
        )
        self._opened.append(source)
        return source

    async def close(self) -> None:
        for source in self._opened:
            await source.close()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "state")
    yield rig
    await rig.close()


@pytest.fixture
def origin(tmp_path: Path) -> Repository:
    """With one commit."""
    repository = Repository(tmp_path / "origin")
    repository.commit({"base/servers.yml": "a: 1\n", "README.md": "hello\n"}, "first")
    return repository


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "srv").mkdir(exist_ok=True)
    with git_server(tmp_path / "srv") as server:
        yield server
