"""The documents of a configuration repository: `applications/*.yml`, and the controller's `gitops.yml`.

All errors of all documents are found, each with its place and a remedy. A document that is wrong hinders no
other; whoever has its earlier version keeps that, so nothing is removed because of a slip of the pen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

from fairlead.core import versions, windows
from fairlead.core.layer_files import layers_of, relative
from fairlead.core.notices import Desk
from fairlead.core.patterns import Pattern
from fairlead.core.rollout import promotes
from fairlead.formats.model_reading import Reading, find
from fairlead.formats.model_walk import Walk
from fairlead.formats.yaml_tree import Path, Position
from fairlead.model import placeholders
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Application, GitOpsFile, Mode, PathRule, Source
from fairlead.model.shapes import shape_of_model
from fairlead.model.spec_model import SpecModel
from fairlead.model.spec_problem import Severity, SpecProblem
from fairlead.ports.gitops import Entry, Snapshot

SUFFIXES: Final = (".yml", ".yaml")

_Model = TypeVar("_Model", bound=SpecModel)
_Checks = Iterator[tuple[Path, Callable[[], object]]]
CheckSource = Callable[[Source], object]
"""Raises SpecError for a repository's address that cannot be."""

_FOREIGN: Final = {
    "metadata": "write `name:` at the top",
    "spec": "its parts stand at the top",
    "source": "an application comes from the repository that it is in",
    "destination": "write `target:`",
    "syncPolicy": "write `sync:`",
    "suspend": "use `fairlead gitops suspend NAME`",
}


@dataclass(frozen=True, slots=True)
class Read(Generic[_Model]):
    """`value` is None exactly when one of the problems is an error. `places` are of the keys at the top."""

    value: _Model | None
    problems: tuple[SpecProblem, ...]
    places: Mapping[str, Position] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Declared:
    """The applications of a repository, by name; `files` has the document of each.

    `problems` are by file. A file with an error has no application here: its earlier version holds.
    """

    applications: Mapping[str, Application] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, tuple[SpecProblem, ...]] = field(default_factory=dict)

    @property
    def broken(self) -> frozenset[str]:
        """The files that cannot be taken."""
        return frozenset(file for file, found in self.problems.items() if any(map(is_error, found)))


def is_error(problem: SpecProblem) -> bool:
    return problem.severity is Severity.ERROR


def read_application(content: str | bytes, file: str) -> Read[Application]:
    """Pure, and never raises."""
    return _read(content, file, Application, "write `name:` and `target:`", _application)


def read_gitops(
    content: str | bytes, file: str, check_source: CheckSource = lambda _: None
) -> Read[GitOpsFile]:
    """Pure, and never raises."""
    checks = partial(_gitops, check_source)
    return _read(content, file, GitOpsFile, "write `sources:` and below it the repositories", checks)


class ApplicationReader:
    """Reads the applications of one folder of a repository; what has not changed is not read again."""

    def __init__(self) -> None:
        self._tree: str | None = None
        self._known: dict[Entry, Read[Application]] = {}
        self._declared = Declared()

    def __repr__(self) -> str:
        return f"ApplicationReader({len(self._known)} documents)"

    async def read(self, snapshot: Snapshot, folder: str) -> Declared:
        """The same object as long as nothing below the folder has changed.

        Raises ProblemError where it cannot be read at all.
        """
        tree = await snapshot.tree_id(folder)
        if tree != self._tree:
            entries = [entry for entry in await snapshot.entries(folder) if entry.path.endswith(SUFFIXES)]
            new = [entry for entry in entries if entry not in self._known and not entry.problem]
            contents = await snapshot.read([entry.blob for entry in new])
            known = {**self._known, **await asyncio.to_thread(_read_all, new, contents)}
            self._known = {
                entry: _refused(entry) if entry.problem else known[entry]
                for entry in sorted(entries, key=lambda each: each.path)
            }
            self._declared = together({entry.path: read for entry, read in self._known.items()})
            self._tree = tree
        return self._declared


async def read_applications(snapshot: Snapshot, folder: str) -> Declared:
    """Once; see `ApplicationReader`."""
    return await ApplicationReader().read(snapshot, folder)


def _read_all(entries: Sequence[Entry], contents: Sequence[bytes]) -> dict[Entry, Read[Application]]:
    return {
        entry: read_application(content, entry.path) for entry, content in zip(entries, contents, strict=True)
    }


def _refused(entry: Entry) -> Read[Application]:
    return Read(None, (_error(entry.path, Position(1, 1), "", entry.problem, ""),))


def together(reads: Mapping[str, Read[Application]]) -> Declared:
    """Documents of one repository, by file: what is wrong between them is found, too."""
    applications: dict[str, Application] = {}
    files: dict[str, str] = {}
    problems = {file: list(read.problems) for file, read in reads.items()}

    def refuse(file: str, key: str, message: str, hint: str) -> None:
        position = reads[file].places.get(key, Position(1, 1))
        problems[file].append(_error(file, position, key, message, hint))

    for file, read in reads.items():
        if read.value is None:
            continue
        name = read.value.name
        if name in applications:
            refuse(file, "name", f"{files[name]} has an application {name!r} already", "choose another name")
        else:
            applications[name], files[name] = read.value, file
    for name, *said in list(_between(applications)):
        refuse(files.pop(name), *said)
        del applications[name]
    return Declared(applications, files, {file: tuple(found) for file, found in problems.items() if found})


