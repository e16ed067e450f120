"""How git is run."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.git import command
from fairlead.git.command import Access, Git
from fairlead.git.failures import CorruptError, GitFailedError, TimedOutError
from support.repositories import ENVIRON

ALIAS = Access(settings=('alias.say=!f() { eval "$1"; }; f',))


async def said(folder, script: str, **more) -> command.Ran:
    git = Git(ENVIRON)
    await git.run("init", "--quiet", "--bare", folder=folder)
    return await git.run("say", script, folder=folder, access=ALIAS, **more)


async def test_output_errors_and_exit_code(tmp_path):
    ran = await said(tmp_path, "echo out; echo err >&2; exit 7", codes=(7,))
    assert (ran.code, ran.output, ran.errors.strip()) == (7, b"out\n", "err")


async def test_an_unexpected_code_is_an_error(tmp_path):
    with pytest.raises(GitFailedError, match="Could not resolve host"):
        await said(tmp_path, "echo 'fatal: Could not resolve host: x' >&2; exit 128")


async def test_output_beyond_the_bound_is_dropped_and_git_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "MOST_OUTPUT", 1000)
    ran = await said(tmp_path, "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")
    assert len(ran.output) == len(ran.errors) == 1000


async def test_it_has_no_input_and_asks_nothing(tmp_path):
    ran = await said(tmp_path, "cat; echo prompt=$GIT_TERMINAL_PROMPT askpass=[$GIT_ASKPASS] lang=$LC_ALL")
    assert ran.output == b"prompt=0 askpass=[] lang=C\n"


async def test_only_some_of_the_environment_is_passed_on(tmp_path):
    git = Git(
        {**ENVIRON, "SECRET": "1", "GIT_DIR": "/elsewhere", "GIT_WORK_TREE": "/", "https_proxy": "http://p"}
    )
    await git.run("init", "--quiet", "--bare", folder=tmp_path)
    ran = await git.run("say", "echo $SECRET,$GIT_WORK_TREE,$https_proxy", folder=tmp_path, access=ALIAS)
    assert ran.output == b",,http://p\n"


async def test_a_repository_further_up_is_never_touched(tmp_path):
    git = Git(ENVIRON)
    await git.run("init", "--quiet", "--bare", folder=tmp_path)
    (tmp_path / "within").mkdir()
    with pytest.raises(CorruptError, match="not a git repository"):
        await git.run("update-ref", "-d", "refs/heads/main", folder=tmp_path / "within")


async def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(CorruptError, match="no folder gone"):
        await Git(ENVIRON).run("fsck", folder=tmp_path / "gone")


async def test_too_slow(tmp_path):
    with pytest.raises(TimedOutError, match="`git say`"):
        await said(tmp_path, "sleep 60", patience=0.2)


async def test_cancelled(tmp_path):
    task = asyncio.ensure_future(said(tmp_path, "echo 1 > began; sleep 60"))
    async with asyncio.timeout(30):
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_operations_are_counted(tmp_path):
    git = Git(ENVIRON)
    await git.run("init", "--quiet", "--bare", folder=tmp_path)
    with pytest.raises(GitFailedError):
        await git.run("cat-file", "commit", "nothing", folder=tmp_path)
    assert git.operations == {("init", "succeeded"): 1, ("cat-file", "failed"): 1}
    assert repr(git) == "Git(2 operations)"


async def test_only_the_protocols_of_the_access_are_spoken(tmp_path):
    git = Git(ENVIRON)
    (tmp_path / "m").mkdir()
    await git.run("init", "--quiet", "--bare", folder=tmp_path / "m")
    for url in (str(tmp_path / "m"), "http://127.0.0.1:1/x", "ext::true"):
        with pytest.raises(GitFailedError, match="not allowed"):
            await git.run("ls-remote", "--", url, folder=tmp_path / "m", access=Access(("ssh",)))
    await git.run("ls-remote", "--", str(tmp_path / "m"), folder=tmp_path / "m", access=Access(("file",)))
