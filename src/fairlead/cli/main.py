"""The command `fairlead`.

A command's module is imported when the command is run, so that `fairlead --help` and the light commands do
not wait for what the others need.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import click

from fairlead import __version__
from fairlead.cli.lazy import LazyCommands
from fairlead.cli.output import Failure
from fairlead.model.errors import ProblemError

# name -> (module of fairlead.cli, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "Start the system and show when it is ready."),
    "down": ("down", "Stop the running system."),
    "status": ("servers", "Show the servers, or one of them in detail."),
    "top": ("top", "Show live what the servers do."),
    "logs": ("logs", "Show what a server wrote to its stderr."),
    "events": ("events", "Show what happened, and what happens."),
    "audit": ("audit", "Show who did what: calls, changes, refusals."),
    "call": ("call", "Call a tool of a server."),
    "start": ("servers", "Start a server that was stopped."),
    "stop": ("servers", "Stop a server; the others go on."),
    "restart": ("servers", "Replace the instances of a server by new ones."),
    "add": ("add", "Add a server to the running fleet."),
    "remove": ("edit", "Take a server out of the running fleet."),
    "scale": ("scale", "Set how many instances a server has."),
    "drain": ("scale", "Stop a server or an instance after its calls."),
    "strategy": ("balance", "Show or set how calls are spread."),
    "breakers": ("balance", "Show the circuit breakers, or close one."),
    "overrides": ("overrides", "List the live edits, or take them back."),
    "toolsets": ("toolsets", "List the named views that show a choice of tools."),
    "connect": ("connect", "Show how a client is connected."),
    "login": ("login", "Show a link that lets one browser in."),
    "principal": ("principal", "Say who may come in, and what each may do."),
    "key": ("key", "Make, list and revoke API keys."),
    "token": ("token", "Make, list and revoke bearer tokens."),
    "secrets": ("secrets", "Keep secrets in an encrypted file that may be in Git."),
    "init": ("init", "Make a new configuration repository, for GitOps."),
    "validate": ("fleet", "Check a fleet file or a configuration repository."),
    "config": ("config", "Show the settings; upgrade and describe fleet files."),
    "lock": ("lock", "Pin the fleet's packages and, with --update, its tools."),
    "backup": ("backup", "Write all that the services keep to a file."),
    "restore": ("backup", "Put such a file in the place of what is kept."),
    "drift": ("drift", "Show what is not as Git says."),
    "gitops": ("gitops", "Run the GitOps controller, and ask and steer it."),
    "orchestrator": ("orchestrator", "Run the orchestrator in the foreground, logs to stdout."),
}


class LazyGroup(LazyCommands):
    """Imports a command when it is asked for, and shows expected errors without a traceback."""

    def __init__(self, *args: Any, **options: Any) -> None:
        table = {name: (module, name, summary) for name, (module, summary) in COMMANDS.items()}
        super().__init__(*args, table=table, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ProblemError as error:
            raise Failure.of(error.problem) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            raise Failure.of_system(error) from error


@click.group(
    cls=LazyGroup,
    epilog="Exit codes: 0 fine, 1 what was asked for failed, 2 wrong usage or bad input.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="fairlead")
def cli() -> None:
    """One dependable fleet of MCP servers behind one endpoint."""


def main() -> None:
    _replace_closed_streams()
    cli(prog_name="fairlead")


def _replace_closed_streams() -> None:
    """Python has None for a stream that is closed (`>&-`): one that takes and gives nothing stands in."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # in this order, so that each gets its own descriptor
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end


if __name__ == "__main__":
    main()
