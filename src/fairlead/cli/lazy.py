"""A group of commands whose modules are imported when one of them is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

# name -> (module of fairlead.cli, the command's name there without `_command`, what it does)
Table = Mapping[str, tuple[str, str, str]]


class LazyCommands(click.Group):
    """The commands of `table`, in its order."""

    def __init__(self, *args: Any, table: Table, **options: Any) -> None:
        super().__init__(*args, **options)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, prefix, _ = self._table[cmd_name]
        command: click.Command = getattr(import_module(f"fairlead.cli.{module}"), f"{prefix}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in self._table.items()])
