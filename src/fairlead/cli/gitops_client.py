"""How commands reach the GitOps controller, and the arguments that they share."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import click

from fairlead.app.settings import Settings
from fairlead.cli.client import PATIENCE, Client
from fairlead.cli.gitops_report import NOT_NOW, gitops_client
from fairlead.cli.options import ServerName, load
from fairlead.cli.output import problem
from fairlead.stores.state import GITOPS, StateFolder

Json = dict[str, Any]  # a report as REST shows it

_DEPLOYMENT: Final = re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}")
_COMMIT: Final = re.compile(r"[0-9a-fA-F]{2,64}")


class AppName(ServerName):
    """An application's name, which is one segment of a path."""

    name = "app"
    what = "an application's name"


class SourceName(ServerName):
    """A repository's name."""

    name = "source"
    what = "a source's name"


class DeploymentId(click.ParamType[str]):
    """As `fairlead gitops history` shows it."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_deployment(str(value)):
            self.fail(f"{value!r} is no deployment's id; `fairlead gitops history` shows them", param, ctx)
        return str(value)


class CommitId(click.ParamType[str]):
    """A commit's id, or the beginning of it."""

    name = "commit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _COMMIT.fullmatch(str(value)):
            self.fail(f"{value!r} is no commit's id; `fairlead gitops commits` shows them", param, ctx)
        return str(value).lower()


def is_deployment(text: str) -> bool:
    """Whether it looks like a deployment's id, not like an application's name."""
    return _DEPLOYMENT.fullmatch(text) is not None


def gitops(given: dict[str, Any]) -> Client:
    """A client for the controller that runs with the state folder of these options."""
    return connect_gitops(load(**given).settings)


def connect_gitops(settings: Settings, *, timeout: float = PATIENCE) -> Client:
    state = StateFolder(settings.state_dir).of(GITOPS)
    if (run := state.read_run()) is not None:
        return gitops_client(settings, run, timeout=timeout)
    title = "the GitOps controller does not run"
    if (holder := state.holder()) is not None:
        raise problem("not-running", title, NOT_NOW.format(holder.pid))
    detail = (
        f"nothing runs with the state folder {state.root}: `fairlead up` starts it with the orchestrator, "
        "`fairlead gitops` alone; or name another folder with --state-dir"
    )
    raise problem("not-running", title, detail)


def app_path(name: str) -> str:
    return f"/api/applications/{quote(name, safe='')}"


def deployment_path(deployment: str) -> str:
    return f"/api/deployments/{quote(deployment, safe='')}"
