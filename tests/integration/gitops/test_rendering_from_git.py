"""Rendering from real repositories, through the mirror: what Git has is what comes out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead.core.overrides import Edit
from fairlead.git.command import Git
from fairlead.git.source import RepositorySource, Workshop
from fairlead.gitops.documents import read_applications
from fairlead.gitops.folder import FolderSnapshot
from fairlead.gitops.rendering import Renderer
from fairlead.gitops.write_back import written_back
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import Application, Source
from fairlead.ports.gitops import Snapshot
from fairlead.stores.fleet_file import load_layers
from support.repositories import ENVIRON, Repository

FLEET = 'version: "1"\nservers:\n  a:\n    command: x\n'
APPLICATION = "name: fleet\nenvironment: staging\ntarget: {fleet: {}}\n"
FILES = "name: files\ntarget: {files: {root: /x}}\nrender: files\nlayers: {user: ada}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "repository")
    repository.commit(
        {
            "applications/fleet.yml": APPLICATION,
            "applications/files.yml": FILES,
            "base/mcp-servers.yml": FLEET,
            "environments/staging/mcp-servers.yml": "servers: {a: {args: [one]}}\n",
            "base/files/.claude/settings.json": '{\n  // ours\n  "model": "x"\n}\n',
            "users/ada/files/.claude/settings.json": '{"theme": "dark"}',
            "users/ada/files/notes.txt": b"\xff\x00",
        }
    )
    return repository


@pytest.fixture
async def source(tmp_path: Path, repository: Repository) -> AsyncIterator[RepositorySource]:
    workshop = Workshop(tmp_path / "state", Git(ENVIRON), str, clock=time.time)
    source = RepositorySource("config", Source(url=str(repository.path)), workshop, lambda _: None)
    await source.refresh()
    yield source
    await source.close()


def head(source: RepositorySource) -> Snapshot:
    assert source.head is not None, source.problem
    return source.head


async def applications(snapshot: Snapshot) -> dict[str, Application]:
    declared = await read_applications(snapshot, "applications")
    assert declared.problems == {}
    return dict(declared.applications)


async def test_a_commit_becomes_objects(source: RepositorySource, repository: Repository) -> None:
    snapshot, renderer = head(source), Renderer(load_layers)
    found = await applications(snapshot)
    fleet = await renderer.render(found["fleet"], snapshot)
    assert fleet.commit == repository.head
    assert fleet.objects["fleet"].document["servers"] == {"a": {"command": "x", "args": ["one"]}}
    files = await renderer.render(found["files"], snapshot)
    settings = files.objects[".claude/settings.json"]
    assert settings.document == {"model": "x", "theme": "dark"}
    assert b"// ours" in settings.content
    assert files.objects["notes.txt"].content == b"\xff\x00"


async def test_a_commit_wakes_only_those_whose_tree_changed(
    source: RepositorySource, repository: Repository
) -> None:
    renderer = Renderer(load_layers)
    found = await applications(head(source))
    before = {name: await renderer.inputs(each, head(source)) for name, each in found.items()}
    for each in found.values():
        await renderer.render(each, head(source))
    repository.commit({"users/ada/files/new.txt": "x", "README.md": "y"})
    assert await source.refresh()
    after = {name: await renderer.inputs(each, head(source)) for name, each in found.items()}
    assert after["fleet"] == before["fleet"]
    assert after["files"] != before["files"]
    again = await renderer.render(found["fleet"], head(source))
    assert again.commit == repository.head
    assert renderer.statistics()["reuses"] == 1


async def test_a_folder_renders_as_its_commit_does(source: RepositorySource, repository: Repository) -> None:
    folder = FolderSnapshot(repository.path)
    for application in (await applications(head(source))).values():
        one = await Renderer(load_layers).render(application, head(source))
        other = await Renderer(load_layers).render(application, folder)
        assert one.digest == other.digest
        assert one.objects == other.objects


async def test_what_is_live_can_be_put_into_git(source: RepositorySource, repository: Repository) -> None:
    renderer = Renderer(load_layers)
    application = (await applications(head(source)))["fleet"]
    gathered = await renderer.gather(application, head(source))
    changes = written_back(
        application,
        gathered,
        {"fleet": [Edit(("servers", "a", "args"), ["live"]), Edit(("servers", "a", "command"), "z")]},
    )
    repository.commit(dict(changes.files))
    await source.refresh()
    fleet = await renderer.render(application, head(source))
    assert fleet.objects["fleet"].document["servers"] == {"a": {"command": "z", "args": ["live"]}}


@pytest.mark.parametrize(
    ("mode", "why"), [("120000", "symbolic link"), ("160000", "submodule")], ids=["link", "submodule"]
)
@pytest.mark.parametrize("place", ["base/files/x", "base/files", "base", "users/ada/files"])
async def test_links_and_submodules_are_refused_wherever_they_stand(
    source: RepositorySource, repository: Repository, place: str, mode: str, why: str
) -> None:
    application = (await applications(head(source)))["files"]
    repository.git("rm", "-q", "-r", "--ignore-unmatch", place)
    named = repository.blob(b"/etc") if mode == "120000" else repository.head
    repository.git("update-index", "--add", "--cacheinfo", f"{mode},{named},{place}")
    repository.git("commit", "-q", "-m", "hostile")
    await source.refresh()
    with pytest.raises(ProblemError) as raised:
        await Renderer(load_layers).render(application, head(source))
    assert raised.value.problem.code == "source-refused"
    assert place in raised.value.problem.detail
    assert why in raised.value.problem.detail


async def test_a_bomb_and_a_blob_that_is_too_large_are_refused(
    source: RepositorySource, repository: Repository
) -> None:
    application = (await applications(head(source)))["files"]
    levels = [f"l{number}: &l{number} [{', '.join([f'*l{number - 1}'] * 10)}]" for number in range(1, 8)]
    repository.commit(
        {
            "base/files/bomb.yml": "\n".join(["l0: &l0 [x]", *levels]),
            "base/files/deep.json": "[" * 5000,
            "base/files/large.bin": b"x" * (2**20 + 1),
        }
    )
    await source.refresh()
    with pytest.raises(ProblemError) as raised:
        await Renderer(load_layers).render(application, head(source))
    first, *others = raised.value.problem.extra["problems"]
    assert "base/files/large.bin" in first
    assert "at most 1,048,576" in first
    assert [problem.partition(":")[0] for problem in others] == [
        "base/files/bomb.yml",
        "base/files/deep.json",
    ]
