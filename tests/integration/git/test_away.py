"""A Git host that is away, slow, breaks off, refuses: told, survived, healed; and full disks."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from support.repositories import Repository
from support.until import until


@pytest.fixture
def url(tmp_path, origin, hosted) -> str:
    (tmp_path / "srv/config.git").symlink_to(origin.path / ".git")
    return hosted.url_of("config.git")


def noise(size: int) -> bytes:
    """What does not compress."""
    return os.urandom(size)


async def failing(source, reason: str, *words: str) -> None:
    """It fails for `reason`, and keeps its head."""
    head = source.head
    assert not await source.refresh()
    assert source.problem is not None
    assert source.problem[0] == reason, source.problem
    for word in words:
        assert word in source.problem[1], source.problem
    assert source.head is head


async def healing(source, commit: str) -> None:
    await source.refresh()
    assert source.problem is None
    assert source.head.commit.id == commit
    assert source.failures == 0


async def test_away(rig, origin, hosted, url):
    source = rig.source(url)
    await source.refresh()
    hosted.away = True
    commit = origin.commit({"x": "1"})
    rig.now += 60
    await failing(source, "SourceAway", "cannot be reached")
    await failing(source, "SourceAway")
    assert source.failures == 2
    assert source.age == 60
    hosted.away = False
    await healing(source, commit)
    assert source.age == 0


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_host_that_is_ill(rig, origin, hosted, url, status):
    source = rig.source(url)
    await source.refresh()
    hosted.status = status
    await failing(source, "SourceAway", str(status))
    hosted.status = None
    await healing(source, origin.head)


async def test_nobody_listens(rig):
    await failing(rig.source("https://127.0.0.1:1/config.git"), "SourceAway")


async def test_no_such_host(rig):
    await failing(rig.source("https://nowhere.invalid/config.git"), "SourceAway", "nowhere.invalid")


async def test_cut_in_mid_fetch(rig, origin, hosted, url, tmp_path):
    source = rig.source(url)
    await source.refresh()
    commit = origin.commit({"big.bin": noise(300_000)})
    for cut in (0, 10, 1000, 200_000):
        hosted.cut_after = cut
        await failing(source, "SourceAway")
        assert source.failures > 0
    assert not list((tmp_path / "state").rglob("tmp_*"))
    hosted.cut_after = None
    await healing(source, commit)


async def test_cut_in_the_very_first_fetch(rig, origin, hosted, url):
    origin.commit({"big.bin": noise(300_000)})
    source = rig.source(url)
    hosted.cut_after = 5000
    await failing(source, "SourceAway")
    hosted.cut_after = None
    await healing(source, origin.head)


def processes_of(marker: str) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if marker in line and " ps " not in line]


async def test_slow_is_killed_as_a_whole(rig, origin, hosted, url):
    source = rig.source(url)
    await source.refresh()
    commit = origin.commit({"x": "1"})
    await source.close()
    rig.patience = 1.0
    slow = rig.source(url)
    hosted.gate.clear()
    await slow.refresh()
    assert slow.problem[0] == "SourceAway"
    assert "within 1 s" in slow.problem[1]
    assert slow.head.commit.id != commit
    await until(lambda: not processes_of(hosted.url))
    hosted.gate.set()
    rig.patience = 60.0
    await slow.close()
    await healing(rig.source(url), commit)


async def test_what_takes_too_long_gets_more_time_the_next_time(rig, origin, hosted, url):
    rig.patience = 1.0
    source = rig.source(url)
    hosted.gate.clear()
    for seconds in (1, 2):
        await source.refresh()
        assert f"within {seconds} s" in source.problem[1]
    hosted.gate.set()
    await healing(source, origin.head)
    hosted.gate.clear()
    origin.commit({"x": "1"})
    await source.refresh()
    assert "within 1 s" in source.problem[1]
    hosted.gate.set()


async def test_cancelling_kills_it_too(rig, hosted, url):
    source = rig.source(url)
    hosted.gate.clear()
    task = asyncio.ensure_future(source.refresh())
    await until(lambda: any("POST" in request for request in hosted.requests))
    assert processes_of(hosted.url)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not processes_of(hosted.url))


async def test_a_slow_host_is_waited_for(rig, origin, hosted, url):
    source = rig.source(url)
    hosted.gate.clear()
    threading.Timer(0.3, hosted.gate.set).start()
    await healing(source, origin.head)


class TestCredentials:
    async def test_right_ones(self, rig, origin, hosted, url):
        hosted.credentials = ("robot", "s3cr3t token")
        rig.secrets["TOKEN"] = "s3cr3t token"
        await healing(rig.source(url, username="robot", token="${TOKEN}"), origin.head)

    async def test_without_a_user_name(self, rig, origin, hosted, url):
        hosted.credentials = ("git", "s3cr3t")
        rig.secrets["TOKEN"] = "s3cr3t"
        await healing(rig.source(url, token="${TOKEN}"), origin.head)

    async def test_wrong_ones_then_right_ones(self, rig, origin, hosted, url):
        hosted.credentials = ("robot", "right")
        rig.secrets["TOKEN"] = "wr0ng-one"
        source = rig.source(url, username="robot", token="${TOKEN}")
        await failing(source, "SourceRefused", "credentials")
        assert "wr0ng-one" not in source.problem[1]
        assert source.failures == 0  # waiting does not mend it
        rig.secrets["TOKEN"] = "right"
        await healing(source, origin.head)

    async def test_none(self, rig, hosted, url):
        hosted.credentials = ("robot", "right")
        await failing(rig.source(url), "SourceRefused", "`token`")

    async def test_a_placeholder_without_a_value(self, rig, hosted, url):
        await failing(rig.source(url, token="${GONE}"), "SourceRefused", "GONE is not set", "set it")
        assert hosted.requests == []

    async def test_a_token_that_breaks_lines(self, rig, hosted, url):
        rig.secrets["TOKEN"] = "good\nhost=elsewhere"
        await failing(rig.source(url, token="${TOKEN}"), "SourceRefused", "line break")
        assert hosted.requests == []

    async def test_another_host_gets_no_token(self, rig, hosted, url, tmp_path):
        from support.git_server import git_server

        rig.secrets["TOKEN"] = "s3cr3t"
        with git_server(tmp_path / "srv") as thief:
            thief.credentials = ("git", "anything")
            hosted.redirect = thief.url
            source = rig.source(url, token="${TOKEN}")
            await failing(source, "SourceRefused")
            assert thief.requests
            assert set(thief.authorizations) == {""}

    async def test_nothing_secret_in_arguments_or_on_disk(self, rig, hosted, url, tmp_path):
        hosted.credentials = ("robot", "s3cr3t-in-flight")
        rig.secrets["TOKEN"] = "s3cr3t-in-flight"
        hosted.gate.clear()
        source = rig.source(url, username="robot", token="${TOKEN}")
        task = asyncio.ensure_future(source.refresh())
        await until(lambda: any("POST" in request for request in hosted.requests))
        assert processes_of(hosted.url)
        assert not processes_of("s3cr3t-in-flight")
        hosted.gate.set()
        await task
        assert source.problem is None
        for file in (tmp_path / "state").rglob("*"):
            assert file.is_dir() or b"s3cr3t-in-flight" not in file.read_bytes()


class TestNothingThere:
    async def test_no_repository_at_a_path(self, rig, tmp_path):
        source = rig.source(tmp_path / "later")
        await failing(source, "NoRepository", "url")
        commit = Repository(tmp_path / "later").commit({"x": "1"})
        await healing(source, commit)

    async def test_no_repository_at_a_url(self, rig, hosted):
        await failing(rig.source(hosted.url_of("nothing.git")), "NoRepository")

    async def test_no_commit_yet(self, rig, tmp_path):
        repository = Repository(tmp_path / "new")
        source = rig.source(repository.path)
        await failing(source, "NoCommit", "first commit")
        await healing(source, repository.commit({"x": "1"}))

    async def test_no_such_branch(self, rig, origin):
        await failing(rig.source(origin.path, branch="release"), "NoCommit", "`branch`")

    async def test_the_branch_goes_away_and_comes_back(self, rig, origin):
        source = rig.source(origin.path)
        await source.refresh()
        origin.git("branch", "-m", "main", "trunk")
        await failing(source, "NoCommit")
        origin.git("branch", "-m", "trunk", "main")
        await healing(source, origin.head)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
    async def test_somebody_elses_repository(self, rig, origin):
        for file in [origin.path, *origin.path.rglob("*")]:
            os.chown(file, 12345, 12345)
        source = rig.source(origin.path)
        await failing(source, "ForeignOwner", "safe.directory")

    @pytest.mark.parametrize(
        "url",
        [
            "ext::sh -c true",
            "--upload-pack=touch",
            "git://example.org/x",
            "http://example.org/x",
            "https://user:pw@example.org/x",
            "ftp://example.org/x",
            "https://example.org/a b",
            "fd::17",
            "",
        ],
    )
    async def test_addresses_that_are_refused(self, rig, url):
        source = rig.source(url)
        await failing(source, "SourceRefused")
        assert "pw" not in source.problem[1].split()

    @pytest.mark.parametrize("branch", ["--all", "a..b", "a b", "", "x.lock", "a//b", "@{-1}", "a:b", "*"])
    async def test_branches_that_are_refused(self, rig, origin, branch):
        await failing(rig.source(origin.path, branch=branch), "SourceRefused", "branch's name")


class TestFullDisk:
    async def test_a_file_that_may_not_grow(self, rig, origin, tmp_path):
        source = rig.source(origin.path)
        await source.refresh()
        commit = origin.commit({"big.bin": noise(400_000)})
        await source.close()
        rig.largest = 100_000
        limited = rig.source(origin.path)
        await limited.refresh()
        assert limited.head.commit.id != commit
        assert limited.problem[0] == "Fault"
        assert "full" in limited.problem[1]
        assert limited.failures == 1
        assert not list((tmp_path / "state").rglob("tmp_*"))
        await limited.close()
        rig.largest = 2**30
        await healing(rig.source(origin.path), commit)

    async def test_a_small_file_system(self, rig, origin, small):
        rig.folder = small / "state"
        source = rig.source(origin.path)
        await source.refresh()
        assert source.problem is None
        commit = origin.commit({"big.bin": noise(250_000)})
        filler = small / "filler"
        filler.write_bytes(b"x" * (shutil.disk_usage(small).free - 20_000))
        await failing(source, "Fault", "full", "make room")
        assert source.failures == 1
        filler.unlink()
        await healing(source, commit)
        await source.close()

    async def test_full_from_the_start(self, rig, origin, small):
        filler = small / "filler"
        filler.write_bytes(b"x" * shutil.disk_usage(small).free)
        rig.folder = small / "state"
        source = rig.source(origin.path)
        await failing(source, "Fault", "full")
        filler.unlink()
        await healing(source, origin.head)
        await source.close()


@pytest.fixture
def small(tmp_path):
    """A file system of 600 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_no_git_at_all(rig, origin, tmp_path):
    rig.environ["PATH"] = str(Path(tmp_path / "empty"))
    await failing(rig.source(origin.path), "Fault", "install")
