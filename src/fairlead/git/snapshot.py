"""A commit's tree: which files are below a folder, and what is in them.

The repository may be hostile. What could lead out of the target, or fill it, is refused entry by entry, with
a reason: symbolic links, submodules, LFS pointers, blobs over 1 MiB, names such as `..` and `.git`. Sizes
come from an object's header, so that a blob of a gigabyte is never read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import pygit2

from fairlead.core.tree_entries import LFS, LFS_SIZE, LINK, SUBMODULE, is_lfs_pointer, name_problem
from fairlead.git.reader import Reader, UnreadableError, Work
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.ports.gitops import Commit, Entry

_T = TypeVar("_T")

MAX_BLOB: Final = 2**20  # bytes
MAX_ENTRIES: Final = 20_000
MAX_DEPTH: Final = 32
MAX_WALK: Final = 20_000  # commits that a log looks at
_MAX_KNOWN: Final = 10_000
_REGULAR: Final = 0o100644
_EXECUTABLE: Final = 0o100755
_GROUP_WRITABLE: Final = 0o100664  # of old repositories
_TREE: Final = 0o040000
_LINK: Final = 0o120000
_SUBMODULE: Final = 0o160000
_TRAILER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*): *(.*)")


class TreeSnapshot:
    """Implements `ports.gitops.Snapshot`."""

    def __init__(self, reader: Reader, commit: Commit) -> None:
        self._reader = reader
        self._commit = commit
        self._trees: dict[str, str | None] = {}  # by folder: a commit's tree never changes

    def __repr__(self) -> str:
        return f"TreeSnapshot({self._commit.id[:12]})"

    @property
    def commit(self) -> Commit:
        return self._commit

    async def tree_id(self, folder: str) -> str | None:
        if folder not in self._trees:
            if len(self._trees) >= _MAX_KNOWN:
                self._trees.clear()
            self._trees[folder] = await self._ask(lambda repository: self._tree_id(repository, folder))
        return self._trees[folder]

    async def prefetch(self, folders: Sequence[str]) -> None:
        """Know the ids of many at once: each question by itself is a turn of the reader's thread."""
        unknown = [folder for folder in folders if folder not in self._trees][:_MAX_KNOWN]
        if unknown:
            self._trees |= await self._ask(
                lambda repository: {folder: self._tree_id(repository, folder) for folder in unknown}
            )

    def _tree_id(self, repository: pygit2.Repository, folder: str) -> str | None:
        return _id_at(repository, self._commit.tree, folder)

    async def entries(self, folder: str) -> list[Entry]:
        return await self._ask(lambda repository: self._entries(repository, folder))

    def _entries(self, repository: pygit2.Repository, folder: str) -> list[Entry]:
        found = _at(repository, self._commit.tree, folder)
        if not isinstance(found, pygit2.Tree):
            return []
        entries: list[Entry] = []
        for entry in _walk(repository, found, "/".join(_parts(folder)), 0):
            if len(entries) >= MAX_ENTRIES:
                raise _refused(
                    f"there are more than {MAX_ENTRIES:,} files below {folder!r}; choose a smaller folder"
                )
            entries.append(entry)
        return sorted(entries, key=lambda entry: entry.path)

    async def entry(self, path: str) -> Entry | None:
        """One file, whatever else the tree holds; None where there is none."""
        return await self._ask(lambda repository: _entry(repository, self._commit.tree, path))

    async def read(self, blobs: Sequence[str]) -> list[bytes]:
        return await self._ask(lambda repository: [_content(repository, blob) for blob in blobs])

    async def _ask(self, work: Work[_T]) -> _T:
        return await asked(self._reader, work)


async def asked(reader: Reader, work: Work[_T]) -> _T:
    """As `Reader.ask`, with a ProblemError for what cannot be read now: the mirror is then being mended."""
    try:
        return await reader.ask(work)
    except UnreadableError as error:
        detail = f"the mirror is damaged ({error}); it is checked and fetched anew, try again soon"
        problem = Problem("source-unreadable", "Git cannot be read", detail, 503, Fault.GATEWAY, 1.0)
        raise ProblemError(problem) from error


def commit_of(commit: pygit2.Commit) -> Commit:
    message = commit.raw_message.decode(errors="replace")
    raw = b"%b <%b>" % (commit.author.raw_name, commit.author.raw_email)
    author = raw.decode(errors="replace")
    subject = message.strip().partition("\n")[0].strip()
    return Commit(
        str(commit.id), author, commit.commit_time, subject, str(commit.tree_id), trailers_of(message)
    )


def commit_at(repository: pygit2.Repository, commit: str) -> Commit | None:
    """By its whole id; None where there is no such commit."""
    if not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", commit):
        return None
    found = repository.get(commit)
    if found is None or found.type != pygit2.enums.ObjectType.COMMIT:
        return None
    return commit_of(found.peel(pygit2.Commit))


