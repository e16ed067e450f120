"""`fairlead orchestrator`: the service itself, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fairlead.app.logs import configure, register_secret
from fairlead.app.run import run_orchestrator
from fairlead.cli.options import load, service_options
from fairlead.cli.ports import check_port


@click.command("orchestrator")
@click.option("--stop-with-stdin", is_flag=True, help="Stop when stdin closes, as when its parent dies.")
@click.option(
    "--log-file", type=click.Path(path_type=Path, dir_okay=False), help="Log there, rotated, not to stdout."
)
@service_options
def orchestrator_command(*, stop_with_stdin: bool, log_file: Path | None, **given: Any) -> None:
    """Run the orchestrator in the foreground until SIGINT or SIGTERM; logs go to stdout."""
    settings = load(**given).settings
    settings.require_config()
    configure(settings.log.level, settings.log.format, file=log_file)
    if settings.token is not None:
        register_secret(settings.token.get_secret_value())
    check_port(settings.host, settings.port)
    code = run_orchestrator(settings, stop_when_stdin_closes=stop_with_stdin)
    raise click.exceptions.Exit(code)
