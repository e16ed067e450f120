"""`fairlead lock` against a registry on loopback."""

import json
from collections.abc import Iterator

import pytest

from integration.cli.conftest import Commands
from support.package_registry import PackageRegistry, package_registry

FLEET = """\
version: '1'
servers:
  one:
    package: npm:server@1.0.0
  two:
    package: pypi:tool==1.0.0
    enabled: false
  three:
    command: three
"""


@pytest.fixture
def registry(commands: Commands) -> Iterator[PackageRegistry]:
    with package_registry() as running:
        running.npm("server", bin={"server": "index.js"}, files={"index.js": ""})
        running.pypi("tool", scripts={"tool": "tool:main"})
        commands.environment |= running.environ(commands.folder)
        yield running


def test_the_packages_of_the_fleet_are_pinned_beside_it(commands: Commands, registry: PackageRegistry):
    fleet = commands.folder / "fleet.yml"
    fleet.write_text(FLEET)
    lock = commands.run("lock", "--config", str(fleet))
    assert lock.ended() == 0, lock.stderr
    assert lock.stdout.splitlines() == [
        "added  npm:server@1.0.0",
        "added  pypi:tool==1.0.0",
        f"written to {commands.folder / 'fleet.lock'}",
    ]
    assert "npm:server@1.0.0: resolved to 1 packages" in lock.stderr
    pinned = json.loads((commands.folder / "fleet.lock").read_text())
    assert list(pinned["npm"]) == ["npm:server@1.0.0"]
    assert list(pinned["pypi"]) == ["pypi:tool==1.0.0"]
    again = commands.run("lock", "--config", str(fleet), "--json")
    assert json.loads(again.stdout) == {
        "file": str(commands.folder / "fleet.lock"),
        "added": [],
        "changed": [],
        "kept": ["npm:server@1.0.0", "pypi:tool==1.0.0"],
        "removed": [],
    }


def test_a_package_that_does_not_exist_is_an_error(commands: Commands, registry: PackageRegistry):
    fleet = commands.folder / "fleet.yml"
    fleet.write_text(FLEET.replace("npm:server", "npm:nonesuch"))
    lock = commands.run("lock", "--config", str(fleet))
    assert lock.ended() == 1
    assert "nonesuch" in lock.stderr
    assert "Traceback" not in lock.stderr
    assert not (commands.folder / "fleet.lock").exists()


def test_a_bad_fleet_file_is_bad_input(commands: Commands):
    fleet = commands.folder / "fleet.yml"
    fleet.write_text(FLEET + "    argz: []\n")
    lock = commands.run("lock", "--config", str(fleet))
    assert lock.ended() == 2
    assert "fleet.yml:10:5: error: servers.three.argz" in lock.stderr


def test_a_fleet_without_packages(commands: Commands):
    fleet = commands.folder / "fleet.yml"
    fleet.write_text("version: '1'\nservers:\n  three:\n    command: three\n")
    lock = commands.run("lock", "--config", str(fleet))
    assert lock.ended() == 0
    assert lock.stdout == f"{fleet} names no packages\n"
