"""What a gateway adds to one call at a time: the same echo program called through it and directly.

The caller is a small blocking client in this process. Directly means over the pipes of a child of its own or,
for an HTTP backend, straight to it. Contenders take turns, as under load.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

import httptools

from bench.connection import Access, Connection, request
from bench.contenders import ECHO_STDIO, Stage
from bench.figures import percentile
from bench.load import Running

Call = Callable[[bytes], bytes]
DIRECT = "direct"
TURN_SECONDS = 1.0


class WrongAnswerError(Exception):
    """An answer without the text of its call."""


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
    """One way to the echo tool, and what its calls took, in microseconds. Who erred is not called again."""

    contender: str
    over: str
    tool: str
    connect: Callable[[], AbstractContextManager[Call]]
    times: list[float] = field(default_factory=list)
    fault: str = ""

    def take_turn(self) -> None:
        """Call for a while, over a connection of this turn's own; its first call is not counted."""
        if self.fault:
            return
        try:
            with self.connect() as call:
                self._time(call)
                self.times.pop()
                stop = time.perf_counter() + TURN_SECONDS
                while time.perf_counter() < stop:
                    self._time(call)
        except (OSError, httptools.HttpParserError, WrongAnswerError) as error:
            self.fault = f"call {len(self.times) + 1}: {error}"

    def _time(self, call: Call) -> None:
        number = len(self.times) + 1
        body = request(number, "tools/call", {"name": self.tool, "arguments": {"text": f"text {number}"}})
        start = time.perf_counter()
        answer = call(body)
        taken = (time.perf_counter() - start) * 1e6
        if b'"text %d"' % number not in answer:
            raise WrongAnswerError(repr(answer[:200]))
        self.times.append(taken)


def measure_latency(stage: Stage, contenders: list[Running], rounds: int) -> list[Caller]:
    """Every contender in turn, `rounds` times, one call at a time."""
    callers = [
        Caller(DIRECT, "stdio", "echo", _stdio_call),
        Caller(DIRECT, "HTTP", "echo", partial(_http_call, Access(stage.backend_port))),
        *(Caller(one.name, one.over, one.access.tool, partial(_http_call, one.access)) for one in contenders),
    ]
    for _ in range(rounds):
        for caller in callers:
            caller.take_turn()
    return callers


def compare(callers: list[Caller]) -> list[Latency]:
    """Percentiles of each that did not err, and what it adds to the direct calls of the same kind."""
    direct = {caller.over: caller.times for caller in callers if caller.contender == DIRECT}
    found = []
    for caller in callers:
        if caller.fault or not (base := direct[caller.over]):
            continue
        p50, p99 = percentile(caller.times, 50), percentile(caller.times, 99)
        is_direct = caller.contender == DIRECT
        found.append(
            Latency(
                contender=caller.contender,
                over=caller.over,
                calls=len(caller.times),
                p50_us=p50,
                p99_us=p99,
                added_p50_us=None if is_direct else p50 - percentile(base, 50),
                added_p99_us=None if is_direct else p99 - percentile(base, 99),
            )
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
