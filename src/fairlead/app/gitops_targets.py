"""The targets of applications: fleets by their orchestrators, and folders of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from fairlead.app.compose import hidden_files
from fairlead.app.settings import Settings
from fairlead.kit.trust import pinned
from fairlead.kit.watching import Watching
from fairlead.model import placeholders
from fairlead.model.errors import Fault, Problem, ProblemError, SpecError
from fairlead.model.gitops import Application
from fairlead.model.gitops import FilesTarget as FilesSpec
from fairlead.model.gitops import FleetTarget as FleetSpec
from fairlead.ports import SecretSource
from fairlead.ports.gitops import Target, TargetAwayError
from fairlead.stores.fleet_file import document, load_document
from fairlead.stores.state import ORCHESTRATOR, StateFolder
from fairlead.stores.tokens import TokenStore
from fairlead.targets.files import FilesTarget
from fairlead.targets.fleet import FleetTarget
from fairlead.targets.orchestrator import Locate, Place

_HOME: Final = "${HOME}"


class Targets:
    """Makes them. All that listen for changes of files share one watcher."""

    def __init__(self, settings: Settings, state: StateFolder, secrets: SecretSource) -> None:
        self._settings = settings
        self._state = state
        self._secrets = secrets
        self._watching = Watching()

    def of(self, application: Application) -> Target:
        """Raises ProblemError for a folder that nothing may be written to."""
        if application.target.fleet is not None:
            return FleetTarget(self.locate(application.target.fleet), normal)
        assert application.target.files is not None
        root = self._root(application.target.files)
        closed = hidden_files(self._settings)
        return FilesTarget(root, self._secret, closed=closed, watching=self._watching)

    def locate(self, spec: FleetSpec) -> Locate:
        """Where the fleet's orchestrator is, asked anew each time."""
        if spec.url is None:
            return self._here
        url, token = spec.url, spec.token
        fill = filler(self._secrets)

        def there() -> Place:
            if token is None:
                local = TokenStore(self._state).local()
                return Place(url, local or "")
            try:
                return Place(url, fill(token))
            except SpecError as error:
                raise _refused("no-token", f"the target's token: {error}; {error.hint}") from None

        return there

    def _here(self) -> Place:
        run = self._state.of(ORCHESTRATOR).read_run()
        if run is None:
            raise TargetAwayError("the orchestrator of this machine does not run: `fairlead up` starts it")
        given = self._settings.token
        token = given.get_secret_value() if given else TokenStore(self._state).local()
        certificate = self._settings.tls.certificate
        return Place(run.addresses[ORCHESTRATOR], token or "", pinned(certificate) if certificate else None)

    def _root(self, spec: FilesSpec) -> Path:
        root = Path(os.path.normpath(spec.root.replace(_HOME, str(Path.home()))))
        state = self._settings.state_dir.resolve()
        if not root.is_absolute() or len(root.parts) < 2:
            raise _refused("bad-root", f"`target.files.root: {spec.root}` is no folder of its own")
        if root.resolve() == state or state in root.resolve().parents:
            raise _refused("bad-root", f"`target.files.root: {spec.root}` is Fairlead's own state folder")
        return root

    def _secret(self, name: str) -> str:
        value = self._secrets.get(name)
        if value is None:
            raise SpecError(f"there is no {name}", "`fairlead secrets set` keeps one")
        return value

    async def close(self) -> None:
        await self._watching.close()


def normal(written: Mapping[str, Any]) -> dict[str, Any]:
    """A fleet document as an orchestrator shows it; one that is not valid stays as it is."""
    loaded = load_document(dict(written), "the fleet")
    return dict(written) if loaded.spec is None else document(loaded.spec)


def is_valid(written: Mapping[str, Any]) -> bool:
    """Whether a fleet document may be in force."""
    return load_document(dict(written), "the fleet").spec is not None


def filler(secrets: SecretSource) -> Callable[[str], str]:
    """Puts in what placeholders stand for. It raises SpecError for what has no value."""

    def fill(text: str) -> str:
        found = placeholders.resolve(text, secrets.get)
        if isinstance(found, placeholders.MissingNames):
            names = ", ".join(found.names)
            raise SpecError(f"{names} has no value", "set the variable, or `fairlead secrets set`")
        return found

    return fill


def _refused(code: str, detail: str) -> ProblemError:
    return ProblemError(Problem(code, "The target is refused", detail, 422, Fault.CLIENT))
