"""MCP Inspector's command line, asked like a client program's connection; each step is a run of its own."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

from e2e import environments
from e2e.programs import GUARD, StepError, Steps

SERVER = "gateway"  # its name in the config file
LISTS = {
    "tools": ("tools/list", "tools"),
    "prompts": ("prompts/list", "prompts"),
    "resources": ("resources/list", "resources"),
    "templates": ("resources/templates/list", "resourceTemplates"),
}


class Inspector(Steps):
    """`era` is legacy, auto or modern. It answers with roots only, in the name that is given.

    Its files go to `folder`, which is its own.
    """

    def __init__(self, folder: Path, *, url: str, token: str, era: str, answers_as: str) -> None:
        self._config = folder / "mcp.json"
        entry = {
            "type": "streamable-http",
            "url": url,
            "headers": {"Authorization": f"Bearer {token}"},
            "protocolEra": era,
            "roots": [{"uri": f"file:///roots/{answers_as}", "name": answers_as}],
        }
        self._config.write_text(json.dumps({"mcpServers": {SERVER: entry}}))
        self._environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "MCP_INSPECTOR_SECRET_STORE": "memory",
        }

    @cached_property
    def seen(self) -> dict[str, Any]:
        opened = self._run("--method", "initialize")
        return {
            "version": opened["protocolVersion"],
            "server": opened["serverInfo"],
            "capabilities": opened["capabilities"],
        }

    def __call__(self, verb: str, **arguments: Any) -> Any:
        return getattr(self, f"_{verb}")(**arguments)

    def _run(self, *arguments: str) -> dict[str, Any]:
        """A request's result, be it an error of the tool. Raises `StepError` when there is none."""
        argv = [*environments.inspector(), "--config", str(self._config), "--server", SERVER]
        done = subprocess.run(
            [*argv, "--format", "json", "--quiet", *arguments],
            cwd=self._config.parent,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=GUARD,
            check=False,
        )
        if not done.stdout.strip():
            raise StepError("Inspector", done.stderr.strip(), done.returncode)
        return json.loads(done.stdout)["result"]

    def _list(self, what: str) -> list[dict[str, Any]]:
        method, field = LISTS[what]
        return self._run("--method", method)[field]

    def _call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        given = ("--tool-args-json", json.dumps(arguments)) if arguments else ()
        return self._run("--method", "tools/call", "--tool-name", name, *given)

    def _read(self, uri: str) -> dict[str, Any]:
        return self._run("--method", "resources/read", "--uri", uri)

    def _prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        pairs = [f"{key}={value}" for key, value in arguments.items()]
        return self._run("--method", "prompts/get", "--prompt-name", name, "--prompt-args", *pairs)
