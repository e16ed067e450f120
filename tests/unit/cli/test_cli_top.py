import io
import json
import os
import signal
import sys
import threading
from dataclasses import replace

import click
import pytest
from rich.console import Console

from fairlead.app.settings import Settings
from fairlead.cli.rates import Frame, Sample, frame
from fairlead.cli.top import Choice, watch
from fairlead.cli.top_view import LiveView, PlainView, header, table_rows
from fairlead.model.errors import ProblemError
from fairlead.stores.state import StateFolder
from integration.cli.test_cli_terminal import Terminal
from support.rest_service import server_status
from unit.cli.fleet_service import FleetService, breaker, problem

POLLS = ("/api/servers", "/api/metrics/summary", "/api/circuit-breakers")


def summary(uptime: float, requests: int, **more: object) -> dict[str, object]:
    calls = {"requests": requests, "errors": 0, "p50Seconds": 0.0021, "p95Seconds": 0.02, "p99Seconds": 1.25}
    return {"uptimeSeconds": uptime, **calls, "servers": {"git": calls}, **more}


def servers() -> dict[str, object]:
    instances = [
        {"id": "git-1", "state": "ready", "inRotation": True, "callsInFlight": 3, "callsTotal": 90,
         "cpuCores": 0.42, "memoryBytes": 63 * 2**20},
        {"id": "git-2", "state": "ready", "health": "suspect", "callsTotal": 1, "memoryBytes": 3 * 2**30},
    ]  # fmt: skip
    git = server_status("git", instances=instances, wantedInstances=3, callsWaiting=7)
    return {"generation": 4, "servers": [git, server_status("nap", "idle", "")]}


def breakers() -> list[dict[str, object]]:
    return [breaker("git"), breaker("git-2", scope="instance", server="git", state="open", retryAfter=6.4)]


def lay_out(fleet: FleetService, **more: object) -> None:
    """The polls' answers; the summary's numbers grow by 50 calls a second with each look."""
    looks = iter(range(10, 10_000))

    class Growing(dict):
        def get(self, key: str, default: object = None) -> object:
            if key == "GET /api/metrics/summary" and key not in self:
                look = next(looks)
                return 200, summary(float(look), 50 * look)
            return super().get(key, default)

    fleet.answers = Growing(
        {
            "GET /api/servers": (200, servers()),
            "GET /api/circuit-breakers": (200, {"breakers": breakers()}),
            **more,
        }
    )


def shown(**more: object) -> Frame:
    before = Sample(servers(), summary(10.0, 500), breakers())
    return frame(before, Sample(servers(), summary(11.0, 550, **more), breakers()))


PLAIN = [
    "50.0 calls/s  3 in flight  0 errors/s  - sessions  generation 4",
    "latency (since start): p50 2.1 ms  p95 20 ms  p99 1.2 s",
    "SERVER   STATE    READY  FLIGHT  WAIT  CALLS/S  ERR/S     P50    P99  BREAKER   CPU   MEMORY",
    "git      ready      2/3       3     7     50.0      0  2.1 ms  1.2 s  closed    42%  3.1 GiB",
    "  git-1  ready                3              0                        closed    42%   63 MiB",
    "  git-2  suspect    out       0              0                        open 6 s    -  3.0 GiB",
    "nap      idle       0/0       0     0        0      0       -      -  closed      -        -",
]


def test_a_plain_table(capsys: pytest.CaptureFixture[str]):
    with PlainView() as view:
        view.show(shown())
        view.show(shown())
        view.trouble("gone")
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [*PLAIN, "", *PLAIN]
    assert captured.err == "warning: gone\n"


def test_the_header_says_of_what_the_percentiles_are():
    traffic = shown(sessions=3)
    assert "3 sessions" in header(traffic)[0]
    assert "  1 session  " in header(shown(sessions=1))[0]
    assert header(replace(traffic, latency_of="interval"))[1].startswith("latency (last interval): ")
    unknown = frame(None, Sample(servers(), summary(1.0, 1), []))
    assert header(unknown)[0].startswith("- calls/s")


