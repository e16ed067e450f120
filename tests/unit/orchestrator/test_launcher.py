"""From a spec to a launch."""

import sys
from pathlib import Path

import pytest

from fairlead.model.errors import ProblemError
from fairlead.model.fleet import Resources, ServerSecurity, ServerSpec
from fairlead.model.launch import ProcessLaunch, RemoteLaunch
from fairlead.orchestrator.launcher import Drivers, Folders, SpecLauncher

DRIVERS = Drivers(process=object(), remote=object())


class Packages:
    async def ensure(self, package, entry):
        return ("/opt/node", f"/opt/{package}/{entry}.js")


def launcher(tmp_path, **secrets):
    class Secrets:
        def get(self, name):
            return secrets.get(name)

    return SpecLauncher(Packages(), Secrets(), DRIVERS, Folders(tmp_path / "homes", tmp_path / "logs"))


async def launch(tmp_path, secrets=None, **spec):
    make = await launcher(tmp_path, **(secrets or {})).prepare(ServerSpec(id="s", **spec))
    return make("s-1")


async def test_a_package_runs_by_its_entry_with_only_what_is_declared(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leak")
    made, driver = await launch(
        tmp_path,
        {"KEY": "k3y", "DIR": "/data"},
        package="npm:@a/b@1.0.0",
        entry="main",
        args=("${DIR}", "${OTHER:-plain}"),
        environment={"API_KEY": "${env:KEY}", "EMPTY": "${NONE:-}"},
        resources=Resources(memory=2**20),
    )
    assert driver is DRIVERS.process
    assert isinstance(made, ProcessLaunch)
    assert made.argv == ("/opt/node", "/opt/npm:@a/b@1.0.0/main.js", "/data", "plain")
    assert made.environment["API_KEY"] == "k3y"
    assert set(made.environment) == {"PATH", "HOME", "LANG", "TMPDIR", "API_KEY"}
    assert made.environment["PATH"].startswith("/opt:")
    assert made.environment["HOME"] == str(tmp_path / "homes" / "s")
    assert made.working_directory == tmp_path / "homes" / "s"
    assert made.memory_limit == 2**20
    assert "k3y" not in repr(made)


async def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ProblemError) as missing:
        await launch(tmp_path, command="x", args=("${A}", "${B}"), environment={"C": "${A}"})
    assert missing.value.problem.code == "missing-secrets"
    assert missing.value.problem.detail == "needs A, B"


async def test_a_plain_command_is_found_on_the_path(tmp_path):
    made, _ = await launch(tmp_path, command=sys.executable, args=("-V",))
    assert made.argv == (sys.executable, "-V")
    made, _ = await launch(tmp_path, command="sh")
    assert Path(made.argv[0]).is_absolute()


async def test_a_command_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ProblemError, match="no-such-command") as missing:
        await launch(tmp_path, command="no-such-command")
    assert missing.value.problem.code == "command-not-found"


async def test_a_url_goes_to_the_remote_driver_with_its_headers(tmp_path):
    made, driver = await launch(
        tmp_path,
        {"TOKEN": "s3cret"},
        url="https://example.com/mcp",
        headers={"Authorization": "Bearer ${TOKEN}"},
    )
    assert driver is DRIVERS.remote
    assert isinstance(made, RemoteLaunch)
    assert made.transport == "streamable-http"
    assert made.headers == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(made)


async def test_an_image_alone_says_that_there_is_no_driver_for_it(tmp_path):
    with pytest.raises(ProblemError, match="Docker"):
        await launch(tmp_path, image="mcp/context7:latest")


async def test_a_packages_own_installation_is_in_its_reach_and_no_other(tmp_path):
    packages = tmp_path / "state/packages"
    entry = packages / "npm/x@1-abc/node_modules/x/index.js"
    entry.parent.mkdir(parents=True)

    class Installed:
        async def ensure(self, package, entry_name):
            return ("/opt/node", str(entry))

    folders = Folders(
        homes=tmp_path / "homes", logs=tmp_path / "logs", packages=packages, hidden=(tmp_path / "state",)
    )
    make = await SpecLauncher(Installed(), EmptySecrets(), DRIVERS, folders).prepare(
        ServerSpec(id="s", package="npm:x@1.0.0", args=("/nowhere",), resources=Resources(processes=7))
    )
    made, _ = make("s-1")
    assert made.process_limit == 7
    assert made.sandbox.writable == (tmp_path / "homes/s",)
    assert set(made.sandbox.readable) == {Path("/opt/node"), packages / "npm/x@1-abc"}
    assert made.sandbox.hidden == (tmp_path / "state",)


async def test_without_a_sandbox_there_is_none(tmp_path):
    made, _ = await launch(tmp_path, package="npm:x@1.0.0", security=ServerSecurity(sandbox="off"))
    assert made.sandbox is None


class EmptySecrets:
    def get(self, name):
        return None