def _between(applications: Mapping[str, Application]) -> Iterator[tuple[str, str, str, str]]:
    """An application, and the key, what is wrong there with the others in mind, and what would be right."""
    fleets: dict[str | None, str] = {}
    known = ", ".join(applications)
    for name, application in applications.items():
        if (earlier := application.promoted_from) is not None:
            source = applications.get(earlier)
            why = promotes(source, application) if source else "there is no such application"
            if why:
                hint = "name an application of an earlier environment" if source else f"there are: {known}"
                yield name, "promotedFrom", why, hint
                continue
        fleet = application.target.fleet
        if fleet is not None and application.sync.mode is Mode.ENFORCE:
            first = fleets.setdefault(fleet.url, name)
            if first != name:
                hint = "let one of them only observe it: `sync: {mode: observe}`"
                yield name, "target", f"{first!r} writes to this fleet already", hint


def _error(file: str, position: Position, key: str, message: str, hint: str) -> SpecProblem:
    return SpecProblem(Severity.ERROR, file, position.line, position.column, key, message, hint)


def _read(
    content: str | bytes, file: str, model: type[_Model], wanted: str, checks: Callable[[_Model], _Checks]
) -> Read[_Model]:
    reading = Reading(file)
    root = reading.tree(content, wanted)
    if root is None:
        return Read(None, reading.problems)
    Walk(reading.report, _FOREIGN).node(root, shape_of_model(model))
    value = reading.model(root, model)
    if value is not None:
        for loc, check in checks(value):
            reading.check(root, loc, check)
    places = {name: find(root, (name,))[1] for name in root.entries}
    return Read(None if reading.failed else value, reading.problems, places)


def _application(application: Application) -> _Checks:
    fleet, files = application.target.fleet, application.target.files
    yield ("path",), lambda: relative(application.path)
    yield ("render",), lambda: layers_of(application.model_copy(update={"path": "."}))
    if fleet is not None:
        yield ("target", "fleet", "url"), lambda: _check_url(fleet.url)
        yield ("target", "fleet", "token"), lambda: _check_hidden(fleet.token)
    if files is not None:
        yield ("target", "files", "root"), lambda: _check_root(files.root)
    yield from _rules(("rules",), application.rules, fleet=fleet is not None)
    for index, window in enumerate(application.sync.windows):
        yield ("sync", "windows", index), partial(windows.check, window)
    for name, said in versions.wanted(application.tools):
        place = ("tools", "packages", name) if ":" in name else ("tools", name)
        yield place, partial(versions.check_range, said)
    for name in application.tools.packages:
        yield ("tools", "packages", name, "[key]"), partial(versions.check_package, name)


def _gitops(check_source: CheckSource, file: GitOpsFile) -> _Checks:
    for name, source in file.sources.items():
        here = ("sources", name)
        yield (*here, "url"), partial(check_source, source)
        yield (*here, "applications"), partial(relative, source.applications)
        hidden = {"token": source.token, "sshKey": source.ssh_key, "webhookSecret": source.webhook_secret}
        for key, text in hidden.items():
            yield (*here, key), partial(_check_hidden, text)
        if source.forge is not None:
            yield (*here, "forge", "token"), partial(_check_hidden, source.forge.token)
            yield (*here, "forge", "url"), partial(_check_url, source.forge.url)
    for index, channel in enumerate(file.notifications):
        yield ("notifications", index), partial(Desk, channel)
    yield from _rules(("severities",), file.severities, fleet=False)


def _rules(here: Path, rules: Iterable[PathRule], *, fleet: bool) -> _Checks:
    for index, rule in enumerate(rules):
        yield (*here, index, "path"), partial(Pattern.parse, rule.path, fleet=fleet)
        yield (*here, index), partial(_check_said, rule)


def _check_said(rule: PathRule) -> None:
    if rule.model_fields_set == {"path"}:
        raise SpecError("the rule says nothing", "give it a policy, a severity, a wave or a mergeKey")


def _check_url(url: str | None) -> None:
    if url is None:
        return
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise SpecError("it is no base URL", "write it like https://host:3002")
    if parts.username or parts.password:
        raise SpecError("the URL holds credentials", "write them as `token`, with a placeholder")


def _check_hidden(text: str | None) -> None:
    """A secret's place: never the secret itself, which this does not show either."""
    if text is not None and not placeholders.has_placeholder(placeholders.check(text)):
        raise SpecError(
            "a secret must not stand in Git", "write ${NAME}, ${file:/path} or ${secret:NAME} in its place"
        )


def _check_root(root: str) -> None:
    rest = root.removeprefix("${HOME}")
    absolute = rest.startswith("/") or (rest == "" and root != "")
    if not absolute or ".." in rest.split("/") or "\0" in root:
        raise SpecError(f"{root[:80]!r} is no absolute path", "write it like /srv/tools or ${HOME}/.config")
