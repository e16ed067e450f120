import pytest

from fairlead.packages.installer import Installer
from fairlead.packages.lock import LockFiles
from support.package_registry import package_registry


@pytest.fixture
def registry():
    with package_registry() as running:
        yield running


@pytest.fixture
def lock_files(tmp_path):
    return LockFiles(
        committed=tmp_path / "config/mcp-servers.lock", local=tmp_path / "state/mcp-servers.lock"
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state/packages"


@pytest.fixture
def progress():
    return []


@pytest.fixture
def installer(folder, lock_files, registry, progress, tmp_path):
    return Installer(
        folder,
        lock_files,
        on_progress=lambda package, text: progress.append((package, text)),
        environ=registry.environ(tmp_path),
    )
