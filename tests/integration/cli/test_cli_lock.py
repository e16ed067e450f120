"""`fairlead lock` against a registry on loopback."""

import json
import sys
from collections.abc import Iterator

import pytest

from fairlead.packages.lock import LockFiles
from integration.cli.conftest import Commands
from support.package_registry import PackageRegistry, package_registry
from support.stack import fleet, light

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


def test_tools_are_locked_and_what_differs_is_shown(commands: Commands):
    """Over two real servers; the third needs what it does not get, the fourth is off."""
    config = commands.folder / "fleet.yml"
    lock = LockFiles(committed=config.with_suffix(".lock"), local=commands.folder / "none")
    servers = {
        "legacy": light(),
        "modern": light("--era", "modern"),
        "needy": light(environment={"KEY": "${NEEDED_KEY}"}),
        "broken": light("--exit-at-once", "3"),
        "off": light(enabled=False),
    }
    config.write_text(fleet(servers))
    first = commands.run("lock", "--update", "--config", str(config))
    assert first.ended() == 0, first.stderr
    contracts = lock.read_contracts()
    count = len(contracts["legacy"])
    lines = first.stdout.splitlines()
    assert lines[:2] == [
        f"legacy  {count} tools, locked for the first time",
        f"modern  {len(contracts['modern'])} tools, locked for the first time",
    ]
    assert "off  nothing locked, since it was not looked at: disabled" in lines
    assert "needy  nothing locked, since it was not looked at: needs NEEDED_KEY" in lines
    assert any(line.startswith("broken  nothing locked, since it was not looked at: ") for line in lines)
    assert lines[-1] == f"written to {lock.committed}"
    assert "legacy: reading its tools" in first.stderr

    turned = {tool: dict(contract) for tool, contract in contracts["legacy"].items()}
    turned["echo"]["description"] = "says the same"
    gone = turned.pop("add")
    lock.commit_contracts({**contracts, "legacy": turned, "off": {"a": {"name": "a"}}, "former": {}})
    plain = commands.run("lock", "--config", str(config))
    assert plain.ended() == 0
    assert lock.read_contracts()["legacy"] == turned, "without --update they stay"

    second = commands.run("lock", "--update", "--config", str(config), "--json")
    assert second.ended() == 0, second.stderr
    tools = json.loads(second.stdout)["tools"]
    found = {change["tool"]: change for change in tools["servers"]["legacy"]["changes"]}
    assert {tool: change["change"] for tool, change in found.items()} == {"echo": "changed", "add": "new"}
    assert found["echo"]["impact"] == "review"
    assert found["echo"]["differences"][0]["after"] == contracts["legacy"]["echo"]["description"]
    assert tools["servers"]["modern"]["changes"] == []
    assert set(tools["unread"]) == {"needy", "broken", "off"}
    assert tools["removed"] == ["former"]
    after = lock.read_contracts()
    assert after["legacy"]["add"] == gone
    assert after["off"] == {"a": {"name": "a"}}, "what could not be looked at keeps its contracts"
    assert "former" not in after


def test_tools_that_only_some_clients_see_are_locked_too(commands: Commands):
    config = commands.folder / "fleet.yml"
    lock = LockFiles(committed=config.with_suffix(".lock"), local=commands.folder / "none")
    config.write_text(fleet({"all": able(), "none": able(clientRequests=[])}))
    update = commands.run("lock", "--update", "--config", str(config))
    assert update.ended() == 0, update.stderr
    contracts = lock.read_contracts()
    assert set(contracts["all"]) == {"plain", "sampling", "elicitation", "roots"}
    assert contracts["all"]["plain"]["description"] == "for nobody", "what everybody sees comes first"
    assert set(contracts["none"]) == {"plain"}


PROGRAM = """\
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        told = message["params"]["capabilities"]
        able = [each for each in ("sampling", "elicitation", "roots") if each in told]
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        result["serverInfo"] = {"name": "able", "version": "1"}
    elif message.get("method") == "notifications/initialized" and "roots" in able:
        print(json.dumps({"jsonrpc": "2.0", "id": "r", "method": "roots/list"}), flush=True)
        continue
    elif message.get("method") == "tools/list":
        plain = {"name": "plain", "description": "for " + (" and ".join(able) or "nobody"), "inputSchema": {}}
        result = {"tools": [plain, *({"name": each, "inputSchema": {}} for each in able)]}
    elif message.get("method") == "ping":
        result = {}
    else:
        if "id" in message and "method" in message:
            error = {"code": -32601, "message": "no"}
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def able(**server):
    """A server whose tools depend on what it is told that clients can do."""
    return {"command": sys.executable, "args": ["-c", PROGRAM], **server}
