"""What goes wrong between machines and processes: tampering, no network, death in the middle, two at once."""

import asyncio
import contextlib
import re
import shutil
import signal
import sys

import psutil
import pytest

from fairlead.model.errors import Fault, ProblemError
from fairlead.packages.installer import Installer
from support.until import until

NPM = "npm:server@1.0.0"
PYPI = "pypi:server==1.0.0"


@pytest.fixture(autouse=True)
def _published(registry):
    registry.npm(
        "server", files={"index.js": "console.log('right')"}, bin="index.js", dependencies={"dep": "*"}
    )
    registry.npm("dep", files={"index.js": ""})
    registry.pypi("server", scripts={"server": "server:main"}, requires=("dep",))
    registry.pypi("dep")


def installed(folder):
    return [path for kind in ("npm", "pypi") for path in (folder / kind).glob("*")]


async def refused(installer, package):
    with pytest.raises(ProblemError) as caught:
        await installer.ensure(package, None)
    assert caught.value.problem.fault is Fault.UPSTREAM
    return caught.value.problem


def republish(registry):
    registry.npm("dep", files={"index.js": "evil()"})
    registry.pypi("dep", files={"dep.py": "evil()"})


def damage(registry):
    for path in registry.archives:
        if path.startswith(("/dep", "/files/dep")):
            registry.archives[path] += b" "


@pytest.mark.parametrize("tamper", [republish, damage])
@pytest.mark.parametrize("package", [NPM, PYPI])
async def test_content_that_is_not_what_was_pinned_is_not_installed(
    registry, installer, folder, package, tamper
):
    await installer.lock_all([package])
    shutil.rmtree(folder)
    tamper(registry)
    problem = await refused(installer, package)
    assert problem.code == "integrity-mismatch"
    assert "dep" in problem.detail
    assert "fairlead lock" in problem.detail
    assert installed(folder) == []
    assert list((folder / "tmp").iterdir()) == []


@pytest.mark.parametrize("package", [NPM, PYPI])
async def test_a_lock_file_that_was_tampered_with_installs_nothing(
    registry, installer, folder, lock_files, package
):
    await installer.lock_all([package])
    text = lock_files.committed.read_text()
    changed = re.sub(r"(sha512-|sha256:)(.{8})", lambda found: found[1] + found[2][::-1], text)
    lock_files.committed.write_text(changed)
    assert (await refused(installer, package)).code == "integrity-mismatch"
    assert installed(folder) == []


@pytest.mark.parametrize("package", [NPM, PYPI])
async def test_without_a_network_it_says_so_and_what_to_look_at(folder, lock_files, tmp_path, package):
    closed = "http://user:hidden@127.0.0.1:9"  # nobody listens on the discard port
    environ = {
        "HOME": str(tmp_path), "UV_DEFAULT_INDEX": f"{closed}/simple/", "UV_HTTP_RETRIES": "0",
        "npm_config_registry": closed, "npm_config_fetch_retries": "0",
    }  # fmt: skip
    problem = await refused(Installer(folder, lock_files, environ=environ), package)
    assert problem.code == "registry-unreachable"
    assert problem.retry_after is not None
    assert "refused" in problem.detail.lower()
    assert "127.0.0.1:9" in problem.detail
    assert "hidden" not in problem.detail
    assert not lock_files.local.exists()


@pytest.mark.parametrize("package", [NPM, PYPI])
async def test_an_installation_that_lost_a_file_is_made_anew(installer, folder, package):
    argv = await installer.ensure(package, None)
    for path in installed(folder):
        (folder / argv[-1]).unlink()
        assert await installer.ensure(package, None) == argv
        (path / "installed.json").write_text("{")
        assert await installer.ensure(package, None) == argv
    assert (folder / argv[-1]).is_file()


@pytest.mark.parametrize("package", [NPM, PYPI])
async def test_cancelling_kills_the_tool_and_leaves_nothing(registry, installer, folder, lock_files, package):
    await installer.lock_all([package])
    shutil.rmtree(folder / "cache")
    registry.gate.clear()
    children = psutil.Process().children(recursive=True)
    asked = len(registry.downloads)
    running = asyncio.ensure_future(installer.ensure(package, None))
    await until(lambda: len(registry.downloads) > asked)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert psutil.Process().children(recursive=True) == children
    assert installed(folder) == []
    assert list((folder / "tmp").iterdir()) == []
    registry.gate.set()
    assert await installer.ensure(package, None)


