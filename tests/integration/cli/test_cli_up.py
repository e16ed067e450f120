import json
import os
import re
import signal
import time

import pytest

from fairlead.app.settings import Settings
from fairlead.cli.down import stop
from fairlead.cli.up import orchestrator_argv
from fairlead.stores.state import GITOPS
from fairlead.stores.tokens import TokenStore
from integration.cli.conftest import Commands, wait_until

PASTE = "claude mcp add --transport http fairlead http://127.0.0.1:"


def nothing_is_left(commands: Commands) -> bool:
    state = commands.state
    return all(one.holder() is None and one.read_run() is None for one in (state, state.of(GITOPS)))


def test_the_foreground_tells_each_state_and_the_line_to_paste(commands: Commands):
    up = commands.up("foreground", "--slow", "0.5")
    up.told("Ctrl-C")
    assert re.search(r"^filesystem: ready, 14 tools \(\d+\.\d s\)$", up.stdout, re.MULTILINE)
    assert re.search(r"^magic: blocked, needs A_KEY \(", up.stdout, re.MULTILINE)
    assert up.stdout.index("\nslow: starting, handshake (") < up.stdout.index("\nslow: ready, 2 tools (")
    run = commands.state.read_run()
    assert run is not None
    address = run.addresses["orchestrator"]
    token = TokenStore(commands.state).local()
    assert f"Fairlead is up at {address}" in up.stdout
    assert f'{PASTE}{address.rpartition(":")[2]}/mcp --header "Authorization: Bearer {token}"' in up.stdout
    assert f"The filesystem server works in {commands.state.workspace}" in up.stdout
    assert f"{address}/docs" in up.stdout
    assert "\x1b" not in up.stdout
    up.told("warning: watch out  server=magic")
    up.told("slow: failed, x")  # told by the log, later


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_in_order(commands: Commands, number: signal.Signals):
    up = commands.up("foreground")
    up.told("Ctrl-C")
    before = time.monotonic()
    up.process.send_signal(number)
    assert up.ended() == 0
    assert time.monotonic() - before < 10
    assert re.search(r"stopped after \d\.\d s", up.stderr)
    assert nothing_is_left(commands)


def test_a_signal_during_the_start_stops_too(commands: Commands):
    up = commands.up("foreground", "--never")
    up.told("slow: starting")
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0
    assert PASTE not in up.stdout
    assert nothing_is_left(commands)


def test_when_up_is_killed_the_orchestrator_stops_by_itself(commands: Commands):
    up = commands.up("foreground")
    up.told("Ctrl-C")
    up.process.kill()
    up.ended()
    wait_until(lambda: nothing_is_left(commands), "the orchestrator has ended")


def test_a_second_ctrl_c_kills_what_does_not_stop(commands: Commands):
    up = commands.up("foreground", "--deaf")
    up.told("Ctrl-C, or")
    up.process.send_signal(signal.SIGINT)
    up.told("Ctrl-C again kills")

    def killed() -> bool:
        if "it had to be killed" not in up.stderr:
            up.process.send_signal(signal.SIGINT)
            return False
        return True

    began = time.monotonic()
    wait_until(killed, "it was killed")
    assert time.monotonic() - began < 9  # not by the patience of 10 s
    assert up.ended() == 1
    assert nothing_is_left(commands)


def test_a_second_up_shows_the_running_one(commands: Commands):
    first = commands.up("foreground")
    first.told("Ctrl-C")
    run = commands.state.read_run()
    assert run is not None
    for manner in ("foreground", "detach"):
        second = commands.up(manner)
        assert second.ended() == 0
        assert f"already runs at {run.addresses['orchestrator']}" in second.stdout
        assert PASTE in second.stdout
        assert "Stop it with `fairlead down`" in second.stdout
    assert commands.state.read_run() == run
    again = commands.up("json")
    assert again.ended() == 0
    document = json.loads(again.stdout)
    assert document["alreadyRunning"] is True
    assert document["workspace"] is None


def test_a_start_that_is_under_way_is_waited_for(commands: Commands):
    first = commands.up("detach", "--late", "2")
    wait_until(commands.state.holder, "the first has the lock")
    second = commands.up("detach")
    assert second.ended() == 0
    assert "already runs at" in second.stdout
    assert first.ended() == 0


def test_a_stop_that_is_under_way_is_waited_for(commands: Commands):
    assert commands.up("detach", "--linger", "2").ended() == 0
    before = commands.state.holder()
    assert before is not None
    os.kill(before.pid, signal.SIGTERM)
    run = commands.state.read_run()
    assert run is not None

    def refused() -> bool:
        return commands.run("status").ended() == 1

    wait_until(refused, "it does not listen any more")
    second = commands.up("detach")
    assert second.ended() == 0
    assert "Fairlead is up at" in second.stdout
    after = commands.state.holder()
    assert after is not None
    assert after.pid != before.pid


