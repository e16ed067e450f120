"""`fairlead up` and the GitOps controller: both come up, both go, and none suffers from the other."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairlead.app.settings import Settings
from fairlead.cli.up import gitops_argv, up_command
from fairlead.stores.state import Run, StateFolder
from integration.cli.conftest import Commands, wait_until
from integration.cli.test_cli_up import nothing_is_left

UP = "Ctrl-C, or `fairlead down`"  # the last that `up` says when all is up


def running(state: StateFolder) -> Run:
    found: Run = wait_until(state.read_run, f"{state.service} runs")
    return found


def ctrl_c(commands: Commands, *options: str) -> str:
    """What `up` tells from its start to its end by Ctrl-C."""
    up = commands.up("foreground", *options)
    up.told(UP)
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0, up.stderr
    assert nothing_is_left(commands)
    return up.stdout + up.stderr


def test_both_are_shown_and_the_controller_stops_first(commands: Commands, tmp_path: Path):
    order = tmp_path / "order"
    up = commands.up("foreground", "--gitops", "--order", str(order))
    up.told(UP)
    run = running(commands.gitops)
    assert run.pid != running(commands.state).pid
    assert f"GitOps controller at {run.addresses['gitops']} (process {run.pid}): 2 applications" in up.stdout
    assert "only observed, 1 ready" in up.stdout
    up.told("gitops: warning: look here  source=config")
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0
    assert nothing_is_left(commands)
    assert order.read_text() == "orchestrator runs"


def test_detached_both_run_until_down(commands: Commands):
    up = commands.up("detach-json", "--gitops")
    assert up.ended() == 0
    gitops, orchestrator = running(commands.gitops), running(commands.state)
    assert json.loads(up.stdout)["gitops"] == {
        "address": gitops.addresses["gitops"],
        "pid": gitops.pid,
        "applications": [
            {"name": "fleet", "mode": "observe", "ready": True},
            {"name": "files", "mode": "observe", "ready": False},
        ],
    }
    status = commands.run("status")
    assert status.ended() == 0
    assert f"(process {gitops.pid}): 2 applications" in status.stdout
    assert "look here" in commands.run("logs", "--gitops").stdout
    down = commands.run("down", "--json")
    assert json.loads(down.stdout) == {
        "stopped": True,
        "killed": False,
        "pid": orchestrator.pid,
        "gitops": {"stopped": True, "killed": False, "pid": gitops.pid},
    }
    assert nothing_is_left(commands)


def test_when_up_is_killed_both_stop_by_themselves(commands: Commands):
    up = commands.up("foreground", "--gitops")
    up.told(UP)
    up.process.kill()
    up.ended()
    wait_until(lambda: nothing_is_left(commands), "both have ended")


def test_without_the_controller(commands: Commands):
    assert "GitOps controller: left out with --no-gitops" in ctrl_c(commands)


def test_one_that_dies_is_told_and_started_again(commands: Commands, tmp_path: Path):
    told = ctrl_c_after_restart(commands, "--die-once", str(tmp_path / "died"))
    assert "the GitOps controller ended with code 3" in told
    assert "it all went wrong" in told
    assert "is started again in 1 s" in told


def ctrl_c_after_restart(commands: Commands, *options: str) -> str:
    up = commands.up("foreground", "--gitops", *options)
    up.told(UP)
    running(commands.gitops)
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0
    return up.stdout + up.stderr


def test_one_that_is_killed_later_is_started_again_and_up_goes_on(commands: Commands):
    up = commands.up("foreground", "--gitops")
    up.told(UP)
    before, orchestrator = running(commands.gitops), running(commands.state)
    os.kill(before.pid, signal.SIGKILL)
    up.told("the GitOps controller was killed by SIGKILL")
    wait_until(lambda: (run := commands.gitops.read_run()) and run.pid != before.pid, "another one runs")
    up.told("is up")
    assert running(commands.state).pid == orchestrator.pid
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0


def test_one_that_was_stopped_by_somebody_stays_stopped(commands: Commands):
    up = commands.up("foreground", "--gitops")
    up.told(UP)
    os.kill(running(commands.gitops).pid, signal.SIGTERM)
    up.told("was stopped by another command; all else goes on without it")
    assert commands.gitops.holder() is None
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0


@pytest.mark.parametrize("manner", ["detach", "foreground"])
def test_one_that_dies_again_and_again_hinders_nothing(commands: Commands, manner: str):
    up = commands.up(manner, "--gitops", "--die")
    up.told(UP if manner == "foreground" else "Stop it with `fairlead down`")
    assert "GitOps controller: the GitOps controller ended with code 3" in up.stdout
    assert commands.run("status").ended() == 0
    if manner == "detach":
        assert up.ended() == 0
        assert commands.run("down").ended() == 0
    else:
        up.process.send_signal(signal.SIGINT)
        assert up.ended() in {0, 1}  # 1: one was just being started again, and ended badly, too
    assert nothing_is_left(commands)


def test_one_that_does_not_answer_is_told(commands: Commands):
    up = commands.up("detach", "--gitops", "--mute")
    assert up.ended() == 0
    assert f"GitOps controller at {running(commands.gitops).addresses['gitops']}" in up.stdout
    assert "Service Unavailable" in up.stdout


def test_one_that_does_not_stop_is_killed(commands: Commands):
    up = commands.up("foreground", "--gitops", "--deaf")
    up.told(UP)
    up.process.send_signal(signal.SIGINT)
    up.told("Ctrl-C again kills")

    def killed() -> bool:
        if "the GitOps controller had to be killed" in up.stderr:
            return True
        up.process.send_signal(signal.SIGINT)
        return False

    wait_until(killed, "it was killed")
    up.ended()
    assert nothing_is_left(commands)


def test_a_second_up_starts_the_one_that_does_not_run(commands: Commands):
    assert commands.up("detach").ended() == 0
    assert commands.gitops.holder() is None
    second = commands.up("foreground", "--gitops")
    assert second.ended() == 0
    run = running(commands.gitops)
    assert "already runs at" in second.stdout
    assert f"GitOps controller at {run.addresses['gitops']}" in second.stdout
    third = commands.up("detach", "--gitops")
    assert third.ended() == 0
    assert running(commands.gitops) == run
    assert commands.run("down").ended() == 0
    assert nothing_is_left(commands)


def test_a_taken_port_is_told_and_the_orchestrator_goes_on_alone(commands: Commands):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        commands.environment["FAIRLEAD_GITOPS_PORT"] = str(port)
        told = ctrl_c(commands, "--gitops")
    assert f"port {port} is taken" in told
    assert "--gitops-port" in told
    assert "goes on without the GitOps controller" in told
    assert "Fairlead is up at" in told


def test_an_up_whose_controller_runs_already_leaves_it_running(commands: Commands):
    assert commands.up("detach", "--gitops").ended() == 0
    orchestrator, gitops = running(commands.state), running(commands.gitops)
    os.kill(orchestrator.pid, signal.SIGKILL)
    wait_until(lambda: commands.state.holder() is None, "only the controller runs")
    status = commands.run("status")
    assert status.ended() == 1
    assert f"(process {gitops.pid})" in status.stdout
    assert "Fairlead does not run" in status.stderr
    up = commands.up("foreground", "--gitops")
    up.told(UP)
    assert running(commands.state).pid != orchestrator.pid
    assert f"(process {gitops.pid}): 2 applications" in up.stdout
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0
    assert f"(process {gitops.pid}) was started by another command and runs on" in up.stderr
    assert running(commands.gitops) == gitops
    down = commands.run("down", "--json")
    assert json.loads(down.stdout) == {
        "stopped": False,
        "killed": False,
        "pid": None,
        "gitops": {"stopped": True, "killed": False, "pid": gitops.pid},
    }
    assert nothing_is_left(commands)


def test_down_stops_both_of_an_up_in_the_foreground(commands: Commands):
    up = commands.up("foreground", "--gitops")
    up.told(UP)
    gitops, orchestrator = running(commands.gitops), running(commands.state)
    down = commands.run("down")
    assert down.stdout.splitlines() == [
        f"stopped the GitOps controller (process {gitops.pid})",
        f"stopped the orchestrator (process {orchestrator.pid})",
    ]
    assert up.ended() == 1
    wait_until(lambda: nothing_is_left(commands), "both have ended")


def test_when_the_orchestrator_dies_the_controller_is_stopped(commands: Commands):
    up = commands.up("foreground", "--gitops")
    up.told(UP)
    os.kill(running(commands.state).pid, signal.SIGKILL)
    assert up.ended() == 1
    assert "the orchestrator was killed by SIGKILL" in up.stderr
    assert nothing_is_left(commands)


def test_without_a_controller_json_has_null_and_the_reason(commands: Commands):
    up = commands.up("detach-json", "--gitops", "--die")
    assert up.ended() == 0
    document = json.loads(up.stdout)
    assert document["gitops"] is None
    assert "the GitOps controller ended with code 3" in document["gitopsReason"]
    assert "it all went wrong" in document["gitopsReason"]


def test_the_command_carries_the_options_and_no_secret(tmp_path: Path):
    settings = Settings.model_validate({"state_dir": tmp_path, "token": "a-token-from-the-environment"})
    given = {"settings_file": tmp_path / "x.toml", "gitops_port": 0, "host": None, "config": "x.yml"}
    argv = gitops_argv(settings, given)
    assert argv[argv.index("gitops") + 1 :] == [
        *("--log-file", str(tmp_path / "logs" / "gitops.log")),
        *("--settings", str(tmp_path / "x.toml"), "--gitops-port", "0", "--config", "x.yml"),
    ]
    assert "a-token" not in str(argv)


@pytest.mark.parametrize(
    ("options", "variables", "port"),
    [
        (["--port", "0"], {}, 0),
        ([], {"FAIRLEAD_PORT": "0"}, 0),
        (["--port", "0", "--gitops-port", "5050"], {}, 5050),
        (["--port", "0"], {"FAIRLEAD_GITOPS_PORT": "5051"}, 5051),
        ([], {}, 5000),
    ],
)
def test_any_free_port_for_one_is_any_free_port_for_both(
    options: list[str], variables: dict[str, str], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    def run(settings: Settings, command: object, manner: object, *, gitops: list[str] | None) -> int:
        assert gitops is not None
        handed_on = gitops[gitops.index("--gitops-port") + 1] if "--gitops-port" in gitops else None
        seen.append((settings.gitops_port, handed_on))
        return 0

    for name in ("FAIRLEAD_PORT", "FAIRLEAD_GITOPS_PORT", "FAIRLEAD_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fairlead.cli.up.run_up", run)
    Path("fleet.yml").write_text("version: '1'\n")
    result = CliRunner().invoke(up_command, ["--config", "fleet.yml", *options])
    assert result.exit_code == 0, result.output
    ((taken, handed_on),) = seen
    assert taken == port
    if handed_on is not None:  # else it finds the same by the environment, or the default
        assert handed_on == str(port)
