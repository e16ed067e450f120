"""A change for Git to take: a commit made without a worktree, pushed to a branch of its own.

The commit sits on the branch's newest commit. Where that has changed a file meanwhile, the edits are carried
out anew on it, or the texts are merged; a true conflict is told. Pushing goes with a lease on what the
proposal's branch was seen to be; when somebody was faster, all is looked at again. Commits of people on that
branch are never thrown away: ours then comes on top of theirs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pygit2

from fairlead.core.overrides import Edit
from fairlead.formats import documents
from fairlead.git.command import Access, Git
from fairlead.git.failures import GitFailedError, classify
from fairlead.git.mirror import Mirror
from fairlead.git.remote import Remote
from fairlead.git.snapshot import blob_at, refused_path
from fairlead.model.errors import Fault, Problem, ProblemError, SpecError
from fairlead.model.reconciling import Key
from fairlead.ports.gitops import Proposal

MOST_TRIES: Final = 10
OURS: Final = "fairlead/"  # where the names of our branches begin
_NAME: Final = "Fairlead"
_ADDRESS: Final = "fairlead@localhost"
_TIP: Final = "refs/fairlead/tip"
_REGULAR: Final = pygit2.enums.FileMode.BLOB
_MODES: Final = {False: _REGULAR, True: pygit2.enums.FileMode.BLOB_EXECUTABLE}
_OVERTAKEN: Final = re.compile(
    r"stale info|fetch first|non-fast-forward|cannot lock ref|reference already exists|failed to update ref"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where proposals go: the repository, and the branch that is to take them."""

    mirror: Mirror
    git: Git
    remote: Remote
    branch: str
    access: Access


async def push(place: Place, proposal: Proposal) -> bool:
    """See that the proposal's branch has the change; False where the branch that is to take it has it.

    Raises GitFailedError, and ProblemError for a conflict.
    """
    _check(place.remote, proposal.branch)
    for path in proposal.files:
        if problem := refused_path(path):
            raise _refused("proposal-refused", f"{path!r} cannot be proposed: {problem}")
    for _ in range(MOST_TRIES):
        onto = await place.mirror.fetch(place.remote, place.branch, place.access)
        tip = await _tip(place, proposal.branch)
        work = _Work(proposal, onto, tip, int(time.time()))
        commit = await place.mirror.reader.ask(work.commit)
        if commit == onto:
            return False
        if commit == tip or await _pushed(place, f"{commit}:refs/heads/{proposal.branch}", tip):
            return True
    detail = f"others changed the branch {proposal.branch!r} each of {MOST_TRIES} times; try again later"
    raise _refused("proposal-overtaken", detail, retry_after=60.0)


async def withdraw(place: Place, branch: str) -> None:
    """Remove a proposal's branch, unless people have committed to it."""
    _check(place.remote, branch)
    for _ in range(MOST_TRIES):
        onto = await place.mirror.fetch(place.remote, place.branch, place.access)
        tip = await _tip(place, branch)
        if tip is None or not await place.mirror.reader.ask(partial(_is_ours, tip=tip, onto=onto)):
            return
        if await _pushed(place, f":refs/heads/{branch}", tip):
            return


def _check(remote: Remote, branch: str) -> None:
    if not branch.startswith(OURS) or ".." in branch or re.search(r"[\0-\x20\x7f~^:?*\[\\]", branch):
        raise _refused("proposal-refused", f"{branch!r} is no branch of Fairlead's; they begin with {OURS!r}")
    if remote.path is not None and _is_checkout(remote.path):
        detail = (
            f"{remote.path.name!r} is somebody's checkout, which is only read; take the change over by hand"
        )
        raise _refused("proposal-refused", detail)


def _is_checkout(path: Path) -> bool:
    """Whether somebody works in it; `path` may also be the `.git` of a checkout, or below that."""
    return (path / ".git").exists() or (path / "index").exists() or ".git" in path.resolve().parts


async def _tip(place: Place, branch: str) -> str | None:
    """Where the proposal's branch is now, with its commits fetched; None where it is not."""
    reference = f"refs/heads/{branch}"
    arguments = ("ls-remote", "--quiet", "--", place.remote.url, reference)
    listed = await place.git.run(*arguments, folder=place.mirror.folder, access=place.access)
    names = [line.split("\t") for line in listed.output.decode(errors="replace").splitlines()]
    tip = next((found for found, name in names if name == reference), None)
    if tip is None:
        return None
    await place.git.run(
        *("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"),
        *("--update-shallow", "--", place.remote.url, f"+{reference}:{_TIP}"),
        folder=place.mirror.folder,
        access=place.access,
    )
    return tip


async def _pushed(place: Place, refspec: str, tip: str | None) -> bool:
    """Whether it went through; False when somebody was faster. Raises GitFailedError, ProblemError."""
    reference = refspec.partition(":")[2]
    ran = await place.git.run(
        *("push", "--quiet", "--no-verify", "--no-signed", "--recurse-submodules=no"),
        *(f"--force-with-lease={reference}:{tip or ''}", "--", place.remote.url, refspec),
        folder=place.mirror.folder,
        access=place.access,
        codes=(0, 1, 128),
    )
    if ran.code == 0:
        return True
    if _OVERTAKEN.search(ran.errors):
        return False
    failure = classify("push", ran.errors, hidden=place.access.hidden)
    if "remote rejected" in ran.errors or "hook declined" in ran.errors:
        raise _refused("proposal-refused", f"the Git host does not take the branch: {failure.message}")
    raise failure


