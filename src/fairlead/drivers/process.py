"""The driver for local processes that speak MCP over stdin and stdout."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Final

from fairlead.drivers.host import Host
from fairlead.drivers.process_link import ProcessLink
from fairlead.drivers.process_table import MARKER, identity_of
from fairlead.drivers.reaper import become_subreaper
from fairlead.drivers.registry import Record
from fairlead.drivers.spawn import spawn
from fairlead.mcp.framing import MAX_FRAME
from fairlead.model.launch import Launch, ProcessLaunch
from fairlead.ports import Link, LinkListener

SAMPLE_INTERVAL: Final = 1.0  # s
_SAMPLE_SHARE: Final = 20  # a look takes at most a twentieth of the time, however many processes there are


class ProcessDriver:
    """A `ports.Driver` for `ProcessLaunch`.

    `owner` is the state folder's id (no colon in it): every child carries
    `FAIRLEAD_INSTANCE=<owner>:<instance id>#<random>`, and `sweep` ends only what carries the owner's name or
    stands in `registry_file`. `max_frame` bounds a message from a child, in bytes; `sample_interval` is in
    seconds. Makes this process a subreaper (Linux) with the first `open`.
    """

    def __init__(
        self,
        owner: str,
        registry_file: Path,
        *,
        max_frame: int = MAX_FRAME,
        sample_interval: float = SAMPLE_INTERVAL,
    ) -> None:
        self._owner = owner
        self._host = Host(owner, registry_file, max_frame)
        self._sample_interval = sample_interval
        self._links: dict[str, ProcessLink] = {}  # by marker
        self._sampler: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"ProcessDriver({len(self._links)} links, {self._host!r})"

    async def open(self, launch: Launch, listener: LinkListener) -> Link:
        """See `ports.Driver`. The listener hears nothing before this returns.

        Raises ProblemError: `command-not-found`, `not-executable`, `bad-working-directory`, `bad-command`,
        `cannot-start`.
        """
        assert isinstance(launch, ProcessLaunch), "the process driver gets process launches only"
        become_subreaper()
        marker = f"{self._owner}:{launch.instance_id}#{secrets.token_hex(4)}"
        spawned = spawn(launch, (MARKER, marker))
        pid = spawned.process.pid
        identity = identity_of(pid)
        record = Record(marker, pid, frozenset([identity] if identity else []))
        link = ProcessLink(launch, spawned, record, listener, self._host)
        ...
