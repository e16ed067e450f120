"""Checking what GitOps reads, before it is committed: a configuration repository, or one of its documents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.formats.yaml_tree import Mapping, compose
from fairlead.git.failures import GitFailedError
from fairlead.git.remote import remote_of
from fairlead.gitops.documents import read_application, read_applications, read_gitops
from fairlead.gitops.folder import FolderSnapshot
from fairlead.gitops.rendering import Renderer
from fairlead.model.errors import ProblemError, SpecError
from fairlead.model.gitops import Source
from fairlead.model.spec_problem import Severity, SpecProblem
from fairlead.stores.fleet_file import load, load_layers

APPLICATIONS: Final = "applications"
_OF_GITOPS: Final = frozenset({"sources", "notifications", "severities"})
_GITOPS_FILES: Final = ("gitops.yml", "config/gitops.yml")


@dataclass(frozen=True, slots=True)
class Checked:
    """`what` was looked at, for people: `3 servers`; empty where it could not be read."""

    what: str
    problems: tuple[SpecProblem, ...]

    def count(self, severity: Severity) -> int:
        return sum(problem.severity is severity for problem in self.problems)


def check_file(content: bytes, name: str) -> Checked:
    """A fleet file, an application's document, or a `gitops.yml`: what it is, its keys say."""
    keys = _keys(content)
    if "target" in keys:
        application = read_application(content, name)
        return Checked("1 application" if application.value else "", application.problems)
    if keys & _OF_GITOPS:
        gitops = read_gitops(content, name, check_source)
        return Checked(_count(len(gitops.value.sources), "source") if gitops.value else "", gitops.problems)
    loaded = load(content, name)
    return Checked(_count(len(loaded.spec.servers), "server") if loaded.spec else "", loaded.problems)


async def check_repository(root: Path) -> Checked:
    """All applications of a folder, each with its layers. Raises ProblemError, OSError."""
    snapshot, renderer = FolderSnapshot(root), Renderer(load_layers)
    declared = await read_applications(snapshot, APPLICATIONS)
    problems = [problem for found in declared.problems.values() for problem in found]
    for application in declared.applications.values():
        try:
            problems += await renderer.check(application, snapshot)
        except ProblemError as error:
            problems.append(_error(declared.files[application.name], error.problem.detail))
    for name in _GITOPS_FILES:
        if (file := root / name).is_file():
            problems += read_gitops(file.read_bytes(), name, check_source).problems
    if not declared.applications and not problems:
        problems.append(
            _error(APPLICATIONS, "there is no application here", "`fairlead init DIR` makes a repository")
        )
    # A layer that many applications have is shown once.
    shown = sorted(dict.fromkeys(problems), key=lambda each: (each.file, each.line, each.column))
    return Checked(_count(len(declared.applications), "application"), tuple(shown))


def check_source(source: Source) -> None:
    """Raises SpecError for an address that the controller would not fetch from."""
    try:
        remote_of(source)
    except GitFailedError as error:
        raise SpecError(str(error)) from error


def _keys(content: bytes) -> set[str]:
    try:
        root = compose(content.decode()).root
    except UnicodeDecodeError:
        return set()
    return set(root.entries) if isinstance(root, Mapping) else set()


def _error(file: str, message: str, hint: str = "") -> SpecProblem:
    return SpecProblem(Severity.ERROR, file, 1, 1, "", message, hint)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