def test_only_who_could_get_calls_is_said_to_get_none():
    given = servers()
    given["servers"][0]["instances"][1]["state"] = "launching"
    rows = [*table_rows(frame(None, Sample(given, summary(1.0, 1), [])).servers)]
    assert [row[2][0] for row in rows] == ["1/3", "", "", "0/0"]


def test_colours_say_what_is_wrong():
    rows = {row[0][0].strip(): row for row in table_rows(shown().servers)}
    colours = {name: [colour for _, colour in row] for name, row in rows.items()}
    assert colours["git"][1:3] == ["green", "yellow"]
    assert colours["git"][4] == "yellow"
    assert colours["git-2"][1] == "yellow"
    assert colours["git-2"][9] == "red"


def screen(height: int = 24, width: int = 110) -> tuple[io.StringIO, Console]:
    written = io.StringIO()
    console = Console(
        file=written, force_terminal=True, width=width, height=height, color_system=None,
        legacy_windows=False, _environ={"TERM": "xterm"},
    )  # fmt: skip
    return written, console


def text_of(written: io.StringIO) -> str:
    return click.unstyle(written.getvalue())


def test_the_live_view_draws_over_itself_and_gives_the_screen_back():
    written, console = screen()
    with LiveView(shown(), console) as view:
        first = text_of(written)
        view.trouble("nothing\nanswers\x1b[2J")
    for part in ("50.0 calls/s", "latency (since start)", "Ctrl-C ends", "git-2", "open 6 s", "3.1 GiB"):
        assert part in first
    assert "nothing answers" in text_of(written)
    raw = written.getvalue()
    assert raw.count("\x1b[?1049h") == raw.count("\x1b[?1049l") == 1  # the other screen and back
    assert raw.rindex("\x1b[?25h") > raw.rindex("\x1b[?25l")  # the cursor shows again
    assert "\x1b[2J" not in raw[raw.index("nothing") :]


def test_the_screen_is_given_back_after_an_error():
    written, console = screen()
    with pytest.raises(KeyError), LiveView(shown(), console):
        raise KeyError("x")
    assert "\x1b[?1049l" in written.getvalue()


def test_what_does_not_fit_is_counted():
    written, console = screen(height=7)
    with LiveView(shown(), console):
        pass
    assert "... 2 more (--filter)" in text_of(written)
    assert "git-1" in text_of(written)
    assert "nap" not in text_of(written)


