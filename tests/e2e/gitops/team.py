"""The application `team`: the fleet of this machine, of which Git says the server `light`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from e2e.gitops.conftest import Place
from e2e.gitops.installation import application, fleet, light, pushed
from e2e.system import wait_until

APP = "applications/team.yml"
BASE = "apps/team/base/mcp-servers.yml"


def declared(**more: Any) -> str:
    return application("team", {"fleet": {}}, **more)


def take_over(place: Place, url: str, **source: Any) -> str:
    """Start both services; the controller has taken the fleet over. The commit in force."""
    installation = place.installation
    first = pushed(place.work, {APP: declared(), BASE: fleet({"light": light()})}, "first")
    installation.configure({"team": {"url": url, "poll": "1s", **source}})
    installation.start("orchestrator")
    installation.start("gitops")
    installation.until("team", applied=first, reason="Synced")
    return first


def begin(place: Place, *arguments: str, **more: Any) -> str:
    """Commit `light` with these arguments, and the application with this; wait until it is in force."""
    commit = pushed(place.work, {APP: declared(**more), BASE: fleet({"light": light(*arguments)})}, "begin")
    place.installation.until("team", applied=commit, reason="Synced")
    return commit


class Gate:
    """What a server waits for before it begins: so that a change stops where a test wants it to."""

    def __init__(self, folder: Path) -> None:
        self._open = folder / "open"
        self._reached = folder / "reached"

    def before(self, server: dict[str, Any]) -> dict[str, Any]:
        """The server, but it begins only when the gate is open; it has until its start's own timeout."""
        wait = ': > "$1"; until [ -e "$0" ]; do sleep 0.05; done; shift; exec "$@"'
        files = [str(self._open), str(self._reached)]
        return {
            "command": "/bin/sh",
            "args": ["-c", wait, *files, server["command"], *server["args"]],
            "security": {"sandbox": "off"},
        }

    def wait_reached(self) -> None:
        wait_until(self._reached.exists, "a server waits at the gate")

    def open(self) -> None:
        self._open.touch()


def arguments_of(place: Place) -> list[str]:
    """Of the server `light`, as the orchestrator says."""
    found: list[str] = place.installation.spec()["servers"]["light"]["args"]
    return found


def echo(place: Place, text: str) -> str:
    """What `light` answers, through the orchestrator."""
    body = {
        "server": "light",
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": text}},
    }
    answer: dict[str, Any] = place.installation.ask("/api/request", body, service="orchestrator")
    return str(answer)


def steps_of(deployment: dict[str, Any]) -> list[str]:
    return [step["name"] for step in deployment["steps"]]


def deployments_of(place: Place, commit: str, name: str = "team") -> list[dict[str, Any]]:
    """Those of a commit, the newest first."""
    return [each for each in place.installation.deployments(name) if each["commit"] == commit]


def blocked(place: Place, name: str = "team") -> list[str]:
    """The commits that are not taken again."""
    return [each["commit"] for each in place.installation.application(name)["blocked"]]
