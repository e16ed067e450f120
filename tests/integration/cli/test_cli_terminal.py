"""`fairlead` on a terminal: the live table, colours, Ctrl-C as a key."""

import os
import pty
import re
import select
import time

import pytest

from integration.cli.conftest import GUARD, Commands, wait_until


class Terminal:
    """A command whose terminal we are."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:  # the child, with the terminal as its own
            os.execve(argv[0], argv, environment)
        self.screen = ""

    def told(self, text: str) -> None:
        deadline = time.monotonic() + GUARD
        while text not in self.screen:
            assert time.monotonic() < deadline, f"{text!r} is missing on {self.screen!r}"
            if not self._take():
                break
        assert text in self.screen

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def ended(self) -> int:
        while self._take():
            pass
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._master)
        return code

    def _take(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], GUARD)
        try:
            content = os.read(self._master, 65536) if ready else b""
        except OSError:  # Linux: the other end is closed
            content = b""
        self.screen += content.decode()
        return bool(content)


@pytest.mark.parametrize("coloured", [True, False])
def test_up_shows_a_live_table_and_ctrl_c_stops_it(commands: Commands, coloured: bool):
    environment = {**commands.environment, "COLUMNS": "100", **({} if coloured else {"NO_COLOR": "1"})}
    terminal = Terminal(commands.stub_argv("foreground", "--slow", "0.6"), environment)
    terminal.told("Ctrl-C")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.screen)
    assert re.search(r"server +state +tools +time", text)
    assert re.search(r"slow +~ starting +\d\.\d s +handshake", text)
    assert re.search(r"slow +\* ready +2 +\d\.\d s", text)
    assert re.search(r"magic +! blocked +\d\.\d s +needs A_KEY", text)
    assert ("\x1b[32m" in terminal.screen) is coloured
    terminal.press(b"\x03")
    terminal.told("stopped after")
    assert terminal.ended() == 0
    assert commands.state.holder() is None


def test_a_terminal_that_goes_away_stops_it(commands: Commands):
    terminal = Terminal(commands.stub_argv("foreground"), commands.environment)
    terminal.told("Ctrl-C")
    os.close(terminal._master)
    os.waitpid(terminal.pid, 0)
    wait_until(lambda: commands.state.holder() is None, "the orchestrator has ended")
