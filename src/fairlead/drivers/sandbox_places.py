"""What stands at the paths that a sandbox names: links followed, what is not there left out."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from fairlead.drivers.sandbox import Access, Layout, Place
from fairlead.model.launch import ProcessLaunch, Sandbox

_MOST_LINKS: Final = 40  # as in Linux
_SYSTEM: Final = (("/run", Access.VEILED), ("/tmp", Access.PRIVATE), ("/var/tmp", Access.PRIVATE))  # noqa: S108
"""Sockets of the system's services are in /run, and a read-only mount does not close a socket."""
_RESOLVER: Final = "/etc/resolv.conf"  # names are not found without it; it may be a link into /run


def survey(launch: ProcessLaunch, sandbox: Sandbox, program: str) -> Layout:
    """Look at the paths of one launch. `program` is the absolute path of what is to run.

    Raises OSError for links in a circle.
    """
    wanted = [(Path(path), access) for path, access in _SYSTEM]
    wanted += [(Path(path), Access.PRIVATE) for path in (launch.environment.get("TMPDIR"),) if path]
    wanted += [(path, Access.VEILED) for path in sandbox.veiled]
    needed = _needs(program, [follow(path)[0] for path in sandbox.veiled])
    wanted += [(path, Access.READ) for path in (*_shown(sandbox), *sandbox.readable, *needed)]
    wanted += [(path, Access.WRITE) for path in sandbox.writable]
    wanted += [(path, Access.HIDDEN) for path in sandbox.hidden]
    places: list[Place] = []
    links: dict[Path, str] = {}
    for path, access in wanted:
        real, hops = follow(path)
        links.update(hops)
        if os.path.lexists(real):
            places.append(Place(PurePosixPath(real), access, real.is_dir()))
    return Layout(
        tuple(places),
        PurePosixPath(follow(launch.working_directory)[0]),
        tuple((PurePosixPath(path), text) for path, text in links.items()),
        network=sandbox.network,
        memory=launch.memory_limit and launch.memory_limit // 2,  # full before memory runs out
    )


def follow(path: Path) -> tuple[Path, list[tuple[Path, str]]]:
    """Where an absolute path leads, and the links on the way, each where it really is.

    Raises OSError when they go in a circle.
    """
    links: list[tuple[Path, str]] = []
    real = Path("/")
    waiting = list(reversed(path.parts[1:]))
    while waiting:
        part = waiting.pop()
        if part == "..":
            real = real.parent
            continue
        try:
            text = str((real / part).readlink())
        except OSError:  # no link, or nothing that we may see
            real /= part
            continue
        links.append((real / part, text))
        if len(links) > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = Path(text)
        if target.is_absolute():
            real = Path("/")
        waiting += reversed(target.parts[target.is_absolute() :])
    return real, links


def _shown(sandbox: Sandbox) -> Iterator[Path]:
    if sandbox.network:
        yield follow(Path(_RESOLVER))[0].parent


def _needs(program: str, veiled: Iterable[Path]) -> Iterator[Path]:
    """Where a program stands and what is installed with it: `prefix` of each `prefix/bin/program` on the way.

    The program of an environment is a link to the interpreter of another prefix, whose library it needs. A
    prefix that would unveil something (`~/bin/program`) is none.
    """
    real, links = follow(Path(program))
    for hop in (*(path for path, _ in links), real):
        prefix = hop.parent.parent
        whole = hop.parent.name == "bin" and not any(path.is_relative_to(prefix) for path in veiled)
        yield prefix if whole else hop