def test_once_shows_one_interval(fairlead, fleet: FleetService):
    lay_out(fleet)
    result = fairlead("top", "--once", "--interval", "0.5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output.splitlines() == PLAIN
    assert [request.path for request in fleet.received] == [*POLLS, *POLLS]


def test_once_as_json(fairlead, fleet: FleetService):
    lay_out(fleet)
    result = fairlead("top", "--once", "--interval", "0.5", "--json", "--sort", "name", "--filter", "GIT")
    [line] = result.output.splitlines()
    document = json.loads(line)
    assert document["traffic"] == {
        "callsPerSecond": 50.0, "errorsPerSecond": 0.0, "p50": 0.0021, "p95": 0.02, "p99": 1.25,
    }  # fmt: skip
    assert (document["generation"], document["latencyOf"], document["sessions"]) == (4, "start", None)
    [git] = document["servers"]
    assert (git["id"], git["ready"], git["wanted"], git["memoryBytes"]) == (
        "git",
        2,
        3,
        63 * 2**20 + 3 * 2**30,
    )
    assert git["instances"][1]["breaker"] == {"state": "open", "retryAfter": 6.4}
    assert git["instances"][1]["inRotation"] is False
    assert document["at"] > 1_700_000_000


@pytest.mark.parametrize(
    "arguments",
    [("--sort", "x"), ("--interval", "0.1"), ("--interval", "nan"), ("--interval", "x"), ("git",)],
)
def test_wrong_usage(fairlead, fleet: FleetService, arguments: tuple[str, ...]):
    assert fairlead("top", "--once", *arguments).exit_code == 2
    assert not fleet.received


@pytest.mark.parametrize("path", POLLS)
def test_a_first_look_that_fails_is_an_error(fairlead, fleet: FleetService, path: str):
    lay_out(fleet, **{f"GET {path}": problem(503, "x", "Not now", "later")})
    result = fairlead("top")
    assert (result.exit_code, result.stderr) == (1, "error: Not now\n  later\n")


def test_without_a_running_system(fairlead):
    assert "fairlead up" in fairlead("top").stderr


class Watching:
    """A view that changes the fleet while it is watched: `acts` happen after each frame or trouble."""

    def __init__(self, acts) -> None:
        self.seen: list[float | str | None] = []
        self._acts = list(acts)

    def show(self, frame: Frame) -> None:
        self._note(frame.traffic.calls_per_second)

    def trouble(self, text: str) -> None:
        self._note(text)

    def _note(self, what: float | str | None) -> None:
        self.seen.append(what)
        self._acts.pop(0)()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        return


def test_it_goes_on_when_the_service_was_away(fleet: FleetService, state: StateFolder):
    lay_out(fleet)
    done = threading.Event()
    busy = problem(503, "x", "Not now", "later")
    view = Watching(
        [
            lambda: fleet.answers.update({"GET /api/servers": busy}),
            lambda: fleet.answers.update({"GET /api/servers": (200, servers())}),
            lambda: None,
            done.set,
        ]
    )
    first = Sample(servers(), summary(9.0, 450), breakers())
    settings = Settings.model_validate({"state_dir": state.root})
    watch(settings, Choice(0.01, "calls", "", False), first, view=view, stopped=done.is_set)
    assert view.seen == [50.0, "Not now: later", None, 50.0]


@pytest.mark.parametrize("status", [401, 403])
def test_it_ends_when_the_token_is_not_valid_any_more(fleet: FleetService, state: StateFolder, status: int):
    lay_out(fleet, **{"GET /api/servers": problem(status, "x", "No")})
    settings = Settings.model_validate({"state_dir": state.root})
    first = Sample(servers(), summary(9.0, 450), breakers())
    with pytest.raises(ProblemError):
        watch(settings, Choice(0.01, "calls", "", False), first, view=Watching([]), stopped=lambda: False)


def top_in_a_terminal(state: StateFolder, **environment: str) -> Terminal:
    argv = [
        sys.executable,
        "-m",
        "fairlead.cli.main",
        "top",
        "--interval",
        "0.5",
        "--state-dir",
        str(state.root),
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
    return Terminal(argv, {**inherited, "TERM": "xterm", "COLUMNS": "110", "LINES": "24", **environment})


@pytest.mark.parametrize("coloured", [True, False])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_on_a_terminal_it_lives_until_it_is_told_to_end(
    fleet: FleetService, state: StateFolder, coloured: bool, end: int
):
    lay_out(fleet)
    terminal = top_in_a_terminal(state, **({} if coloured else {"NO_COLOR": "1"}))
    terminal.told("- calls/s")  # at once, without rates
    terminal.told("50.0 calls/s")
    if end == signal.SIGINT:
        terminal.press(b"\x03")
    else:
        os.kill(terminal.pid, end)
    assert terminal.ended() == 0
    assert terminal.screen.endswith("\x1b[?1049l")
    assert terminal.screen.rindex("\x1b[?25h") > terminal.screen.rindex("\x1b[?25l")
    assert "Traceback" not in terminal.screen
    assert ("\x1b[32m" in terminal.screen) is coloured


def test_a_dumb_terminal_gets_plain_tables(fleet: FleetService, state: StateFolder):
    lay_out(fleet)
    terminal = top_in_a_terminal(state, TERM="dumb")
    terminal.told(PLAIN[-1])
    terminal.press(b"\x03")
    assert terminal.ended() == 0
    assert "\x1b" not in terminal.screen
