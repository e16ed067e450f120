"""One installation for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.gitops.installation import Installation, fleet, light
from support.git_server import GitServer, git_server
from support.repositories import Repository


@dataclass
class Place:
    """An installation, the clone that people work in, and the bare repository that they push to."""

    installation: Installation
    work: Repository
    bare: Path
    server: GitServer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("gitops")
    origin = Repository(folder / "first")
    origin.commit({"README.md": "configuration\n"})
    bare = origin.pushable(folder / "repositories" / "config.git")
    work = bare.clone(folder / "work")
    installation = Installation(folder)
    installation.config.write_text(fleet({"light": light()}))
    with git_server(folder / "repositories") as server:
        try:
            yield Place(installation, work, bare.path, server)
        finally:
            installation.stop()
