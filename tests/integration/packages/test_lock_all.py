"""Writing the committed lock file."""

import pytest

from fairlead.model.errors import ProblemError
from fairlead.packages.installer import LockChanges

NPM = "npm:server@1.0.0"
PYPI = "pypi:server==1.0.0"


@pytest.fixture(autouse=True)
def _published(registry):
    registry.npm("server", files={"index.js": ""}, bin="index.js", dependencies={"dep": "*"})
    registry.npm("dep", "1.0.0")
    registry.npm("second", files={"index.js": ""}, bin="index.js")
    registry.pypi("server", scripts={"server": "server:main"})


async def test_it_pins_all_keeps_what_is_pinned_and_drops_what_is_no_longer_named(
    registry, installer, lock_files
):
    first = await installer.lock_all([NPM, PYPI, NPM])
    assert first == LockChanges(added=(NPM, PYPI), changed=(), kept=(), removed=())
    content = lock_files.committed.read_bytes()
    registry.npm("dep", "1.1.0")
    asked = len(registry.requests)
    assert await installer.lock_all([PYPI, NPM]) == LockChanges(
        added=(), changed=(), kept=(NPM, PYPI), removed=()
    )
    assert lock_files.committed.read_bytes() == content
    assert len(registry.requests) == asked
    changes = await installer.lock_all([NPM, "npm:second@1.0.0"])
    assert changes == LockChanges(added=("npm:second@1.0.0",), changed=(), kept=(NPM,), removed=(PYPI,))
    assert not lock_files.local.exists()


async def test_anew_takes_what_is_newest_now(registry, installer, lock_files):
    await installer.lock_all([NPM, PYPI])
    registry.npm("dep", "1.1.0")
    changes = await installer.lock_all([NPM, PYPI], anew=True)
    assert changes == LockChanges(added=(), changed=(NPM,), kept=(PYPI,), removed=())
    (closure,) = (closure for name, closure in lock_files.read_committed().items() if str(name) == NPM)
    assert closure["node_modules/dep"].version == "1.1.0"


async def test_what_this_machine_runs_is_what_the_team_gets(registry, installer, lock_files, folder):
    argv = await installer.ensure(NPM, None)
    registry.npm("dep", "1.1.0")
    assert (await installer.lock_all([NPM])).added == (NPM,)
    assert lock_files.read_committed() == lock_files.read_local()
    assert await installer.ensure(NPM, None) == argv
    assert len(list((folder / "npm").iterdir())) == 1


async def test_when_one_fails_nothing_is_written(installer, lock_files):
    with pytest.raises(ProblemError) as caught:
        await installer.lock_all([NPM, "npm:nowhere@1.0.0", PYPI])
    assert caught.value.problem.code == "package-not-found"
    with pytest.raises(ProblemError, match="write"):
        await installer.lock_all([NPM, "npm:nowhere"])
    assert not lock_files.committed.exists()


async def test_a_corrupt_lock_file_is_not_overwritten(installer, lock_files):
    lock_files.committed.parent.mkdir()
    lock_files.committed.write_text("<<<<<<< ours\n")
    with pytest.raises(ProblemError) as caught:
        await installer.lock_all([NPM])
    assert caught.value.problem.code == "lock-invalid"
    assert lock_files.committed.read_text() == "<<<<<<< ours\n"