@pytest.mark.parametrize("package", [NPM, PYPI])
async def test_two_at_once_install_once(registry, folder, lock_files, tmp_path, package):
    told = []
    installers = [
        Installer(
            folder,
            lock_files,
            on_progress=lambda *line: told.append(line),
            environ=registry.environ(tmp_path),
        )
        for _ in range(3)
    ]
    argvs = await asyncio.gather(*(installer.ensure(package, None) for installer in installers))
    assert len(set(argvs)) == 1
    assert len([line for line in told if line[1].startswith("installing")]) == 1
    assert len([line for line in told if line[1].startswith("waiting")]) == 2
    assert len(installed(folder)) == 1


IN_ANOTHER_PROCESS = """
import asyncio, os, sys
from pathlib import Path
from fairlead.packages.installer import Installer
from fairlead.packages.lock import LockFiles

home = Path(sys.argv[1])
committed, local = home / "config/mcp-servers.lock", home / "state/mcp-servers.lock"
installer = Installer(home / "state/packages", LockFiles(committed=committed, local=local))
asyncio.run(installer.ensure(sys.argv[2], None))
"""


@pytest.mark.parametrize("package", [NPM, PYPI])
async def test_death_in_the_middle_leaves_nothing_that_is_taken_for_whole(
    registry, installer, progress, tmp_path, package
):
    folder = tmp_path / "state/packages"
    await installer.lock_all([package])
    shutil.rmtree(folder)
    registry.gate.clear()
    asked = len(registry.downloads)
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", IN_ANOTHER_PROCESS, tmp_path, package, env=registry.environ(tmp_path)
    )
    await until(lambda: len(registry.downloads) > asked)
    orphans = psutil.Process(other.pid).children(recursive=True)
    assert orphans
    other.kill()
    await other.wait()
    assert installed(folder) == []

    progress.clear()
    running = asyncio.ensure_future(installer.ensure(package, None))
    await until(lambda: progress)
    assert progress == [(package, "waiting for another process that installs it")]  # the orphan has the lock
    for orphan in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.send_signal(signal.SIGKILL)
    registry.gate.set()
    argv = await running
    assert (folder / argv[-1]).is_file()
    assert list((folder / "tmp").iterdir()) == []
    assert len(installed(folder)) == 1


async def test_leftovers_in_the_scratch_folder_do_no_harm(installer, folder):
    leftover = folder / "tmp/npm-server@1.0.0/node_modules"
    leftover.mkdir(parents=True)
    (leftover / "index.js").touch()
    assert await installer.ensure(NPM, None)
    assert not leftover.exists()


async def test_a_folder_that_cannot_be_written_is_told(registry, lock_files, tmp_path):
    (tmp_path / "file").touch()
    installer = Installer(tmp_path / "file/packages", lock_files, environ=registry.environ(tmp_path))
    problem = await refused(installer, NPM)
    assert problem.code == "install-failed"
    assert str(tmp_path / "file") in problem.detail


async def test_another_package_is_not_held_up_by_one_that_fails(registry, installer):
    results = await asyncio.gather(
        *(installer.ensure(package, None) for package in (NPM, "npm:nowhere@1.0.0", PYPI)),
        return_exceptions=True,
    )
    assert [isinstance(result, tuple) for result in results] == [True, False, True]


async def test_no_more_than_two_tools_run_at_once(registry, installer):
    names = [f"server-{number}" for number in range(4)]
    for name in names:
        registry.npm(name, files={"index.js": ""}, bin="index.js")
    own = psutil.Process()
    most = 0

    async def watch():
        nonlocal most
        while True:
            most = max(most, len(own.children()))
            await asyncio.sleep(0.01)

    before = len(own.children())
    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*(installer.ensure(f"npm:{name}@1.0.0", None) for name in names))
    watching.cancel()
    assert 1 <= most - before <= 2


def test_the_representation_names_the_folder(folder, lock_files):
    assert repr(Installer(folder, lock_files)) == f"Installer({str(folder)!r})"
