import errno
import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from fairlead.cli.main import COMMANDS, cli
from fairlead.model.errors import Fault, Problem, ProblemError
from support.rest_service import server_status
from unit.cli.fleet_service import FleetService


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_had_and_has_a_short_text(name: str):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help is not None
    module, summary = COMMANDS[name]
    assert getattr(import_module(f"fairlead.cli.{module}"), f"{name}_command") is command
    assert summary.endswith(".")
    assert len(summary) <= 60


def test_help_lists_every_command_and_the_exit_codes():
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.output
    assert "Exit codes" in result.output


def test_an_unknown_command_is_wrong_usage():
    result = CliRunner().invoke(cli, ["statsu"])
    assert result.exit_code == 2
    assert "statsu" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "../../fleet"),
        ("start", "a/b"),
        ("stop", "..%2Ffleet"),
        ("restart", "."),
        ("scale", "../../fleet", "2"),
        ("drain", "a?b"),
        ("remove", "a b"),
        ("call", "../x", "echo"),
        ("logs", "../tokens"),
        ("strategy", "weighted", "--server", "a#"),
        ("breakers", "--reset", "../../fleet"),
        ("breakers", "--reset", "git-1/../x-1"),
    ],
)
def test_what_is_no_servers_id_is_refused_before_anything_is_asked(
    fairlead, fleet: FleetService, arguments: tuple[str, ...]
):
    result = fairlead(*arguments)
    assert result.exit_code == 2
    assert "cannot be a server's id" in result.stderr
    assert not fleet.received


@pytest.mark.parametrize(
    ("command", "closed", "code"),
    [
        ("top --once --interval 0.5", ">&-", 0),
        ("top --once --interval 0.5 --json", "<&- >&- 2>&-", 0),
        ("status git", "2>&-", 0),
        ("status nonesuch", ">&- 2>&-", 1),
        ("call git echo -", "<&-", 2),
        ("remove git", "<&-", 1),
    ],
)
def test_a_closed_stream_takes_and_gives_nothing(fleet: FleetService, state, command, closed, code):
    traffic = {"requests": 0, "errors": 0, "requestsPerMinute": 0.0, "latencyCounts": [], "outcomes": {}}
    nothing = dict.fromkeys(("meanSeconds", "p50Seconds", "p95Seconds", "p99Seconds"))
    whole = {"uptimeSeconds": 1.0, "sessions": 0, "refused": {}, "servers": {}, "methods": {}}
    fleet.answers = {
        "GET /api/servers": (200, {"generation": 1, "servers": [server_status("git")]}),
        "GET /api/metrics/summary": (200, traffic | nothing | whole),
        "GET /api/circuit-breakers": (200, {"breakers": []}),
    }
    fairlead = f'exec "{sys.executable}" -m fairlead.cli.main {command} --state-dir "{state.root}" {closed}'
    done = subprocess.run(["sh", "-c", fairlead], capture_output=True, text=True, check=False, input="")
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from fairlead.cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "heavy = {'pydantic', 'rich', 'fastapi', 'uvicorn', 'structlog', 'ruamel', 'psutil', 'asyncio'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch):
    """Makes `fairlead boom` raise this."""

    def make(error: BaseException) -> None:
        @click.command("boom")
        def boom() -> None:
            raise error

        monkeypatch.setattr(cli, "get_command", lambda context, name: boom)

    return make


def problem(status: int, detail: str = "where it is\nhow to mend it") -> ProblemError:
    return ProblemError(Problem("x", "what went wrong", detail, status, Fault.CLIENT))


@pytest.mark.parametrize(("status", "code"), [(400, 2), (422, 2), (404, 1), (500, 1), (503, 1)])
def test_an_expected_error_says_what_where_and_how_without_a_traceback(raising, status: int, code: int):
    raising(problem(status))
    result = CliRunner().invoke(cli, ["boom"])
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr == "error: what went wrong\n  where it is\n  how to mend it\n"


def test_an_error_cannot_steer_the_terminal(raising):
    raising(problem(500, "a\x1b[2Jb\x07\x9bc\rd"))
    assert CliRunner().invoke(cli, ["boom"]).stderr == "error: what went wrong\n  abcd\n"


def test_a_system_error_names_the_file(raising):
    raising(OSError(errno.ENOSPC, "No space left on device", "/disk/file"))
    result = CliRunner().invoke(cli, ["boom"])
    assert result.exit_code == 1
    assert result.stderr == "error: No space left on device\n  /disk/file\n"


def test_a_closed_pipe_is_left_to_click(raising):
    raising(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    result = CliRunner().invoke(cli, ["boom"])
    assert (result.exit_code, result.stderr) == (1, "")


def test_a_fault_of_ours_keeps_its_traceback(raising):
    raising(KeyError("x"))
    assert isinstance(CliRunner().invoke(cli, ["boom"]).exception, KeyError)
