"""How an instance is to be launched: what a driver gets. Placeholders are already resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a process may touch; everything else is there to be read. Paths are absolute, links allowed.

    Of paths that lie in one another, the inner one decides. Of the same path given twice, `hidden` counts
    before `writable`, that before `readable`, and that before `veiled`.
    """

    required: bool = False  # it must not run without all of this
    network: bool = True  # the host's; False: none
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    veiled: tuple[Path, ...] = ()  # hidden, but for what is named
    hidden: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessLaunch:
    """A local process that speaks MCP over its stdin and stdout.

    `environment` is all that the process gets, beside what the driver must add to find it again.
    `memory_limit` is in bytes of resident memory for the whole process tree, None for no limit;
    `process_limit` counts its processes and threads. Without a `sandbox` it may do what we may.
    `stop_grace` is in seconds, spent at most once after closing stdin and once after TERM.
    """

    instance_id: str
    argv: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)  # may hold secrets
    working_directory: Path
    log_file: Path
    memory_limit: int | None = None
    stop_grace: float = 5.0
    process_limit: int | None = None
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True)
class RemoteLaunch:
    """A server that is reached over HTTP."""

    instance_id: str
    url: str
    transport: Literal["streamable-http", "sse"] = "streamable-http"
    headers: dict[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    connect_timeout: float = 10.0  # s
    max_connections: int = 64
    stop_grace: float = 5.0  # s


Launch = ProcessLaunch | RemoteLaunch
