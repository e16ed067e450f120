"""Options that many commands share, and the settings that come of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fairlead.app.settings_loader import LoadedSettings, load_settings
from fairlead.cli.output import warn
from fairlead.model.errors import SpecError
from fairlead.model.fleet_values import check_id

_Command = TypeVar("_Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_PORT = click.IntRange(0, 65535)


class ServerName(click.ParamType[str]):
    """A server's id, so that it is one segment of a path and no way to another resource."""

    name = "server"
    what = "a server's id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            check_id(self.server_of(value), self.what)
        except SpecError as error:
            self.fail(f"{error}; {error.hint}", param, ctx)
        return str(value)

    def server_of(self, value: str) -> str:
        return value


class ToolsetName(ServerName):
    """A toolset's name, which is one segment of a path as well."""

    name = "toolset"
    what = "a toolset's name"


class BreakerName(ServerName):
    """The id of a server or of an instance, which is its server's with a number."""

    def server_of(self, value: str) -> str:
        return re.sub(r"-[0-9]+$", "", value)


def settings_option(command: _Command) -> _Command:
    """`--settings`, for every command that reads the settings."""
    help_text = "Settings file (default: fairlead.toml in the current folder, if it is there)."
    return click.option("--settings", "settings_file", type=_FILE, help=help_text)(command)


def state_options(command: _Command) -> _Command:
    """`--state-dir` and `--settings`, for every command that meets a running system."""
    option = click.option("--state-dir", type=_FOLDER, help="State folder of the system that is meant.")
    return option(settings_option(command))


def config_option(command: _Command) -> _Command:
    """`--config`, for every command that reads the fleet file."""
    help_text = "The fleet file. [config/mcp-servers.yml]"
    return click.option("--config", type=_FILE, help=help_text)(command)


def service_options(command: _Command) -> _Command:
    """All options that a service is started with."""
    for option in (
        click.option(
            "--gitops-port", type=_PORT, help="The GitOps controller's port; 0 for any free one. [5000]"
        ),
        click.option("--port", type=_PORT, help="The orchestrator's port; 0 for any free one. [3002]"),
        click.option("--host", help="The address to listen on. [127.0.0.1]"),
    ):
        command = option(command)
    return state_options(config_option(command))


def load(*, settings_file: Path | None = None, **options: Any) -> LoadedSettings:
    """The settings of this call; unknown FAIRLEAD_ variables are told on stderr."""
    loaded = load_settings(options, environment=os.environ, folder=Path.cwd(), file=settings_file)
    for warning in loaded.warnings:
        warn(warning)
    return loaded
