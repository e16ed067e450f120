"""`fairlead gitops run`: the service itself, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fairlead.app.gitops_run import run_gitops
from fairlead.app.logs import configure, register_secret
from fairlead.cli.gitops_table import RUN
from fairlead.cli.options import load, service_options
from fairlead.cli.ports import check_port


@click.command(RUN)
@click.option("--stop-with-stdin", is_flag=True, help="Stop when stdin closes, as when its parent dies.")
@click.option(
    "--log-file", type=click.Path(path_type=Path, dir_okay=False), help="Log there, rotated, not to stdout."
)
@service_options
def run_command(*, stop_with_stdin: bool, log_file: Path | None, **given: Any) -> None:
    """Run the GitOps controller in the foreground until SIGINT or SIGTERM; logs go to stdout."""
    settings = load(**given).settings
    configure(settings.log.level, settings.log.format, file=log_file)
    if settings.token is not None:
        register_secret(settings.token.get_secret_value())
    check_port(settings.host, settings.gitops_port, key="gitops_port")
    code = run_gitops(settings, stop_when_stdin_closes=stop_with_stdin)
    raise click.exceptions.Exit(code)
