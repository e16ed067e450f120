"""The fleet file in force: read, checked, applied, and watched while the system runs.

A file with an error never replaces a good one that runs; what is wrong with it is logged and shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import FleetSpec
from fairlead.orchestrator.orchestrator import MCPOrchestrator
from fairlead.stores.fleet_file import load
from fairlead.stores.fleet_watch import watch

LOG = structlog.get_logger("fairlead.config")


class FleetConfig:
    """Implements `web.services.ConfigService` over one file."""

    def __init__(self, path: Path, fleet: MCPOrchestrator) -> None:
        self._path = path
        self._fleet = fleet
        self._seen: bytes | None = None  # the content that was looked at last, by whomever
        self.on_applied: Callable[[], None] = lambda: None

    def current(self) -> dict[str, Any]:
        """The spec in force, placeholders unresolved."""
        return self._fleet.spec.model_dump(mode="json", by_alias=True)

    async def reload(self) -> dict[str, Any]:
        """Read the file, put it in force, say what it changed. On ProblemError nothing has changed."""
        return await self._apply(self.read())

    def read(self) -> bytes:
        try:
            self._seen = self._path.read_bytes()
        except OSError as error:
            detail = f"{self._path}: {error.strerror}; name another fleet file with --config"
            raise ProblemError(
                Problem("fleet-file-unreadable", "Fleet file unreadable", detail, 422, Fault.CLIENT)
            ) from None
        return self._seen

    def parse(self, content: bytes) -> FleetSpec:
        """The spec; raises ProblemError (422) with every problem of the file in `extra`."""
        loaded = load(content, str(self._path))
        problems = [str(problem) for problem in loaded.problems]
        if loaded.spec is None:
            raise ProblemError(
                Problem(
                    "fleet-file-invalid",
                    "Fleet file invalid",
                    "\n".join(problems),
                    422,
                    Fault.CLIENT,
                    extra={"problems": problems},
                )
            )
        for problem in problems:
            LOG.info("fleet file", problem=problem)
        if problems:
            LOG.warning(
                "the fleet file has keys that are not in force; `fairlead validate` names them",
                file=str(self._path),
                keys=len(problems),
            )
        return loaded.spec

    async def _apply(self, content: bytes) -> dict[str, Any]:
        applied = await self._fleet.apply(await asyncio.to_thread(self.parse, content))
        self.on_applied()
        return {
            "generation": self._fleet.generation,
            "started": applied.started,
            "replaced": applied.replaced,
            "stopped": applied.stopped,
            "kept": applied.kept,
        }

    async def follow(self) -> None:
        """Apply each good content that the file takes, for ever."""
        async for content in watch(self._path, seen=self._seen):
            if content == self._seen:
                continue  # a reload was faster
            self._seen = content
            try:
                await self._apply(content)
            except ProblemError as refused:
                LOG.error("fleet file refused, the running one stays", problems=refused.problem.extra)
