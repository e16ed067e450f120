"""The real filesystem server in its sandbox, as the fleet file has it: what it tries in vain."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.environments import ROOT
from e2e.system import System, wait_until
from support.bubblewrap import sandbox_host
from support.stack import LIGHT, fleet

PACKAGE = "npm:@modelcontextprotocol/server-filesystem@2026.8.31"
PROBE = """
const fs = require("fs"), net = require("net");
const tried = (what) => { try { return what(); } catch (error) { return error.code; } };
const found = {
  token: tried(() => fs.readFileSync(process.env.TOKEN_FILE, "utf8")),
  home: tried(() => fs.readdirSync(process.env.OTHER_HOME)),
  denied: tried(() => fs.readFileSync(process.env.DENIED, "utf8")),
  outside: tried(() => fs.writeFileSync("/usr/fairlead-probe", "x")),
  processes: fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name)).length,
};
const end = (network) => fs.writeFileSync(process.env.REPORT, JSON.stringify({ ...found, network }));
net.connect(Number(process.env.PORT), "127.0.0.1")
  .on("connect", () => end("open")).on("error", (error) => end(error.code));
"""
"""Runs inside the server's own process, before it."""
FLEET = """
version: "1"
servers:
  {name}:
    package: {package}
    args: [{work}]
    clientRequests: []
    environment:
      NODE_OPTIONS: --require={probe}
      TOKEN_FILE: {state}/local-token
      OTHER_HOME: {state}/homes/other
      DENIED: {work}/private/key
      REPORT: {work}/report.json
      PORT: "{port}"
    security:
      sandbox: {mode}
      network: none
      deniedPaths: ["{work}/private"]
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    (work / "private").mkdir(parents=True)
    (work / "private/key").write_text("s3cret")
    (work / "open.txt").write_text("for all")
    return work


@pytest.fixture
def host() -> Iterator[int]:
    """The port of somebody who would answer."""
    with socket.create_server(("127.0.0.1", 0)) as service:
        yield service.getsockname()[1]


def system(folder: Path, packages: Path, work: Path, port: int, mode: str) -> System:
    (folder / "source").mkdir()
    (folder / "probe.cjs").write_text(PROBE)
    fleet = folder / "source/fleet.yml"
    probe = folder / "probe.cjs"
    values = {
        "name": "filesystem",
        "package": PACKAGE,
        "work": work,
        "probe": probe,
        "port": port,
        "mode": mode,
    }
    fleet.write_text(FLEET.format(**values, state=folder / "state"))
    shutil.copy(ROOT / "config/mcp-servers.lock", fleet.with_suffix(".lock"))
    made = System(folder, fleet=fleet)
    made.prepare(packages)
    (made.state / "homes/other").mkdir(parents=True)
    return made


def call(it: System, tool: str, *, server: str = "filesystem", **arguments: str) -> str:
    return it.command("call", server, tool, json.dumps(arguments), check=False)


def held(it: System, server: str, condition: str = "Sandboxed") -> tuple[bool, str, str]:
    """Status, reason and message of a condition."""
    (found,) = (one for one in it.server(server)["conditions"] if one["type"] == condition)
    return found["status"], found["reason"], found["message"]


def report(work: Path) -> dict[str, object]:
    return json.loads(
        wait_until(
            lambda: (work / "report.json").is_file() and (work / "report.json").read_text(), "a report"
        )
    )


def test_the_filesystem_server_in_its_sandbox(tmp_path: Path, packages: Path, work: Path, host: int):
    sandbox_host()
    it = system(tmp_path, packages, work, host, "required")
    try:
        it.up("filesystem")
        assert call(it, "read_text_file", path=str(work / "open.txt")) == "for all\n"
        assert "s3cret" not in call(it, "read_text_file", path=str(work / "private/key"))
        call(it, "write_file", path=str(work / "new.txt"), content="written")
        assert (work / "new.txt").read_text() == "written"
        call(it, "write_file", path=str(work / "private/new.txt"), content="written")
        assert [each.name for each in (work / "private").iterdir()] == ["key"]
        found = report(work)
        assert found.pop("network") in ("ECONNREFUSED", "ENETUNREACH")
        assert found == {
            "token": "ENOENT",
            "home": "ENOENT",
            "denied": "ENOENT",
            "outside": "EROFS",
            "processes": 2,
        }
        assert held(it, "filesystem")[:2] == (True, "Enforced")
        it.down()
    finally:
        it.end()


def test_the_same_attempts_succeed_without_a_sandbox(tmp_path: Path, packages: Path, work: Path, host: int):
    """Else the test above would prove nothing."""
    it = system(tmp_path, packages, work, host, "off")
    try:
        it.up("filesystem")
        assert call(it, "read_text_file", path=str(work / "private/key")) == "s3cret\n"
        found = report(work)
        assert (found["network"], found["denied"], found["home"]) == ("open", "s3cret", [])
        assert str(found["token"]).strip() == it.local_token
        assert found.get("outside") != "EROFS"
        assert held(it, "filesystem")[:2] == (False, "Off")
        it.down()
    finally:
        it.end()
        Path("/usr/fairlead-probe").unlink(missing_ok=True)


def test_a_machine_without_bubblewrap(tmp_path: Path, packages: Path):
    """What insists on a sandbox is refused, and all else runs: with less than it asks for, and saying so."""
    source = tmp_path / "source/fleet.yml"
    source.parent.mkdir()
    servers = {
        name: {"command": sys.executable, "args": ["-S", "-E", str(LIGHT)], "security": security}
        for name, security in {
            "insisting": {"sandbox": "required"},
            "asking": {"sandbox": "auto", "network": "none", "deniedPaths": [str(tmp_path / "private")]},
            "plain": {"sandbox": "off"},
        }.items()
    }
    source.write_text(fleet(servers))
    source.with_suffix(".lock").touch()
    it = System(tmp_path, fleet=source)
    it.prepare(packages)
    (tmp_path / "bin").mkdir()
    it.environment["PATH"] = str(tmp_path / "bin")
    lacking = (
        "files, network and other processes are within its reach: "
        "there is no `bwrap`: install the package `bubblewrap`"
    )
    try:
        it.up("asking", "plain")
        refused = f"`security.sandbox: required`, but {lacking}"
        wait_until(lambda: it.server("insisting")["state"] == "blocked", lambda: it.server("insisting"))
        assert it.server("insisting")["message"] == refused
        assert it.server("insisting")["instances"] == []
        assert held(it, "insisting", "Ready") == (False, "Blocked", refused)
        assert refused in it.command("status")
        assert call(it, "echo", server="insisting", text="x") == ""
        assert (
            call(it, "echo", server="asking", text="x") == call(it, "echo", server="plain", text="x") == "x\n"
        )
        status, reason, message = held(it, "asking")
        assert (status, reason) == (False, "Partly")
        assert lacking in message
        assert lacking in " ".join(it.command("status", "asking").split())
        assert held(it, "plain")[:2] == (False, "Off")
        it.down()
    finally:
        it.end()
