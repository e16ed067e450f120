"""Git repositories for tests, made with git itself and without the user's own configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "LC_ALL": "C",
}
"""What git is run with; also a good environment for `fairlead.git.command.Git` in tests."""

Content = str | bytes | None


class Repository:
    """A repository at `path`, with a worktree unless it is bare."""

    def __init__(self, path: Path, *, bare: bool = False, branch: str = "main") -> None:
        self.path = path
        self.bare = bare
        self.branch = branch
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", f"--initial-branch={branch}", *(["--bare"] if bare else []))

    def git(self, *arguments: str, environ: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
        ran = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env={**ENVIRON, **(environ or {})},
            input=stdin,
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, (arguments, ran.stderr.decode())
        return ran.stdout.decode().strip()

    def commit(
        self, files: Mapping[str, Content], message: str = "a change", *, options: Sequence[str] = ()
    ) -> str:
        """Write files (None removes one), commit all of it; the commit's id."""
        for name, content in files.items():
            file = self.path / name
            if content is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all", "--force")
        self.git("commit", "-q", "--allow-empty", "-m", message, *options)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def at(self, reference: str) -> str | None:
        listed = self.git("for-each-ref", "--format=%(objectname)", reference)
        return listed or None

    def show(self, reference: str, path: str) -> str:
        return self.git("show", f"{reference}:{path}")

    def blob(self, content: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content)

    def tree(self, *entries: tuple[str, str, bytes]) -> str:
        """A tree of `(mode, object, name)`, whatever git would think of it."""
        raw = b"".join(
            mode.encode() + b" " + name + b"\0" + bytes.fromhex(found) for mode, found, name in entries
        )
        return self.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)

    def commit_tree(self, tree: str, message: str = "by hand", *, parent: str | None = None) -> str:
        """Commit a tree as it is, and move the branch there."""
        commit = self.git("commit-tree", tree, "-m", message, *(["-p", parent] if parent else []))
        self.git("update-ref", f"refs/heads/{self.branch}", commit)
        return commit

    def amend(self, files: Mapping[str, Content]) -> str:
        """Rewrite the last commit."""
        return self.commit(files, "rewritten", options=["--amend"])

    def clone(self, path: Path, *options: str) -> Repository:
        self.git("clone", "-q", *options, "--", self.path.as_uri(), str(path))
        return at(path)

    def pushable(self, path: Path) -> Repository:
        """A bare copy, such as a Git host has."""
        self.git("clone", "-q", "--bare", "--", str(self.path), str(path))
        copy = at(path)
        copy.git("config", "http.receivepack", "true")
        return copy


def at(path: Path) -> Repository:
    """A repository that is there already."""
    found = Repository.__new__(Repository)
    found.path, found.bare, found.branch = path, not (path / ".git").exists(), "main"
    return found


def loose_object(repository: Path, object_id: str) -> Path:
    return repository / "objects" / object_id[:2] / object_id[2:]


def damage(file: Path, content: bytes = b"garbage") -> None:
    """Overwrite a file that git keeps read-only."""
    file.chmod(0o644)
    file.write_bytes(content)


def have(program: str) -> bool:
    return shutil.which(program) is not None
