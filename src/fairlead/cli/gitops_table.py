"""The commands below `fairlead gitops`."""

from __future__ import annotations

from typing import Final

from fairlead.cli.lazy import Table

RUN: Final = "run"  # what `fairlead gitops` does without a command

GITOPS_COMMANDS: Final[Table] = {
    "apps": ("gitops_apps", "apps", "List the applications: what is kept as Git says."),
    "show": ("gitops_apps", "show", "Show one of them in detail."),
    "diff": ("gitops_diff", "diff", "Show what differs from what Git says, and what a sync does."),
    "resolve": ("gitops_diff", "resolve", "Decide a conflict: whose version is taken."),
    "sync": ("gitops_sync", "sync", "Fetch, and bring applications to what Git says."),
    "history": ("gitops_deploy", "history", "List the deployments."),
    "deployment": ("gitops_deploy", "deployment", "Show a deployment: its steps and its difference."),
    "rollback": ("gitops_deploy", "rollback", "Go back to what was there before."),
    "promote": ("gitops_deploy", "promote", "Deploy what runs in the environment before."),
    "approve": ("gitops_deploy", "approve", "Agree to a deployment that waits for it."),
    "cancel": ("gitops_deploy", "cancel", "End a deployment, and take back what it wrote."),
    "hold": ("gitops_hold", "hold", "Keep a path as it is for a while."),
    "release": ("gitops_hold", "release", "End such a hold."),
    "suspend": ("gitops_hold", "suspend", "Write nothing to a target, but for rollbacks."),
    "resume": ("gitops_hold", "resume", "Keep it as Git says again."),
    "unblock": ("gitops_hold", "unblock", "Let a commit be taken again that was taken back."),
    "sources": ("gitops_sources", "sources", "List the repositories."),
    "commits": ("gitops_sources", "commits", "List a repository's commits, and where each is in force."),
    "enable": ("gitops_sources", "enable", "Put Git in charge of the checkout's fleet."),
    "disable": ("gitops_sources", "disable", "Put its file in charge again; Git is only observed."),
    "health": ("gitops_sources", "health", "Show whether environments and tools are as declared."),
    RUN: ("gitops_service", "run", "Run the GitOps controller in the foreground."),
}
