"""What idle legacy sessions and open event streams cost Fairlead: resident memory before and after."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from dataclasses import dataclass, replace

import psutil

from bench.connection import INITIALIZE, INITIALIZED, Access, Connection, request
from bench.contenders import Stage, start_fairlead
from bench.processes import StartError

KIB = 1024
MIB = 1024 * KIB
SPARE_DESCRIPTORS = 200
SETTLED_KIB = 64  # memory that moves less than this in half a second stands still
SETTLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Resident memory of the process (children apart): MiB in all, KiB for each session and each stream."""

    count: int  # of sessions, and of streams
    start_mib: float
    sessions_mib: float
    streams_mib: float
    closed_mib: float  # after the streams were closed again

    @property
    def session_kib(self) -> float:
        return (self.sessions_mib - self.start_mib) * KIB / self.count

    @property
    def stream_kib(self) -> float:
        return (self.streams_mib - self.sessions_mib) * KIB / self.count


def measure_idle(stage: Stage, count: int) -> Idle:
    """Open `count` sessions, then an event stream on each, on a Fairlead of its own.

    Fewer where the machine allows fewer descriptors. Raises StartError when one is refused or lost.
    """
    count = min(count, _allow_descriptors(count + SPARE_DESCRIPTORS) - SPARE_DESCRIPTORS)
    running = start_fairlead(stage, "fairlead-idle")
    process = running.program.process
    _echo(running.access)
    start = _settled(process)
    sessions = _open_sessions(running.access, count)
    with_sessions = _settled(process)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(_open_stream(access)) for access in sessions]
        with_streams = _settled(process)
        _echo(running.access)
        if closed := sum(not _is_open(stream) for stream in streams):
            msg = f"{closed} of {count} event streams were closed by the server"
            raise StartError(msg)
    closed_mib = _settled(process)
    stage.programs.end(running.program)
    return Idle(count, start, with_sessions, with_streams, closed_mib)


def _allow_descriptors(count: int) -> int:
    """Raise this process's limit, and so that of what it starts, up to `count`; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    return max(soft, allowed)


def _open_sessions(access: Access, count: int) -> list[Access]:
    """Shake hands `count` times; nothing more is ever asked in these sessions."""
    sessions: list[Access] = []
    with Connection(replace(access, session="")) as connection:
        for _ in range(count):
            reply = connection.post(INITIALIZE)
            if not (session := reply.headers.get("mcp-session-id")):
                msg = f"session {len(sessions) + 1} was refused: HTTP {reply.status} {reply.body[:200]!r}"
                raise StartError(msg)
            connection.access = opened = replace(access, session=session)
            connection.post(INITIALIZED)
            connection.access = replace(access, session="")
            sessions.append(opened)
    return sessions


def _open_stream(access: Access) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", access.port), 30)
    stream.sendall(access.head("GET"))
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := stream.recv(4096)):
            break
        head += data
    if not head.startswith(b"HTTP/1.1 200"):
        stream.close()
        msg = f"an event stream was refused: {head[:200]!r}"
        raise StartError(msg)
    return stream


def _is_open(stream: socket.socket) -> bool:
    """Read what has come (priming event, comments); the end of the stream means closed."""
    stream.setblocking(False)
    try:
        while stream.recv(4096):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _echo(access: Access) -> None:
    with Connection(access) as connection:
        reply = connection.post(
            request(3, "tools/call", {"name": access.tool, "arguments": {"text": "still here"}})
        )
    if b"still here" not in reply.body:
        msg = f"a call was not answered: HTTP {reply.status} {reply.body[:200]!r}"
        raise StartError(msg)


def resident_mib(process: psutil.Process) -> float:
    return process.memory_info().rss / MIB


def _settled(process: psutil.Process) -> float:
    """Resident memory, MiB, once it stands still."""
    deadline = time.monotonic() + SETTLE_SECONDS
    last, now = -1.0, resident_mib(process)
    while abs(now - last) * KIB > SETTLED_KIB and time.monotonic() < deadline:
        time.sleep(0.5)
        last, now = now, resident_mib(process)
    return now
