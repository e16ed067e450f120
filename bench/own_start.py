"""How long the echo server takes to start with nothing before it: `python -m bench.own_start` prints ms.

From starting its process until it has answered what every gateway must ask. This is a process of its own
that does nothing else, and gives the server a session of its own as Fairlead does: the scheduler of Linux
shares the CPU among sessions, and beside the callers in theirs it would start later.
"""

from __future__ import annotations

import subprocess
import time

from bench.connection import INITIALIZE, INITIALIZED, request
from bench.contenders import ECHO_STDIO

QUESTIONS = b"\n".join([INITIALIZE, INITIALIZED, request(2, "tools/list"), b""])


def start_ms() -> float:
    """Start it once, and end it. Raises RuntimeError when it does not answer."""
    begun = time.perf_counter()
    pipe = subprocess.PIPE
    with subprocess.Popen(ECHO_STDIO, stdin=pipe, stdout=pipe, start_new_session=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(QUESTIONS)
        server.stdin.flush()
        answers = [server.stdout.readline() for _ in range(2)]
        taken = time.perf_counter() - begun
        server.stdin.close()
    if not all(b'"result"' in answer for answer in answers):
        msg = f"the echo server answered {answers}"
        raise RuntimeError(msg)
    return taken * 1000


if __name__ == "__main__":
    print(start_ms())
