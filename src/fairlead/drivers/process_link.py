"""One running child and its stdin, stdout, stderr: a `ports.Link`.

Frames cross without tasks or futures: `send` gathers in `FrameWriter`; what stdout brings is split and handed
to the listener straight from the loop's callback. A task exists only for the end, whatever brings it about
(our `close`, an exit, a fault), and there is exactly one:

    close stdin, wait -> TERM, wait -> KILL for every process of the tree -> drain stdout -> reap
    -> tell the listener -> finish the log and the registry

A child that has ended stays a zombie until its descendants are gone, so that its pid, group and session
remain its own while they are looked for. They are ended before the listener hears of the loss: that costs
about 2 ms, and a successor finds their ports and locks free.

We do not ask the kernel to kill children when we die (PR_SET_PDEATHSIG): it would fire when the thread that
forked ends, and needs Python between fork and exec. The end of stdin tells a well-behaved server; the sweep
at the next start finds the others.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from fairlead.drivers.host import Host
from fairlead.drivers.pipes import FrameWriter, PipeReader
from fairlead.drivers.reaper import Sample
from fairlead.drivers.registry import Record
from fairlead.drivers.server_log import ServerLog
from fairlead.drivers.spawn import Spawned
from fairlead.mcp.framing import CR, LF, FrameTooLongError, LineSplitter
from fairlead.mcp.param_headers import Pairs
from fairlead.model.launch import ProcessLaunch
from fairlead.ports import LinkListener, LinkLost, LinkStatistics

_log = structlog.get_logger(__name__)
_MIB: Final = 2**20
_DRAIN: Final = _MIB  # bytes still read when a child has ended; a pipe holds less
_LAST_WORDS: Final = 0.5  # s, for a child that closed a pipe to end by itself and tell why
_REAP: Final = 0.3  # s, for a child that was killed to go
_SIGNALLED: Final = 128
_NO_SECRETS: Final = frozenset({"PATH", "HOME", "LANG", "TMPDIR"})  # long values that may be shown


class ProcessLink:
    """A link to a child that runs. `on_end` is called when nothing of it is left."""

    def __init__(
        self,
        launch: ProcessLaunch,
        spawned: Spawned,
        record: Record,
        listener: LinkListener,
        host: Host,
        *,
        on_end: Callable[[ProcessLink], None],
    ) -> None:
        self.record = record
        self._launch = launch
        self._process = spawned.process
        self._listener = listener
        self._host = host
        self._confined = spawned.confined
        self._pid = self._confined.server or spawned.process.pid
        self._on_end = on_end
        self._splitter = LineSplitter(host.max_frame)
        self._writer = FrameWriter(spawned.stdin, listener.writable_changed, self._stdin_broken)
        self._stdout = PipeReader(spawned.stdout, self._received, self._stdout_ended)
        secrets = (value for name, value in launch.environment.items() if name not in _NO_SECRETS)
        self._log = ServerLog(launch.log_file, launch.instance_id, secrets, host.files)
        self._stderr = PipeReader(spawned.stderr, self._log.feed, lambda: None)
        self._exit = spawned.exit
        self._exited = asyncio.Event()
        self._sample: Sample | None = None
        self._cpu_seconds = 0.0
        self._ending: asyncio.Task[None] | None = None
        self._log.note(f"started, pid {self._pid}: {self._launch.argv[0]}")
        self._stdout.resume()
        self._stderr.resume()
        asyncio.get_running_loop().add_reader(self._exit.fileno(), self._exit_seen)

    def __repr__(self) -> str:
        state = "open" if self._ending is None else "over" if self._ending.done() else "ending"
        return f"ProcessLink({self._launch.instance_id}: {state}, pid {self._pid})"

    # -- the hot path ------------------------------------------------------------------------------------

    def send(
        self,
        frame: bytes,
        method: str,
        request_id: int | None,
        name: str | None,
        parameters: Pairs = (),
    ) -> None:
        """See `ports.Link`. Raises ValueError for a frame with CR or LF: it would be two messages."""
        if LF in frame or CR in frame:
            raise ValueError("a frame must not contain CR or LF")
        self._writer.send(frame)

    def _received(self, data: bytes) -> None:
        try:
            frames = self._splitter.feed(data)
        except FrameTooLongError as error:
            self._stdout.close()
            self._end(f"sent {error}", gently=False)
            return
        received = self._listener.frame_received
        for frame in frames:
            received(frame)

    # -- the rest of `ports.Link` ------------------------------------------------------------------------

    def abandon(self, request_id: int) -> bool:
        return False

    def negotiated(self, version: str) -> None:
        """Nothing in this transport depends on it."""

    def pause_reading(self) -> None:
        self._stdout.pause()

    def resume_reading(self) -> None:
        self._stdout.resume()

    async def close(self) -> None:
        """See `ports.Link`. Takes 2 x `stop_grace` + 1 s at most; concurrent calls share one stop."""
        await asyncio.shield(self._ending or self._end(None, expected=True))

    def statistics(self) -> LinkStatistics:
        memory = self._sample.memory_bytes if self._sample else None
        cpu = self._cpu_seconds if self._sample else None
        queued = self._writer.queued_bytes
        return LinkStatistics(self._pid, queued, memory, cpu, self._confined.confinement)

    # -- what the host tells -----------------------------------------------------------------------------

    def sampled(self, sample: Sample) -> None:
        """Take a look's result: how much our tree uses. Over the limit is the end."""
        self._sample = sample
        self._cpu_seconds = max(self._cpu_seconds, sample.cpu_seconds)  # lost when an orphan is reaped
        limit = self._launch.memory_limit
        if limit is not None and sample.memory_bytes > limit and self._ending is None:
            used = f"{sample.memory_bytes / _MIB:.0f} MiB over the limit of {limit / _MIB:.0f} MiB"
            self._end(f"memory {used}", gently=False)
        most = self._launch.process_limit
        if most is not None and sample.processes > most and self._ending is None:
            self._end(f"{sample.processes} processes, over the limit of {most}", gently=False)

    # -- the end -----------------------------------------------------------------------------------------

    def _exit_seen(self) -> None:
        asyncio.get_running_loop().remove_reader(self._exit.fileno())
        self._exited.set()
        self._end(None)

    def _stdout_ended(self) -> None:
        self._end("closed its stdout")

    def _stdin_broken(self) -> None:
        self._end("closed its stdin")

    def _end(self, cause: str | None, *, gently: bool = True, expected: bool = False) -> asyncio.Task[None]:
        if self._ending is None:
            name = f"end of {self._launch.instance_id}"
            self._ending = self._host.tasks.spawn(self._run_end(cause, gently, expected), name)
        return self._ending

    async def _run_end(self, cause: str | None, gently: bool, expected: bool) -> None:
        if gently and cause and await self._exits_within(_LAST_WORDS):
            cause = None  # its exit says more
        if gently and not self._exited.is_set():
            await self._stop_gently()
        self._writer.close()
        await self._kill_tree()
        code = self._drain_and_reap()
        how = _exit_text(code)
        if cause is None and not expected and self._confined.memory_ran_out():
            cause = f"memory over the limit of {(self._launch.memory_limit or 0) / _MIB:.0f} MiB; {how}"
        self._log.note(how)
        reason = f"stopped ({how})" if expected else cause or how
        try:
            self._listener.link_lost(LinkLost(reason, self._log.tail(), expected, code))
        finally:
            self._host.registry.remove(self.record)
            await self._host.release(self._confined)
            await self._log.written()
            await self._host.registry.save()
            self._on_end(self)

    def _drain_and_reap(self) -> int | None:
        """Take what the child said last, let go of all descriptors; its exit code."""
        for pipe in (self._stdout, self._stderr):
            pipe.drain(_DRAIN)
            pipe.close()
        asyncio.get_running_loop().remove_reader(self._exit.fileno())
        self._exit.close()
        code = self._process.poll()
        if self._confined.frame and code is not None and _SIGNALLED < code <= _SIGNALLED + signal.NSIG:
            return _SIGNALLED - code  # as bwrap tells the signal that ended the server
        return code

    async def _stop_gently(self) -> None:
        """Close stdin, then TERM, each with its grace. Who belongs to the tree is noted while it stands."""
        await self._host.note(self.record)
        self._writer.close()
        if not await self._exits_within(self._launch.stop_grace):
            if self._confined.frame:
                await self._host.terminate(self.record, self._confined.frame)
            else:
                self._signal_group(signal.SIGTERM)
                self._signal_group(signal.SIGCONT)  # a stopped process hears nothing else
            await self._exits_within(self._launch.stop_grace)

    async def _kill_tree(self) -> None:
        """End whatever is left, and wait until it is gone: half a second at most."""
        self._signal_group(signal.SIGKILL)
        if left := await self._host.kill(self.record):
            _log.warning("processes outlive SIGKILL", instance=self._launch.instance_id, count=left)
        await self._exits_within(_REAP)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted once it has ended
            os.killpg(self._process.pid, number)

    async def _exits_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True


def _exit_text(code: int | None) -> str:
    if code is None:
        return "could not be killed"
    if code >= 0:
        return f"exited with code {code}"
    names = {number.value: number.name for number in signal.Signals}  # not all have one
    return f"killed by {names.get(-code, f'signal {-code}')}"
