"""Sources over real repositories, by path and over HTTP: mirrored, followed, read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.model.errors import ProblemError
from support.git_server import Certificate, GitServer, git_server
from support.repositories import Repository


@pytest.fixture(params=["path", "file-url", "http"])
def place(request, tmp_path: Path, origin: Repository, hosted: GitServer) -> str:
    """The URL of `origin`, or of what follows it."""
    if request.param == "path":
        return str(origin.path)
    if request.param == "file-url":
        return origin.path.as_uri()
    (tmp_path / "srv/config.git").symlink_to(origin.path / ".git")
    return hosted.url_of("config.git")


async def test_a_branch_is_mirrored_and_read(rig, origin, place):
    source = rig.source(place)
    assert source.head is None
    assert source.age is None

    assert await source.refresh()

    head = source.head
    assert head is not None
    assert head.commit.id == origin.head
    assert head.commit.author == "Ada <ada@example.org>"
    assert head.commit.subject == "first"
    assert source.problem is None
    entries = await head.entries("")
    assert [(entry.path, entry.problem) for entry in entries] == [("README.md", ""), ("base/servers.yml", "")]
    assert await head.read([entry.blob for entry in entries]) == [b"hello\n", b"a: 1\n"]
    assert [entry.path for entry in await head.entries("base")] == ["base/servers.yml"]
    rig.now += 5
    assert source.age == 5


async def test_a_new_commit_is_taken_and_only_its_trees_differ(rig, origin, place):
    source = rig.source(place)
    await source.refresh()
    before = source.head
    origin.commit({"base/servers.yml": "a: 2\n"}, "second\n\nWhy not.\n\nFairlead-Origin: test\nX: y")

    assert await source.refresh()
    assert not await source.refresh()

    after = source.head
    assert after.commit.trailers == {"Fairlead-Origin": "test", "X": "y"}
    assert after.commit.time > 0
    assert await after.tree_id("base") != await before.tree_id("base")
    assert await after.tree_id("README.md") == await before.tree_id("./README.md")
    assert await after.tree_id("nowhere/at/all") is None
    assert await after.tree_id("README.md/below") is None
    assert await after.entries("nowhere") == []
    assert await after.tree_id("") == after.commit.tree
    # what was read of the older commit can still be
    assert (await before.entries("base"))[0].size == 5


async def test_the_log_knows_which_commits_changed_a_folder(rig, origin, place):
    origin.commit({"base/servers.yml": "a: 2\n"}, "second")
    origin.commit({"README.md": "third\n"}, "third")
    source = rig.source(place)
    assert await source.log(5) == []
    await source.refresh()

    assert [commit.subject for commit in await source.log(10)] == ["third", "second", "first"]
    assert [commit.subject for commit in await source.log(10, path="base")] == ["second", "first"]
    assert [commit.subject for commit in await source.log(1, path="README.md")] == ["third"]
    assert await source.log(10, path="nowhere") == []


async def test_an_earlier_commit_can_be_returned_to(rig, origin, place):
    first = origin.head
    second = origin.commit({"base/servers.yml": "a: 2\n"})
    source = rig.source(place)
    await source.refresh()

    snapshot = await source.snapshot(first)
    assert await snapshot.read([(await snapshot.entries("base"))[0].blob]) == [b"a: 1\n"]
    assert await source.snapshot(second) is source.head
    tree = source.head.commit.tree
    for unknown in ("0" * 40, "main", "HEAD~1", tree, "--help", ""):
        with pytest.raises(ProblemError, match="no such commit"):
            await source.snapshot(unknown)


async def test_another_branch_than_main(rig, origin):
    origin.git("switch", "-q", "-c", "team/blue")
    commit = origin.commit({"x": "1"}, "on blue")
    source = rig.source(origin.path, branch="team/blue")
    await source.refresh()
    assert source.head.commit.id == commit


async def test_the_head_stays_in_force_across_restarts_while_the_host_is_away(rig, origin, hosted, tmp_path):
    (tmp_path / "srv/config.git").symlink_to(origin.path / ".git")
    source = rig.source(hosted.url_of("config.git"))
    await source.refresh()
    await source.close()
    hosted.away = True

    again = rig.source(hosted.url_of("config.git"))
    assert await again.refresh()  # there was no head before

    assert again.head.commit.id == origin.head
    assert again.problem[0] == "SourceAway"
    assert again.age is None


async def test_another_url_or_branch_starts_anew(rig, origin, tmp_path):
    source = rig.source(origin.path)
    await source.refresh()
    other = Repository(tmp_path / "other")
    commit = other.commit({"x": "1"})
    moved = rig.source(other.path)
    await moved.refresh()
    assert moved.problem is None
    assert moved.head.commit.id == commit


async def test_one_mirror_belongs_to_one_process(rig, origin):
    source = rig.source(origin.path)
    await source.refresh()
    second = rig.source(origin.path)
    await second.refresh()
    assert second.head is None
    assert "another process works in" in second.problem[1]
    await source.close()
    await second.refresh()
    assert second.problem is None
    assert second.head.commit.id == origin.head


async def test_https_with_a_certificate_that_is_trusted_and_one_that_is_not(rig, origin, tmp_path):
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/config.git").symlink_to(origin.path / ".git")
    certificate = Certificate(tmp_path / "tls")
    with git_server(tmp_path / "srv", certificate=certificate) as server:
        source = rig.source(server.url_of("config.git"))
        await source.refresh()
        assert source.problem[0] == "SourceRefused"
        assert "certificate" in source.problem[1]
        assert source.head is None
        await source.close()

        rig.environ["GIT_SSL_CAINFO"] = str(certificate.chain)
        trusting = rig.source(server.url_of("config.git"))
        await trusting.refresh()
        assert trusting.problem is None
        assert trusting.head.commit.id == origin.head


async def test_a_certificate_of_another_host(rig, origin, tmp_path):
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/config.git").symlink_to(origin.path / ".git")
    certificate = Certificate(tmp_path / "tls", "elsewhere.example")
    rig.environ["GIT_SSL_CAINFO"] = str(certificate.chain)
    with git_server(tmp_path / "srv", certificate=certificate) as server:
        source = rig.source(server.url_of("config.git"))
        await source.refresh()
    assert source.problem[0] == "SourceRefused"
    assert "certificate" in source.problem[1]


FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" > {record}
while [ $# -gt 0 ]; do
    if [ "$1" = -i ]; then cat "$2" >> {record}; fi
    last=$1
    shift
done
eval "$last"
"""


async def test_over_ssh(rig, origin, tmp_path):
    """Through git's own SSH transport; instead of ssh, a script that runs the command here."""
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(FAKE_SSH.format(record=tmp_path / "record"))
    ssh.chmod(0o755)
    rig.environ["PATH"] = f"{ssh.parent}:{rig.environ['PATH']}"
    rig.secrets["KEY"] = "the private key"
    source = rig.source(f"git@git.example:{origin.path}", ssh_key="${KEY}", known_hosts="/etc/known")
    await source.refresh()
    assert source.problem is None
    assert source.head.commit.id == origin.head
    arguments = (tmp_path / "record").read_text().splitlines()
    assert {"-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "git@git.example"} <= set(arguments)
    assert "-oUserKnownHostsFile=/etc/known" in arguments
    assert arguments[-1] == "the private key"
    assert list((rig.folder / "private").iterdir()) == []
