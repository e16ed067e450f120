"""Secrets in files on a real disk: on it, and nowhere else."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fairlead.core.overrides import diff
from fairlead.formats import documents
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.placeholders import CONCEALED
from fairlead.model.reconciling import Base, Desired
from fairlead.ports.gitops import Write
from fairlead.targets.file_tree import tag_of
from fairlead.targets.files import FilesTarget

NAME = ".mcp.json"
DESIRED = {"mcpServers": {"git": {"env": {"TOKEN": "${secret:GIT}", "HOME": "${HOME}"}}}}
THEIRS = (
    b'{\n  // mine\n  "mcpServers": {"mine": {"command": "x", "env": {"A": "${VAR:-a}"}}},\n  "n": 1\n}\n'
)


class Vault:
    def __init__(self) -> None:
        self.values = {"secret:GIT": "s3cr3t-1"}
        self.shown: list[str] = []

    def __call__(self, name: str) -> str:
        if name not in self.values:
            detail = f"`fairlead secrets set {name.partition(':')[2]}`"
            raise ProblemError(Problem("no-secret", "No secret", detail, 422, Fault.CLIENT))
        self.shown.append(self.values[name])
        return self.values[name]


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def target(tmp_path: Path, vault: Vault) -> FilesTarget:
    return FilesTarget(tmp_path, vault)


def desired(document: Mapping[str, Any]) -> dict[str, Desired]:
    format_ = documents.format_of(NAME)
    return {NAME: Desired(NAME, format_, documents.write(format_, document), document)}


def base(document: Mapping[str, Any]) -> dict[str, Base]:
    return {NAME: Base(NAME, "c0ffee", b"", document)}


async def applied(target: FilesTarget, document: Mapping[str, Any]) -> None:
    """As a sync does it: what Git says, put into what is there."""
    target.expect(desired(document), {})
    live = (await target.read([NAME])).get(NAME)
    format_ = documents.format_of(NAME)
    if live is None:
        content = documents.write(format_, document)
    else:
        merged = json.loads(json.dumps(live.document))
        for name, server in document["mcpServers"].items():
            merged["mcpServers"][name] = server
        edits = diff(dict(live.document), merged)
        content = documents.edit(format_, live.content, edits)
    tag = await target.write(Write(NAME, None if live is None else live.tag, content, document))
    on_disk = (await target.read([NAME]))[NAME]
    assert on_disk.tag == tag == tag_of(on_disk.content, executable=False)


async def test_a_secret_is_on_the_disk_for_its_owner_alone_and_in_no_document(
    tmp_path: Path, target: FilesTarget, vault: Vault
):
    (tmp_path / NAME).write_bytes(THEIRS)
    await applied(target, DESIRED)
    content = (tmp_path / NAME).read_bytes()
    assert b'"TOKEN": "s3cr3t-1"' in content
    assert b'"HOME": "${HOME}"' in content
    assert content.startswith(
        b'{\n  // mine\n  "mcpServers": {"mine": {"command": "x", "env": {"A": "${VAR:-a}"}}'
    )
    assert content.endswith(b',\n  "n": 1\n}\n')
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    live = (await target.read([NAME]))[NAME]
    assert live.content == content
    assert live.document["mcpServers"]["git"] == DESIRED["mcpServers"]["git"]
    assert "s3cr3t" not in repr(live) + repr(target) + json.dumps(live.document)
    assert set(vault.shown) == {"s3cr3t-1"}  # the resolver knows what to conceal


async def test_a_rotated_secret_is_seen_and_never_shown(tmp_path: Path, target: FilesTarget, vault: Vault):
    await applied(target, DESIRED)
    target.expect(desired(DESIRED), base(DESIRED))
    vault.values["secret:GIT"] = "s3cr3t-2"
    live = (await target.read([NAME]))[NAME]
    assert live.document["mcpServers"]["git"]["env"]["TOKEN"] == CONCEALED
    await applied(target, DESIRED)
    assert json.loads((tmp_path / NAME).read_bytes())["mcpServers"]["git"]["env"]["TOKEN"] == "s3cr3t-2"
    assert (await target.read([NAME]))[NAME].document == DESIRED


async def test_a_secret_that_lacks_stops_its_own_object_only(
    tmp_path: Path, target: FilesTarget, vault: Vault
):
    (tmp_path / "other.json").write_text("{}")
    del vault.values["secret:GIT"]
    target.expect(desired(DESIRED), {})
    lives = await target.read([NAME, "other.json"])
    assert lives[NAME].problem == "needs secret GIT: `fairlead secrets set GIT`"
    assert lives["other.json"].problem == ""
    write = Write(NAME, None, desired(DESIRED)[NAME].content, DESIRED)
    for act in (target.write, lambda each: target.check([each])):
        with pytest.raises(ProblemError, match="secrets set GIT"):
            await act(write)
    assert not (tmp_path / NAME).exists()
    vault.values["secret:GIT"] = "s3cr3t-1"
    assert NAME not in await target.read([NAME])


async def test_a_dry_run_shows_no_value(target: FilesTarget):
    target.expect(desired(DESIRED), {})
    told = await target.check([Write(NAME, None, desired(DESIRED)[NAME].content, DESIRED)])
    assert "creates" in told
    assert "s3cr3t" not in told


async def test_a_file_with_a_secret_that_others_can_read_is_closed_to_them(
    tmp_path: Path, target: FilesTarget
):
    await applied(target, DESIRED)
    (tmp_path / NAME).chmod(0o644)
    live = (await target.read([NAME]))[NAME]
    await target.write(Write(NAME, live.tag, live.content, live.document))
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


async def test_a_secret_that_git_has_dropped_is_still_not_shown(tmp_path: Path, target: FilesTarget):
    await applied(target, DESIRED)
    target.expect({}, base(DESIRED))
    assert (await target.read([NAME]))[NAME].document == DESIRED