@dataclass(frozen=True, slots=True)
class _Work:
    """Makes the commit. `now` is Unix time in s."""

    proposal: Proposal
    onto: str
    tip: str | None
    now: int

    def commit(self, repository: pygit2.Repository) -> str:
        """The commit to push: `tip` where it says the same already, `onto` where nothing is to be changed."""
        above = self.onto
        if self.tip is not None and not _is_ours(repository, self.tip, self.onto):
            above = self.tip
        files = {path: self._content(repository, above, path) for path in self.proposal.files}
        if self._has(repository, above, files):
            return above
        if self.tip is not None and self._has(repository, self.tip, files):
            return self.tip
        tree = _tree_with(repository, above, files, self.proposal.modes)
        author = pygit2.Signature(_NAME, _ADDRESS, self.now, 0)
        return str(repository.create_commit(None, author, author, _message(self.proposal), tree, [above]))

    def _has(self, repository: pygit2.Repository, commit: str, files: Mapping[str, bytes | None]) -> bool:
        modes = self.proposal.modes
        return all(
            _file(repository, commit, path) == content
            and (
                path not in modes or content is None or _mode(repository, commit, path) == _MODES[modes[path]]
            )
            for path, content in files.items()
        )

    def _content(self, repository: pygit2.Repository, above: str, path: str) -> bytes | None:
        """What the file becomes on top of `above`."""
        wanted = self.proposal.files[path]
        old, current = _file(repository, self.proposal.onto, path), _file(repository, above, path)
        if current in {old, wanted}:
            return wanted
        if wanted == old:  # it is about the mode
            return current
        edits = (self.proposal.merge or {}).get(path)
        if edits is not None and current is not None:
            return _edited(path, current, edits)
        merged = _merged(repository, path, (old, current, wanted))
        if merged is None:
            detail = f"{path} was changed in Git meanwhile, at the same place; decide which version is right"
            raise _refused("proposal-conflict", detail)
        return merged


def _edited(path: str, content: bytes, edits: Sequence[tuple[Key, object]]) -> bytes:
    try:
        return documents.edit(documents.format_of(path), content, [Edit(key, value) for key, value in edits])
    except SpecError as error:
        raise _refused("proposal-conflict", f"{path} as it is in Git cannot be edited: {error}") from error


def _merged(
    repository: pygit2.Repository, path: str, versions: tuple[bytes | None, bytes | None, bytes | None]
) -> bytes | None:
    """The three texts merged line by line; None for a conflict, a removal, or what is no text."""
    if any(version is None or b"\0" in version for version in versions):
        return None
    base, ours, theirs = (
        pygit2.IndexEntry(path, repository.create_blob(version or b""), _REGULAR) for version in versions
    )
    try:
        result = repository.merge_file_from_index(base, ours, theirs, use_deprecated=False)
    except UnicodeDecodeError:
        return None
    return result.contents.encode() if result.automergeable else None


def _tree_with(
    repository: pygit2.Repository, above: str, files: Mapping[str, bytes | None], modes: Mapping[str, bool]
) -> pygit2.Oid:
    base = repository[above].peel(pygit2.Tree)
    index = pygit2.Index()
    index.read_tree(base)
    for path, content in files.items():
        if content is None:
            if path in index:
                index.remove(path)
            continue
        mode = index[path].mode if path in index else _REGULAR
        mode = _MODES[modes[path]] if path in modes else mode
        index.add(pygit2.IndexEntry(path, repository.create_blob(content), mode))
    return index.write_tree(repository)


def _file(repository: pygit2.Repository, commit: str, path: str) -> bytes | None:
    return blob_at(repository, str(repository[commit].peel(pygit2.Tree).id), path)


def _mode(repository: pygit2.Repository, commit: str, path: str) -> int:
    return int(repository[commit].peel(pygit2.Tree)[path].filemode)


def _is_ours(repository: pygit2.Repository, tip: str, onto: str) -> bool:
    """Whether all that the proposal's branch has beyond the other one was committed by us."""
    beyond = repository.walk(pygit2.Oid(hex=tip))
    beyond.hide(pygit2.Oid(hex=onto))
    return all(commit.committer.email == _ADDRESS for commit in beyond)


def _message(proposal: Proposal) -> str:
    trailers = "\n".join(f"{name}: {_one_line(value)}" for name, value in proposal.trailers.items())
    return (
        "\n\n".join(part for part in (_one_line(proposal.title), proposal.body.strip(), trailers) if part)
        + "\n"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def problem_of(failure: GitFailedError) -> ProblemError:
    """What a failure of git is to somebody who asked for something."""
    status, after = (503, 30.0) if failure.temporary else (502, None)
    code, title = "git-failed", "Git cannot be asked now"
    return ProblemError(Problem(code, title, failure.message, status, Fault.UPSTREAM, after))


def _refused(code: str, detail: str, *, retry_after: float | None = None) -> ProblemError:
    problem = Problem(code, "the change cannot be proposed", detail, 409, Fault.CLIENT, retry_after)
    return ProblemError(problem)
