"""What sources declare: the applications of configuration repositories, and the one of the checkout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from fairlead.app.gitops_targets import Targets
from fairlead.core.summary import Finding
from fairlead.git import checkout_source
from fairlead.gitops.documents import ApplicationReader, is_error
from fairlead.gitops.execution import target_name
from fairlead.gitops.pieces import Gathered, chosen_layers
from fairlead.gitops.rendering import Renderer
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import Application, GitOpsFile, Mode, SyncSpec
from fairlead.model.gitops import Target as TargetSpec
from fairlead.model.reconciling import Reason, Rendered
from fairlead.model.spec_problem import SpecProblem
from fairlead.ports.gitops import GitSource, Snapshot, Target

APPLICATION: Final = checkout_source.NAME
"""The name of the checkout's one application."""

_MOST_SHOWN: Final = 20


class Catalogue:
    """Implements `gitops.controller.Catalogue`."""

    def __init__(
        self,
        targets: Targets,
        configuration: Callable[[], GitOpsFile],
        *,
        fleet_file: str,
        enabled: Callable[[], bool],
        managed: Callable[[], Iterable[Application]] = tuple,
    ) -> None:
        """`fleet_file` is the name of the checkout's, `enabled` whether Git is in charge of it; `managed` are
        the applications that are taken.
        """
        self._targets = targets
        self._configuration = configuration
        self._fleet_file = fleet_file
        self._enabled = enabled
        self._managed = managed
        self._readers: dict[str, ApplicationReader] = {}
        self._good: dict[str, dict[str, Application]] = {}  # by source and file: what was good last
        self._problems: dict[str, Finding | None] = {}

    def __repr__(self) -> str:
        return f"Catalogue({', '.join(self._readers)})"

    async def applications(self, source: GitSource, snapshot: Snapshot) -> list[Application]:
        """A file with an error keeps the application that it had; see `problem`."""
        if source.name == checkout_source.NAME:
            return [self._of_checkout(enabled=self._enabled())]
        specs = self._configuration().sources
        folder = specs[source.name].applications if source.name in specs else "applications"
        reader = self._readers.setdefault(source.name, ApplicationReader())
        declared = await reader.read(snapshot, folder)
        files = {declared.files[name]: each for name, each in declared.applications.items()}
        before = self._good.get(source.name, {})
        names = set(declared.applications)
        kept = {file: before[file] for file in declared.broken if file in before}
        files |= {file: each for file, each in kept.items() if each.name not in names}
        self._good[source.name] = files
        self._problems[source.name] = _told(
            [problem for found in declared.problems.values() for problem in found if is_error(problem)]
        )
        applications = sorted(files.values(), key=lambda each: each.name)
        if (prefetch := getattr(snapshot, "prefetch", None)) is not None:
            await prefetch(sorted({place for each in applications for place in _places(each)}))
        return applications

    def problem(self, source: GitSource) -> Finding | None:
        """What is wrong with the source's newest declarations; the others are in force."""
        return self._problems.get(source.name)

    async def concerns(self, application: Application, before: Snapshot, after: Snapshot) -> bool:
        for place in _places(application):
            if await before.tree_id(place) != await after.tree_id(place):
                return True
        return False

    def target(self, application: Application) -> Target:
        if (other := self._rival(application)) is not None:
            raise _two_masters(other, "let one of them only observe it: `sync: {mode: observe}`")
        return self._targets.of(application)

    def may_enable(self) -> None:
        """Raises ProblemError (409) where another application keeps this machine's fleet as Git says."""
        if (other := self._rival(self._of_checkout(enabled=True))) is not None:
            raise _two_masters(other, "commit to its repository, or take it out of that")

    def _rival(self, application: Application) -> str | None:
        """Who keeps the same fleet: two would undo each other's work for ever."""
        if application.sync.mode is not Mode.ENFORCE or application.target.fleet is None:
            return None
        mine = target_name(application)
        for other in self._managed():
            if (
                other.name != application.name
                and other.sync.mode is Mode.ENFORCE
                and target_name(other) == mine
            ):
                return other.name
        return None

    def _of_checkout(self, *, enabled: bool) -> Application:
        mode = Mode.ENFORCE if enabled else Mode.OBSERVE
        return Application(
            name=APPLICATION,
            target=TargetSpec.model_validate({"fleet": {}}),
            render=self._fleet_file,
            sync=SyncSpec(mode=mode, propose=False),
        )


class CheckoutRenderer:
    """Implements `gitops.reconcile.Renderer`: in its problems the checkout's file has its own path."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def __repr__(self) -> str:
        return repr(self._renderer)

    async def render(self, application: Application, snapshot: Snapshot) -> Rendered:
        try:
            return await self._renderer.render(application, snapshot)
        except ProblemError as error:
            if not isinstance(snapshot, checkout_source.OneFile):
                raise
            problem = error.problem
            shown = f"{checkout_source.LAYER}/{application.render}"
            detail = problem.detail.replace(shown, snapshot.path)
            if await snapshot.tree_id(checkout_source.LAYER) is None:
                detail = checkout_source.not_committed(snapshot.path)
            raise ProblemError(replace(problem, detail=detail)) from error

    async def gather(self, application: Application, snapshot: Snapshot) -> Gathered:
        return await self._renderer.gather(application, snapshot)


def _places(application: Application) -> list[str]:
    """What an application takes from its repository: files of a fleet, folders of files."""
    try:
        return [layer.place for layer in chosen_layers(application)]
    except ProblemError:
        return ["."]  # the look says what is wrong


def _two_masters(other: str, way_out: str) -> ProblemError:
    detail = f"the application {other} keeps this fleet as Git says already: {way_out}"
    return ProblemError(Problem("two-masters", "The fleet has its owner", detail, 409, Fault.CLIENT))


def _told(problems: Sequence[SpecProblem]) -> Finding | None:
    if not problems:
        return None
    shown = "; ".join(str(each) for each in problems[:_MOST_SHOWN])
    return Finding(Reason.INVALID_CONFIG, shown)
