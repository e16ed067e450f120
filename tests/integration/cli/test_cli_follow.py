"""`fairlead logs -f` as a process of its own."""

import json
import signal

from integration.cli.conftest import Commands


def test_following_survives_rotation_and_ends_with_ctrl_c(commands: Commands):
    commands.state.prepare()
    log = commands.state.server_log("git")
    log.write_text("one\n")
    follow = commands.fairlead("logs", "git", "-f")
    follow.told("one")
    with log.open("a") as file:
        file.write("two\n")
        file.flush()
        follow.told("two")
        log.rename(log.with_name("git.log.1"))
        file.write("three\n")
    log.write_text("four\n")
    follow.told("four")
    follow.process.send_signal(signal.SIGINT)
    assert follow.ended() == 0
    assert follow.stdout == "one\ntwo\nthree\nfour\n"
    assert follow.stderr == ""


def test_following_as_json(commands: Commands):
    commands.state.prepare()
    log = commands.state.server_log("git")
    log.write_text("one\n")
    follow = commands.fairlead("logs", "git", "-f", "--json")
    follow.told('"one"')
    with log.open("a") as file:
        file.write("two\n")
    follow.told('"two"')
    follow.process.send_signal(signal.SIGINT)
    assert follow.ended() == 0
    assert json.loads(follow.stdout.splitlines()[-1]) == {"server": "git", "line": "two"}
