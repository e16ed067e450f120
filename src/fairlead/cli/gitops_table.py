"""The commands below `fairlead gitops`."""

from __future__ import annotations

from typing import Final

from fairlead.cli.lazy import Table

RUN: Final = "run"  # what `fairlead gitops` does without a command

GITOPS_COMMANDS: Final[Table] = {
    RUN: ("gitops_service", "run", "Run the GitOps controller in the foreground."),
}
