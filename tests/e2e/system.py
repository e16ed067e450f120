"""The system under test: a Fairlead that the command line starts and stops, with its own state folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from ruamel.yaml import YAML

from e2e.environments import BIN, ROOT

FLEET = ROOT / "config" / "mcp-servers.yml"
SERVERS = ("context7", "everything", "filesystem", "sequential")  # those that need no key
FOREIGN = "NOT_FOR_SERVERS"  # a variable of the user's that no server must see
READY = 120.0  # s; a first start downloads the packages
POLL = 0.1  # s

_Value = TypeVar("_Value")


def wait_until(
    condition: Callable[[], _Value], what: str | Callable[[], Any], *, guard: float = 30
) -> _Value:
    """The first true value of `condition`; `what` says what was waited for, or how things stand instead."""
    deadline = time.monotonic() + guard
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {guard} s: {what() if callable(what) else what}"
        time.sleep(POLL)
    return value


@contextmanager
def edited(file: Path) -> Iterator[Any]:
    """A YAML file's content; what is changed in it is written at the end."""
    yaml = YAML()
    spec = yaml.load(file)
    yield spec
    yaml.dump(spec, file)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what would configure a Fairlead or give a server its key."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FAIRLEAD_", "MAKE", "XDG_")) and name != "TWENTYFIRST_API_KEY"
    }
    return {**kept, FOREIGN: "secret", **more}


class System:
    """One installation: a state folder, a fleet file, and the `fairlead` command upon them.

    Both lie in `folder`, the fleet file as a copy (of the project's, if not said otherwise): it is watched
    while the system runs. As a `home`, the folder is nothing but the user's home, and the command finds
    everything by its defaults.
    """

    def __init__(self, folder: Path, *, home: bool = False, fleet: Path = FLEET) -> None:
        self.state = folder / ".local" / "state" / "fairlead" if home else folder / "state"
        self._fleet = fleet
        self.config = fleet if home else folder / fleet.name
        self.environment = clean_environment(**({"HOME": str(folder)} if home else {}))
        self._named = [] if home else ["--state-dir", str(self.state)]
        self._tokens: dict[str, str] = {}

    def prepare(self, packages: Path) -> None:
        """Lay out the folder; the servers' packages are shared with other systems."""
        self.state.mkdir(mode=0o700)
        (self.state / "packages").symlink_to(packages)
        for file in (self._fleet, self._fleet.with_suffix(".lock")):
            shutil.copy(file, self.config.parent)

    def command(self, *arguments: str, check: bool = True, timeout: float = 60) -> str:
        """Run `fairlead ...` upon this installation and answer its stdout."""
        done = subprocess.run(
            [str(BIN / "fairlead"), *arguments, *self._named],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, (
            f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def up(self, *servers: str, port: int = 0, gitops: bool = False) -> None:
        """Start it on a port (0: any free one) and wait until these servers are ready, or all that can be."""
        options = ["--port", str(port), "--gitops-port", "0", *([] if gitops else ["--no-gitops"])]
        self.command("up", "--detach", *options, "--config", str(self.config), timeout=READY)
        self.wait_ready(*(servers or SERVERS))

    def down(self) -> None:
        """Stop it, which must leave no process."""
        self.command("down")
        assert self.processes() == []

    @property
    def run(self) -> dict[str, Any]:
        return json.loads((self.state / "run.json").read_text())

    @property
    def url(self) -> str:
        return self.run["addresses"]["orchestrator"].rstrip("/")

    @property
    def gitops(self) -> str:
        """The GitOps controller's URL, as soon as it listens."""
        file = self.state / "run-gitops.json"
        wait_until(file.exists, "the GitOps controller listens")
        return json.loads(file.read_text())["addresses"]["gitops"].rstrip("/")

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 80

    @property
    def endpoint(self) -> str:
        return f"{self.url}/mcp"

    @property
    def local_token(self) -> str:
        return (self.state / "local-token").read_text().strip()

    def token(self, name: str) -> str:
        """The value of a token of that name, made when it is asked for first."""
        if name not in self._tokens:
            value = json.loads(self.command("token", "add", name, "--json"))["token"]
            self._tokens[name] = value
            wait_until(lambda: self.get("/api/servers", token=value).is_success, f"token {name} is valid")
        return self._tokens[name]

    def get(self, path: str, *, token: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.local_token}"}
        return httpx.get(self.url + path, headers=headers, timeout=10)

    def server(self, name: str) -> dict[str, Any]:
        """What REST says of a server."""
        response = self.get(f"/api/servers/{name}")
        response.raise_for_status()
        return response.json()

    def wait_ready(self, *names: str) -> None:
        def others() -> list[dict[str, Any]]:
            servers = self.get("/api/servers").json()["servers"]
            return [one for one in servers if one["id"] in names and one["state"] != "ready"]

        wait_until(lambda: not others(), others)

    def pids(self, server: str) -> set[int]:
        """The processes of a server's instances that are ready."""
        return {one["pid"] for one in self.server(server)["instances"] if one["state"] == "ready"}

    def pid(self, server: str) -> int:
        """The process of a server that has one instance, as soon as that of before it is gone."""

        def alone() -> list[int]:
            instances = self.server(server)["instances"]
            ready = [one["pid"] for one in instances if one["state"] == "ready"]
            return ready if len(instances) == 1 else []

        (pid,) = wait_until(alone, lambda: self.server(server))
        return pid

    def processes(self) -> list[psutil.Process]:
        """Every living process that this system started: its service and its servers."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and self._owns(process):
                    mine.append(process)
            except psutil.Error:
                continue
        return mine

    def _owns(self, process: psutil.Process) -> bool:
        instance = process.environ().get("FAIRLEAD_INSTANCE", "")
        return self.state_id in instance or str(self.state) in process.cmdline()

    @property
    def state_id(self) -> str:
        return (self.state / "id").read_text().strip()

    def kill(self) -> None:
        """SIGKILL to the service alone."""
        service = psutil.Process(self.run["pid"])
        service.send_signal(signal.SIGKILL)
        psutil.wait_procs([service], timeout=10)

    def end(self) -> None:
        """Whatever a test left running: ended by force, by pid."""
        if self.state.exists():
            self.command("down", check=False)
            for process in self.processes():
                process.kill()
