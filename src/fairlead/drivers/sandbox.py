"""What a confined process finds: from paths and facts to the arguments of bubblewrap. Pure.

The whole file system is there, read-only; over it come mounts, the outer ones before the inner ones, so that
of two places that lie in one another the inner one decides. A folder that is hidden is an empty one that
nobody can list; a file that is hidden cannot be opened. What is the same as around it needs no mount.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import PurePosixPath
from typing import Final

ROOT: Final = PurePosixPath("/")
_KEPT: Final = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID")
"""What root keeps: its way with other people's files, as far as they are mounted. CAP_DAC_READ_SEARCH is not
among them: it opens files by handle, past every mount."""


class Access(IntEnum):
    """What may be done at a place. Of the same place given twice, the greater counts."""

    PRIVATE = 1  # an empty folder of its own, in memory
    VEILED = 2  # hidden unless something else is said
    READ = 3
    WRITE = 4
    HIDDEN = 5


_EMPTY: Final = frozenset({Access.PRIVATE, Access.VEILED, Access.HIDDEN})  # nothing of the host shows there


@dataclass(frozen=True, slots=True)
class Place:
    """`path` has no symbolic link in it, and is there."""

    path: PurePosixPath
    access: Access
    folder: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """`links` are symbolic links by which places are named, with what stands in them."""

    places: tuple[Place, ...]
    working_directory: PurePosixPath
    links: tuple[tuple[PurePosixPath, str], ...] = ()
    network: bool = True
    memory: int | None = None  # bytes, for each file system in memory


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """What this machine's bubblewrap can do. `sealed` are parts of /proc by which root changes the host."""

    program: str
    root: bool  # we are; no user namespace is needed then
    network: bool = True  # it can take the network away
    sized: bool = True  # it can bound a file system in memory
    sealed: tuple[str, ...] = ()


def bwrap_arguments(layout: Layout, bubblewrap: Bubblewrap) -> list[str]:
    """All options, without the program and the command that it runs."""
    mounted = _mounted(layout.places)
    size = ["--size", str(layout.memory)] if bubblewrap.sized and layout.memory else []
    return [
        *_namespaces(bubblewrap, network=layout.network),
        *("--bind" if mounted[ROOT].access is Access.WRITE else "--ro-bind", "/", "/"),
        *("--dev", "/dev", *size, "--perms", "1777", "--tmpfs", "/dev/shm", "--proc", "/proc"),  # noqa: S108
        *(word for part in bubblewrap.sealed for word in ("--ro-bind", part, part)),
        *(word for place in mounted.values() for word in _mount(place, size)),
        *(word for path, text in layout.links for word in _link(path, text, mounted)),
        *(word for path in _closed(mounted) for word in ("--remount-ro", str(path))),
        *("--chdir", str(layout.working_directory)),
    ]


def around(path: PurePosixPath, mounted: Mapping[PurePosixPath, Place]) -> Place:
    """The mount that `path` lies in, its own not counted."""
    return next(mounted[parent] for parent in path.parents if parent in mounted)


def _namespaces(bubblewrap: Bubblewrap, *, network: bool) -> Iterator[str]:
    """No `--new-session`: there is no terminal, and the driver has made a session whose number it knows."""
    yield from ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--cap-drop", "ALL")
    if bubblewrap.root:
        yield from (word for capability in _KEPT for word in ("--cap-add", capability))
    else:
        yield "--unshare-user"
    if not network and bubblewrap.network:
        yield "--unshare-net"


def _mounted(places: Iterable[Place]) -> dict[PurePosixPath, Place]:
    """The mounts that are needed, outer ones first; the root is always among them."""
    strictest: dict[PurePosixPath, Place] = {}
    for place in places:
        known = strictest.get(place.path)
        if known is None or place.access > known.access:
            strictest[place.path] = place
    root = strictest.pop(ROOT, None)
    writable = root is not None and root.access is Access.WRITE
    mounted = {ROOT: Place(ROOT, Access.WRITE if writable else Access.READ)}
    for path in sorted(strictest):  # what lies in another comes after it
        place = strictest[path]
        if _differs(place.access, around(path, mounted).access):
            mounted[path] = place
    return mounted


def _differs(access: Access, outside: Access) -> bool:
    if access in (Access.VEILED, Access.HIDDEN):
        return outside not in _EMPTY  # there it is not
    if access is Access.PRIVATE:
        return outside not in (Access.WRITE, Access.PRIVATE)
    return access is not outside


def _mount(place: Place, size: list[str]) -> list[str]:
    path = str(place.path)
    match place.access:
        case Access.READ:
            return ["--ro-bind", path, path] if place.path != ROOT else []
        case Access.WRITE:
            return ["--bind", path, path] if place.path != ROOT else []
        case Access.PRIVATE:
            return [*size, "--perms", "1777", "--tmpfs", path]
        case _ if place.folder:
            return ["--perms", "0111", "--tmpfs", path]
        case _:
            return ["--ro-bind", "/dev/null", path]


def _link(path: PurePosixPath, text: str, mounted: Mapping[PurePosixPath, Place]) -> list[str]:
    """A link is made anew where the folder that holds it does not show."""
    if path in mounted or around(path, mounted).access not in _EMPTY:
        return []
    return ["--symlink", text, str(path)]


def _closed(mounted: Mapping[PurePosixPath, Place]) -> Iterator[PurePosixPath]:
    for path, place in mounted.items():
        if place.folder and place.access in (Access.VEILED, Access.HIDDEN):
            yield path
