import io

import pytest
from rich.console import Console

from fairlead.cli.board import SETTLED, LineBoard, LiveBoard, SilentBoard, board
from support.rest_service import server_status


def test_lines_tell_each_change_once():
    lines: list[str] = []
    with LineBoard(lines.append) as shown:
        shown.update([server_status("git", "starting", "")], 0.2)
        shown.update([server_status("git", "starting", "")], 0.4)
        shown.update([server_status("git", "ready", "12 tools"), server_status("x", "disabled", "")], 1.25)
        shown.update([server_status("x", "failed", "exited \x1b[2Jwith code 1")], 2)
        shown.update([server_status("x", "starting", "starting")], 3)
    import click

    assert [click.unstyle(line) for line in lines] == [
        "git: starting (0.2 s)",
        "git: ready, 12 tools (1.2 s)",
        "x: disabled (1.2 s)",
        "x: failed, exited with code 1 (2.0 s)",
        "x: starting (3.0 s)",
    ]


def drawn(updates: list[tuple[list[dict[str, object]], float]]) -> list[str]:
    """The last frame, as lines."""
    screen = io.StringIO()
    with LiveBoard(Console(file=screen, force_terminal=False, width=100)) as shown:
        for servers, elapsed in updates:
            shown.update(servers, elapsed)
    return screen.getvalue().splitlines()


def test_the_table_shows_state_tools_time_and_what_is_missing():
    lines = drawn(
        [
            (
                [server_status("git", "starting", "handshake"), server_status("magic", "blocked", "needs A")],
                1.0,
            ),
            (
                [
                    server_status("git", "ready", "12 tools", tools=12),
                    server_status("magic", "blocked", "needs A"),
                ],
                2.5,
            ),
            (
                [
                    server_status("git", "ready", "12 tools", tools=12),
                    server_status("magic", "blocked", "needs A"),
                ],
                9.0,
            ),
        ]
    )
    assert [" ".join(line.split()) for line in lines] == [
        "server state tools time",
        "git * ready 12 2.5 s",
        "magic ! blocked 1.0 s needs A",
    ]


def test_an_idle_server_has_settled_and_is_well():
    lines = drawn([([server_status("nap", "idle", "idle", tools=3)], elapsed) for elapsed in (1.0, 9.0)])
    assert lines[-1].split() == ["nap", "*", "idle", "3", "1.0", "s"]
    assert "idle" in SETTLED


def test_a_server_that_starts_again_is_timed_again():
    git = [(server_status("git", state, ""), elapsed) for state, elapsed in
           (("failed", 1.0), ("starting", 4.0), ("ready", 5.0))]  # fmt: skip
    assert "5.0 s" in drawn([([server], elapsed) for server, elapsed in git])[-1]
    assert "4.0 s" in drawn([([server], elapsed) for server, elapsed in git[:2]])[-1]


def test_markup_in_a_message_is_text():
    assert "[red]x[/red]" in drawn([([server_status("git", "failed", "[red]x[/red]")], 1.0)])[-1]


def test_which_board(capsys: pytest.CaptureFixture[str]):
    assert isinstance(board(as_json=True), SilentBoard)
    assert type(board(as_json=False)) is LineBoard
    board(as_json=True).update([server_status("git")], 1.0)
    assert capsys.readouterr().out == ""
