import json
import signal

import pytest

from fairlead.cli.service import LogLine, StopSignals


def line(**fields: object) -> str:
    return json.dumps({"time": "2026-11-22T10:00:00Z", "logger": "x", **fields})


def test_a_line_of_the_log_is_shown_for_people():
    failed = line(level="error", event="server failed", server="git", code=1)
    assert str(LogLine(failed)) == "error: server failed  server=git  code=1"
    ready = line(level="info", event="server state", server="git", state="ready", message="12 tools")
    assert str(LogLine(ready)) == "git: ready, 12 tools"
    assert LogLine(ready).is_change
    assert not LogLine(failed).is_change
    assert str(LogLine("Traceback\x1b[2J")) == "Traceback"
    assert str(LogLine("[1, 2]")) == "[1, 2]"
    assert not LogLine("[1, 2]").is_change


@pytest.mark.parametrize(
    ("text", "matters"),
    [
        (line(level="debug", event="x"), False),
        (line(level="info", event="x"), False),
        (line(level="warning", event="x"), True),
        (line(level="error", event="x"), True),
        (line(level="critical", event="x"), True),
        ("Fatal Python error", True),
        ("", False),
        ("  ", False),
    ],
)
def test_warnings_and_what_is_no_log_line_matter(text: str, matters: bool):
    assert LogLine(text).is_warning is matters


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_only_a_later_ctrl_c_insists():
    clock = Clock()
    signals = StopSignals(clock)
    assert not signals.received
    signals._note(signal.SIGTERM)
    assert signals.received
    clock.now += 0.1
    signals._note(signal.SIGINT)  # the same wish, told twice
    assert not signals.insisted
    clock.now += 1
    signals._note(signal.SIGTERM)
    assert not signals.insisted
    signals._note(signal.SIGINT)
    assert signals.insisted


@pytest.fixture
def handlers():
    """The handlers of this process, put back after the test."""
    before = {number: signal.getsignal(number) for number in StopSignals.NUMBERS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def test_handlers_are_put_back(handlers):
    with StopSignals() as signals:
        assert {number: signal.getsignal(number) for number in handlers} != handlers
    assert not signals.received
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_after_a_stop_further_signals_do_no_harm(handlers):
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert signals.received
    signal.raise_signal(signal.SIGINT)