def test_detached_it_runs_on_until_down(commands: Commands):
    up = commands.up("detach")
    assert up.ended() == 0
    assert "slow: ready" in up.stdout
    run = commands.state.read_run()
    assert run is not None
    assert "watch out" in commands.state.log.read_text()
    assert "filesystem  ready" in commands.run("status").stdout
    down = commands.run("down", "--json")
    assert json.loads(down.stdout) == {
        "stopped": True,
        "killed": False,
        "pid": run.pid,
        "gitops": None,
    }
    assert nothing_is_left(commands)
    again = commands.run("down")
    assert again.ended() == 0
    assert again.stdout == f"nothing runs with the state folder {commands.state.root}\n"
    assert json.loads(commands.run("down", "--json").stdout) == {
        "stopped": False,
        "killed": False,
        "pid": None,
        "gitops": None,
    }


def test_the_next_start_finds_the_state_of_the_first(commands: Commands):
    tokens = []
    for _ in range(2):
        assert commands.up("detach").ended() == 0
        tokens.append(TokenStore(commands.state).local())
        assert commands.run("down").ended() == 0
    assert tokens[0] == tokens[1]


def test_down_tells_when_it_had_to_kill(commands: Commands):
    assert commands.up("detach", "--deaf").ended() == 0
    holder = commands.state.holder()
    assert holder is not None
    assert stop(holder, patience=0.2) is False
    wait_until(lambda: not holder.alive(), "it was killed")
    assert nothing_is_left(commands)


def test_as_json_only_the_outcome_is_printed(commands: Commands):
    up = commands.up("detach-json")
    assert up.ended() == 0
    document = json.loads(up.stdout)
    run = commands.state.read_run()
    assert run is not None
    assert document["address"] == run.addresses["orchestrator"]
    assert document["mcp"] == document["address"] + "/mcp"
    assert (document["pid"], document["alreadyRunning"]) == (run.pid, False)
    assert [(row["id"], row["state"]) for row in document["servers"]] == [
        ("filesystem", "ready"),
        ("slow", "ready"),
        ("magic", "blocked"),
    ]
    assert (document["stateDir"], document["workspace"]) == (
        str(commands.state.root),
        str(commands.state.workspace),
    )


def test_in_the_foreground_json_is_followed_by_silence(commands: Commands):
    up = commands.up("json")
    up.told("alreadyRunning")
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0
    json.loads(up.stdout)
    assert "slow: failed" not in up.stderr
    assert "warning: watch out" in up.stderr


def test_the_environments_token_is_used(commands: Commands):
    commands.environment["FAIRLEAD_TOKEN"] = "a-token-from-the-environment"
    assert commands.up("detach").ended() == 0
    TokenStore(commands.state).remove_local()
    assert "filesystem  ready" in commands.run("status").stdout


def test_an_orchestrator_that_dies_at_once_is_quoted(commands: Commands):
    up = commands.up("foreground", "--die", "0", "--never")
    assert up.ended() == 1
    assert "error: the orchestrator ended with code 3" in up.stderr
    assert "it all went wrong" in up.stderr
    assert str(commands.state.log) in up.stderr
    assert "Traceback" not in up.stderr


def test_an_orchestrator_that_dies_later_ends_up_as_well(commands: Commands):
    up = commands.up("foreground")
    up.told("Ctrl-C")
    holder = commands.state.holder()
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    assert up.ended() == 1
    assert "the orchestrator was killed by SIGKILL" in up.stderr


def test_servers_that_do_not_settle_end_the_waiting_not_the_system(commands: Commands):
    up = commands.up("impatient", "--never")
    assert up.ended() == 1
    assert "servers are still starting" in up.stderr
    assert PASTE in up.stdout
    assert commands.state.read_run() is not None


def test_a_taken_port_ends_it_before_anything_starts(commands: Commands):
    import socket

    (commands.folder / "fleet.yml").write_text("version: '1'\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        up = commands.run("up", "--config", str(commands.folder / "fleet.yml"), "--port", port)
    assert up.ended() == 1
    assert f"error: port {port} is taken" in up.stderr
    assert f"process {os.getpid()}" in up.stderr
    assert "FAIRLEAD_PORT" in up.stderr
    assert not commands.state.log.exists()


def test_without_a_fleet_file(commands: Commands):
    up = commands.run("up")
    assert up.ended() == 2
    assert "config/mcp-servers.yml: there is no such file" in up.stderr
    assert not commands.state.root.exists()


def test_a_state_folder_that_is_mended_is_told(commands: Commands):
    commands.state.root.mkdir(mode=0o755)
    up = commands.up("detach")
    assert up.ended() == 0
    assert "had mode 0755; it is 0700 now" in up.stderr


def test_a_state_folder_that_cannot_be_used(commands: Commands):
    commands.state.root.write_text("a file")
    up = commands.up("detach")
    assert up.ended() == 1
    assert "cannot use the state folder" in up.stderr


def test_the_command_carries_the_options_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path):
    settings = Settings.model_validate({"state_dir": tmp_path, "token": "a-token-from-the-environment"})
    given = {"settings_file": None, "state_dir": tmp_path, "gitops_port": 0, "host": None, "config": "x.yml"}
    argv = orchestrator_argv(settings, given, detach=False)
    options = argv[argv.index("orchestrator") + 1 :]
    assert options == [
        *("--log-file", str(tmp_path / "logs" / "orchestrator.log")),
        *("--state-dir", str(tmp_path), "--gitops-port", "0", "--config", "x.yml", "--stop-with-stdin"),
    ]
    assert "a-token" not in str(argv)
    assert "--stop-with-stdin" not in orchestrator_argv(settings, given, detach=True)
