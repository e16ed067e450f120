"""Where a repository of this machine keeps its refs, found by its files: nothing is run, nothing written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """`git_dir` has HEAD, `common_dir` the refs: two in a linked worktree. `worktree` is None if bare."""

    git_dir: Path
    common_dir: Path
    worktree: Path | None

    def mark(self, branch: str | None) -> tuple[tuple[int, ...] | None, ...]:
        """Equal as long as HEAD and the branch are where they were; a look costs microseconds."""
        files = [
            self.git_dir / "HEAD",
            self.common_dir / "packed-refs",
            self.common_dir / "reftable/tables.list",
        ]
        if branch is not None:
            files.append(self.common_dir / "refs/heads" / branch)
        return tuple(_stamp(file) for file in files)

    def folders(self, branch: str | None) -> set[Path]:
        """What is to be watched, without what is below; those that are there."""
        heads = self.common_dir / "refs/heads"
        near = (heads / branch).parent if branch is not None else heads
        while not near.is_dir() and near != self.common_dir:
            near = near.parent
        return {
            folder
            for folder in (self.git_dir, self.common_dir, heads, near, self.common_dir / "reftable")
            if folder.is_dir()
        }


def locate(folder: Path) -> Places | None:
    """The repository whose top (or bare) folder this is. Raises OSError."""
    dot_git = folder / ".git"
    if dot_git.is_dir():
        return _places(dot_git, folder)
    if dot_git.is_file():
        text = dot_git.read_text(errors="replace").strip()
        if text.startswith("gitdir:"):
            return _places((folder / text.removeprefix("gitdir:").strip()).resolve(), folder)
        return None
    if (folder / "HEAD").is_file() and (folder / "objects").is_dir():
        return _places(folder, None)
    return None


def locate_above(folder: Path) -> Places | None:
    """The repository that a folder is in."""
    for place in (folder, *folder.parents):
        found = locate(place)
        if found is not None:
            return found
    return None


def _places(git_dir: Path, worktree: Path | None) -> Places | None:
    if not (git_dir / "HEAD").is_file():
        return None
    common = git_dir / "commondir"
    if common.is_file():
        return Places(git_dir, (git_dir / common.read_text(errors="replace").strip()).resolve(), worktree)
    return Places(git_dir, git_dir, worktree)


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size)
