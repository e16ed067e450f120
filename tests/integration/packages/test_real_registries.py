"""The committed lock file and the real registries. All else is tested against one on loopback."""

import json
import subprocess
from pathlib import Path

import pytest

from fairlead.packages.installer import Installer
from fairlead.packages.lock import LockFiles

pytestmark = pytest.mark.e2e

COMMITTED = Path(__file__).parents[3] / "config/mcp-servers.lock"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


def output_of(argv, given):
    """Runs it with nothing in its environment but PATH (for git)."""
    path = {"PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        argv, input=given, env=path, capture_output=True, text=True, timeout=60, check=True
    )
    return ended.stdout


def server_name(argv):
    first = output_of(argv, json.dumps(INITIALIZE) + "\n").splitlines()[0]
    return json.loads(first)["result"]["serverInfo"]["name"]


@pytest.fixture
def installer(tmp_path):
    return Installer(tmp_path / "packages", LockFiles(committed=COMMITTED, local=tmp_path / "local.lock"))


@pytest.mark.parametrize(
    ("package", "arguments", "name"),
    [
        ("npm:@modelcontextprotocol/server-filesystem@2026.8.31", (".",), "secure-filesystem-server"),
        ("pypi:mcp-server-git==2026.10.19", (), "mcp-git"),
    ],
)
async def test_a_pinned_server_is_installed_as_pinned_and_answers(
    installer, tmp_path, package, arguments, name
):
    argv = await installer.ensure(package, None)
    assert server_name((*argv, *arguments)) == name
    assert not (tmp_path / "local.lock").exists()


async def test_binaries_for_each_platform_are_pinned_and_the_right_one_is_installed(installer, tmp_path):
    argv = await installer.ensure("npm:esbuild@0.25.0", None)
    assert output_of((*argv, "--version"), "") == "0.25.0\n"
    ((_, closure),) = (
        LockFiles(committed=tmp_path / "none", local=tmp_path / "local.lock").read_local().items()
    )
    assert {"node_modules/@esbuild/darwin-arm64", "node_modules/@esbuild/linux-x64"} < closure.keys()
    assert len(list((tmp_path / "packages/npm").glob("*/node_modules/@esbuild/*"))) == 1
