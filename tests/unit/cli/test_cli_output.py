import io

import click
import pytest

from fairlead.cli.output import coloured, columns, plain, say, style


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),  # no-color.org: an empty one does not count
    ],
)
def test_colours_are_shown_on_a_terminal_that_wants_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal, file = Terminal(), io.StringIO()
    assert coloured(terminal) is expected
    assert not coloured(file)
    for stream in (terminal, file):
        say(style("x", fg="red"), stream)
    assert ("\x1b[31m" in terminal.getvalue()) is expected
    assert file.getvalue() == "x\n"


def test_columns_are_measured_as_they_look():
    lines = columns([("a", "state", ""), ("long name", style("ok", fg="green"), "x")])
    assert [click.unstyle(line) for line in lines] == ["a          state", "long name  ok     x"]
    assert columns([]) == []


def test_plain_text_keeps_tabs_newlines_and_letters():
    assert plain("ä\t한\n\x1b[31mred\x1b[0m \x1b]0;title\x07\x00\x9b") == "ä\t한\nred ]0;title"
