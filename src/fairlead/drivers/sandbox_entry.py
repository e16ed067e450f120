"""Starting a program through bubblewrap, with a moment in between in which its limits are set.

    driver ──> bwrap (outside; waits, and hands the server's exit code on)
                 └──> bwrap (process 1 of the new space; reaps what is left)
                        └──> the server

Options go through a file in memory, so that no path shows in the process list. bwrap tells who process 1 is
and then holds it back until we let it go: by then it is in its control group and has its limits, and so has
whatever it starts. When the outer bwrap or we ourselves are killed, the kernel ends all of them
(`--die-with-parent`; as always with PR_SET_PDEATHSIG, "we" is the thread that started it: the event loop's).
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

_PATIENCE: Final = (
    10.0  # s, until bwrap has said who process 1 is, and then until that has started the server
)
_PAUSE: Final = 0.0005  # s, between two looks for the server


class Entry:
    """The way into one sandbox. Whoever makes it calls `close` in the end."""

    def __init__(self, program: str, options: Sequence[str]) -> None:
        """Raises OSError when descriptors have run out."""
        with ExitStack() as ours, ExitStack() as theirs:
            written = os.memfd_create("bwrap-options")
            theirs.callback(os.close, written)
            os.write(written, b"".join(os.fsencode(word) + b"\0" for word in options))
            os.lseek(written, 0, os.SEEK_SET)
            self._told, telling = os.pipe()
            ours.callback(os.close, self._told)
            theirs.callback(os.close, telling)
            held, self._letting_go = os.pipe()
            theirs.callback(os.close, held)
            ours.callback(os.close, self._letting_go)
            self._ours, self._theirs = ours.pop_all(), theirs.pop_all()
        self.descriptors = (written, telling, held)
        self.prefix = (
            *(program, "--args", str(written), "--info-fd", str(telling), "--block-fd", str(held)),
            "--",
        )

    def started(self) -> None:
        """bwrap runs, or does not: its ends are no longer ours."""
        self._theirs.close()

    def first(self) -> int | None:
        """The pid of process 1, as seen from here; None when bwrap gave up. Blocks for about 1 ms."""
        deadline = time.monotonic() + _PATIENCE
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        said = b""
        while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000):
            part = os.read(self._told, 4096)
            if not part:
                break
            said += part
        try:
            return int(json.loads(said)["child-pid"])
        except (ValueError, KeyError):
            return None

    def let_go(self) -> None:
        """Have process 1 go on."""
        with suppress(BrokenPipeError):  # it has ended; its exit tells why
            os.write(self._letting_go, b"\n")

    def close(self) -> None:
        self._theirs.close()
        self._ours.close()


def server_below(first: int) -> int | None:
    """The server's own pid, once process 1 has started it; None when that has ended, or cannot be told."""
    children = Path(f"/proc/{first}/task/{first}/children")
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            found = children.read_text().split()
        except OSError:
            return None
        if found:
            return int(found[0])
        time.sleep(_PAUSE)
    return None
