"""What the GitOps controller's web app is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fairlead.git.webhooks import Refusal, WebhookEvent
from fairlead.gitops.operations import GitOpsOperations
from fairlead.web.services import EveryService


class Webhooks(Protocol):
    """Takes what Git hosts send. `git.repository.GitRepositoryManager` does."""

    def receive(
        self, name: str, headers: Mapping[str, str], body: bytes, now: float
    ) -> WebhookEvent | Refusal:
        """Names of `headers` are in lower case; `now` is Unix time in s."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOpsServices(EveryService):
    """Everything that the web app calls."""

    operations: GitOpsOperations
    webhooks: Webhooks