def trailers_of(message: str) -> dict[str, str]:
    """`Name: value` lines of the last paragraph, where it is not the only one and has nothing else."""
    paragraphs = re.split(r"\n\s*\n", message.strip())
    lines = paragraphs[-1].splitlines()
    found = [_TRAILER.fullmatch(line.strip()) for line in lines]
    if len(paragraphs) < 2 or not all(found):
        return {}
    return {match[1]: match[2] for match in found if match}


def log_of(repository: pygit2.Repository, start: str, limit: int, folder: str) -> list[Commit]:
    """Commits from `start` backwards; with a folder, those that changed it."""
    found: list[Commit] = []
    order = pygit2.enums.SortMode.TOPOLOGICAL | pygit2.enums.SortMode.TIME
    for looked, commit in enumerate(repository.walk(pygit2.Oid(hex=start), order)):
        if len(found) >= limit or looked >= MAX_WALK:
            break
        if not _parts(folder) or _changed(repository, commit, folder):
            found.append(commit_of(commit))
    return found


def _changed(repository: pygit2.Repository, commit: pygit2.Commit, folder: str) -> bool:
    here = _id_at(repository, str(commit.tree_id), folder)
    parents = [str(parent.tree_id) for parent in commit.parents]
    if not parents:
        return here is not None
    return all(_id_at(repository, tree, folder) != here for tree in parents)


def _id_at(repository: pygit2.Repository, tree: str, folder: str) -> str | None:
    found = _at(repository, tree, folder)
    return None if found is None else str(found.id)


def blob_at(repository: pygit2.Repository, tree: str, path: str) -> bytes | None:
    """A file's content; None where there is no file. Raises ProblemError for one that is too large."""
    found = _at(repository, tree, path)
    return _content(repository, str(found.id)) if isinstance(found, pygit2.Blob) else None


def refused_path(path: str) -> str:
    """Why no file may have this path; empty when one may."""
    problems = (name_problem(part.encode(errors="surrogateescape"), path) for part in path.split("/"))
    return next((problem for problem in problems if problem), "")


def _at(repository: pygit2.Repository, tree: str, folder: str) -> pygit2.Object | None:
    """What is at a path below a tree; submodules and links are not followed."""
    found: pygit2.Object = repository[tree]
    for part in _parts(folder):
        if not isinstance(found, pygit2.Tree) or part not in found:
            return None
        found = found[part]
    return found


def _entry(repository: pygit2.Repository, tree: str, path: str) -> Entry | None:
    parts = _parts(path)
    above = _at(repository, tree, "/".join(parts[:-1]))
    if not parts or not isinstance(above, pygit2.Tree) or parts[-1] not in above:
        return None
    item = above[parts[-1]]
    mode = int(item.filemode)
    return None if mode == _TREE else _file(repository, item.id, "/".join(parts), mode)


def _parts(folder: str) -> list[str]:
    return [part for part in folder.split("/") if part not in {"", "."}]


def _walk(repository: pygit2.Repository, tree: pygit2.Tree, above: str, depth: int) -> Iterator[Entry]:
    if depth > MAX_DEPTH:
        raise _refused(f"{above[:80]!r} ... is nested more than {MAX_DEPTH} folders deep; flatten it")
    for item in tree:
        name = (item.raw_name or b"").decode(errors="backslashreplace")
        path = f"{above}/{name}" if above else name
        problem = name_problem(item.raw_name or b"", path)
        mode = int(item.filemode)
        if problem:
            yield Entry(path, str(item.id), 0, executable=False, problem=problem)
        elif mode == _TREE:
            folder = repository[item.id]  # not `item`: it is loaded here, where a failure is seen
            assert isinstance(folder, pygit2.Tree)
            yield from _walk(repository, folder, path, depth + 1)
        else:
            yield _file(repository, item.id, path, mode)


def _file(repository: pygit2.Repository, blob: pygit2.Oid, path: str, mode: int) -> Entry:
    problem, size = "", 0
    if mode == _LINK:
        problem = LINK
    elif mode == _SUBMODULE:
        problem = SUBMODULE
    elif mode not in {_REGULAR, _EXECUTABLE, _GROUP_WRITABLE}:
        problem = f"its mode is {mode:o}; only regular files are taken"
    else:
        _, size = repository.odb.read_header(blob)
        if size > MAX_BLOB:
            problem = f"it has {size:,} bytes; at most {MAX_BLOB:,} are taken"
        elif size < LFS_SIZE and is_lfs_pointer(repository.odb.read(blob)[1]):
            problem = LFS
    return Entry(path, str(blob), size, executable=mode == _EXECUTABLE, problem=problem)


def _content(repository: pygit2.Repository, blob: str) -> bytes:
    kind, size = repository.odb.read_header(blob)
    if kind != pygit2.enums.ObjectType.BLOB or size > MAX_BLOB:
        raise _refused(f"object {blob} is no file of at most {MAX_BLOB:,} bytes; it has {size:,}")
    return repository.odb.read(blob)[1]


def _refused(detail: str) -> ProblemError:
    return ProblemError(Problem("source-refused", "the repository is refused", detail, 422, Fault.CLIENT))
