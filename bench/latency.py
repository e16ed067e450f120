"""What a gateway adds to one call at a time: the same echo program called through it and directly.

The caller is a small blocking client in this process. Directly means over the pipes of a child of its own or,
for an HTTP backend, straight to it. Contenders take turns, as under load.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.connection import Access, Connection, request
from bench.contenders import ECHO_STDIO, Stage
from bench.figures import percentile
from bench.load import Running

Call = Callable[[bytes], bytes]
DIRECT = "direct"
TURN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Round trips of one contender, microseconds; `added_*` over calling the same backend directly."""

    contender: str
    over: str
    calls: int
    p50_us: float
    p99_us: float
    added_p50_us: float | None
    added_p99_us: float | None


@dataclass(slots=True)
class Caller:
    """One way to the echo tool, and what its calls took, in microseconds."""

    contender: str
    over: str
    tool: str
    call: Call
    times: list[float] = field(default_factory=list)

    def take_turn(self) -> None:
        """Call for a while. Raises ValueError at a wrong answer."""
        stop = time.perf_counter() + TURN_SECONDS
        while time.perf_counter() < stop:
            number = len(self.times) + 1
            body = request(number, "tools/call", {"name": self.tool, "arguments": {"text": f"text {number}"}})
            start = time.perf_counter()
            answer = self.call(body)
            self.times.append((time.perf_counter() - start) * 1e6)
            if b'"text %d"' % number not in answer:
                msg = f"{self.contender} gave a wrong answer to call {number}: {answer[:200]!r}"
                raise ValueError(msg)


def measure_latency(stage: Stage, contenders: list[Running], rounds: int) -> list[Latency]:
    """Every contender in turn, `rounds` times, one call at a time."""
    with contextlib.ExitStack() as stack:
        callers = [
            Caller(DIRECT, "stdio", "echo", stack.enter_context(_stdio_call())),
            Caller(DIRECT, "HTTP", "echo", stack.enter_context(_http_call(Access(stage.backend_port)))),
        ]
        for one in contenders:
            call = stack.enter_context(_http_call(one.access))
            callers.append(Caller(one.name, one.over, one.access.tool, call))
        for _ in range(rounds):
            for caller in callers:
                caller.take_turn()
    return compare(callers)


def compare(callers: list[Caller]) -> list[Latency]:
    """Percentiles of each, and what each adds to the direct calls of the same kind."""
    direct = {caller.over: caller for caller in callers if caller.contender == DIRECT}
    found = []
    for caller in callers:
        p50, p99 = percentile(caller.times, 50), percentile(caller.times, 99)
        base = direct[caller.over].times
        added = (
            None if caller.contender == DIRECT else (p50 - percentile(base, 50), p99 - percentile(base, 99))
        )
        found.append(
            Latency(caller.contender, caller.over, len(caller.times), p50, p99, *(added or (None, None)))
        )
    return found


@contextlib.contextmanager
def _stdio_call() -> Iterator[Call]:
    with subprocess.Popen(ECHO_STDIO, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stdin, stdout = child.stdin, child.stdout

        def call(body: bytes) -> bytes:
            stdin.write(body + b"\n")
            stdin.flush()
            return stdout.readline()

        yield call
        stdin.close()


@contextlib.contextmanager
def _http_call(access: Access) -> Iterator[Call]:
    with Connection(access) as connection:
        yield lambda body: connection.post(body).body
