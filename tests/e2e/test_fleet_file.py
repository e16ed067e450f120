"""The fleet file is changed while the system runs."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.environments import node
from e2e.programs import FLAVOURS, Connect, Flavour, StepError
from e2e.system import FOREIGN, SERVERS, System, edited, listens, wait_until
from e2e.wire import Wire, messages


def states(system: System) -> dict[str, str]:
    return {one["id"]: one["state"] for one in system.get("/api/servers").json()["servers"]}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    (folder / "new.txt").write_text("new\n")
    return folder


@pytest.fixture
def distant(frail_fleet: System) -> Iterator[Callable[[str], int]]:
    """Runs the server `everything` by itself over HTTP, in one of its modes; answers its port."""
    running: list[subprocess.Popen[bytes]] = []

    def run(mode: str) -> int:
        (entry,) = (frail_fleet.state / "packages").glob(
            "npm/*/node_modules/*/server-everything/dist/index.js"
        )
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        running.append(
            subprocess.Popen(
                [str(node().node), str(entry), mode],
                env={"PORT": str(port)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        wait_until(lambda: listens(port), f"{mode} listens")
        return port

    yield run
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def saved(frail_fleet: System) -> Iterator[System]:
    """The system; its fleet file is put back afterwards."""
    before, in_force = frail_fleet.config.read_bytes(), frail_fleet.get("/api/config").json()
    yield frail_fleet
    frail_fleet.config.write_bytes(before)
    wait_until(lambda: frail_fleet.get("/api/config").json() == in_force, "the old file is in force again")
    frail_fleet.wait_ready(*SERVERS)


def test_dev_tools_when_enabled_serves_its_tools_and_nothing_else_is_touched(
    saved: System, connect: Connect, repository: Path
):
    before = {name: saved.pids(name) for name in SERVERS}
    with edited(saved.config) as spec:
        spec["servers"]["dev-tools"]["enabled"] = True
        spec["servers"]["dev-tools"]["args"] = ["--repository", str(repository)]
    wait_until(
        lambda: saved.server("dev-tools")["state"] == "ready", lambda: saved.server("dev-tools"), guard=90
    )

    for flavour in FLAVOURS:
        client = connect(flavour, saved)
        names = {tool["name"] for tool in client("list", what="tools")}
        assert {"dev-tools__git_status", "filesystem__read_text_file"} <= names
        assert "new.txt" in client.text("dev-tools__git_status", repo_path=str(repository))
    assert all(before[name] <= saved.pids(name) for name in SERVERS)


def test_a_bad_file_never_replaces_the_good_one(saved: System):
    before = {name: saved.pids(name) for name in SERVERS}
    log = saved.state / "logs" / "orchestrator.log"
    refused = log.read_text().count("fleet file refused")
    saved.config.write_text(saved.config.read_text().replace("sharing: session", "sharing: sesion"))
    wait_until(lambda: log.read_text().count("fleet file refused") > refused, "the bad file was refused")
    assert all(before[name] <= saved.pids(name) for name in SERVERS)
    assert saved.server("sequential")["sharing"] == "session"


def test_servers_that_run_elsewhere_are_added(saved: System, distant: Callable[[str], int]):
    far, old = distant("streamableHttp"), distant("sse")
    with edited(saved.config) as spec:
        spec["servers"]["far"] = {"url": f"http://127.0.0.1:{far}/mcp"}
        spec["servers"]["old"] = {"url": f"http://127.0.0.1:{old}/sse", "transport": "sse"}
    wait_until(
        lambda: {"far": "ready", "old": "ready"}.items() <= states(saved).items(), lambda: states(saved)
    )

    wire = Wire(saved.endpoint, saved.local_token)
    wire.initialize()
    tools = [tool["name"] for tool in wire.ask("tools/list")["result"]["tools"]]
    for server in ("far", "old"):
        assert len([name for name in tools if name.startswith(f"{server}__")]) == 13
        params = {"name": f"{server}__echo", "arguments": {"message": server}}
        assert wire.ask("tools/call", params)["result"]["content"][0]["text"] == f"Echo: {server}"
        with wire.modern("tools/call", params, number=5, name=params["name"]) as response:
            assert list(messages(response))[-1]["result"]["content"][0]["text"] == f"Echo: {server}"
    wire.close()


def test_a_client_over_the_limit_is_told_and_lives_on(saved: System, connect: Connect, flavour: Flavour):
    """The limit is 300 a minute, 50 of them at once."""
    client = connect(flavour, saved)
    client("list", what="tools")  # else the Python SDKs ask for the list after each call that succeeds
    with edited(saved.config) as spec:
        limiting = spec["security"]["resourceLimits"]["rateLimiting"]
        limiting["requestsPerMinute"] = 300
    wait_until(
        lambda: (
            limiting.items()
            <= saved.get("/api/config").json()["security"]["resourceLimits"]["rateLimiting"].items()
        ),
        "the limit is in force",
    )
    calls = [client.start("call", name="everything__echo", arguments={"message": str(n)}) for n in range(80)]
    refused = []
    for number in calls:
        try:
            client.wait(number)
        except StepError as error:
            refused.append(str(error))
    assert refused
    assert all("requests a minute" in text and "are used up" in text for text in refused)

    def works() -> bool:
        try:
            return client.text("everything__echo", message="again") == "Echo: again"
        except StepError:
            return False

    wait_until(works, "the client can call again")


def test_a_server_is_replaced_under_a_client_that_goes_on_calling(saved: System, connect: Connect):
    before = saved.pid("everything")
    client = connect(FLAVOURS[0], saved)
    with edited(saved.config) as spec:
        spec["servers"]["everything"]["environment"] = {"ANY": "thing"}

    def replaced() -> bool:
        assert client.text("everything__echo", message="hi") == "Echo: hi"
        assert "everything__echo" in {tool["name"] for tool in client("list", what="tools")}
        return bool(saved.pids("everything") - {before})

    wait_until(replaced, lambda: saved.server("everything"))
    environment = json.loads(client.text("everything__get-env"))
    assert environment["ANY"] == "thing"
    assert FOREIGN not in environment
