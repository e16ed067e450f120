"""`fairlead gitops`: the GitOps controller, and what people do with it."""

from __future__ import annotations

import click

from fairlead.cli.gitops_table import GITOPS_COMMANDS, RUN
from fairlead.cli.lazy import LazyCommands


class GitOpsGroup(LazyCommands):
    """Without a command it runs the service, as `fairlead orchestrator` does; options are that command's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = bool(args) and args[0] in self.get_help_option_names(ctx)
        if not args or (args[0].startswith("-") and not asks_for_help):
            args = [RUN, *args]
        return super().parse_args(ctx, args)


gitops_command = GitOpsGroup(
    "gitops",
    table=GITOPS_COMMANDS,
    help="Keep the fleet and files as Git says. Without a command: run the service in the foreground.",
)
