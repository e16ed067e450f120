"""An installation with GitOps: an orchestrator, a controller, and the repository that both follow."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from e2e.environments import BIN
from e2e.system import clean_environment, wait_until
from support.repositories import Repository

LIGHT = Path(__file__).parents[2] / "support" / "light_server.py"
GUARD = 60.0  # s


def light(*arguments: str) -> dict[str, Any]:
    """A server for a fleet file; its arguments tell versions of it apart."""
    return {"command": sys.executable, "args": ["-S", "-E", str(LIGHT), *arguments]}


_NUMBERS = itertools.count()


def fleet(servers: Mapping[str, Any]) -> str:
    """A fleet file that was never written before."""
    number = str(next(_NUMBERS))
    told = {name: {"environment": {"NUMBER": number}, **server} for name, server in servers.items()}
    return json.dumps({"version": "1", "servers": told}, indent=2) + "\n"


def application(name: str, target: Mapping[str, Any], **more: Any) -> str:
    return json.dumps({"version": "1", "name": name, "target": target, "path": f"apps/{name}", **more}) + "\n"


class Installation:
    """Everything lies in `folder`; the fleet file's folder is `folder/config`."""

    def __init__(self, folder: Path, name: str = "state") -> None:
        self.folder = folder
        self.state = folder / name
        self.config = folder / "config" / "mcp-servers.yml"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.environment = clean_environment(HOME=str(folder / "home"))
        (folder / "home").mkdir(exist_ok=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # -- its services ------------------------------------------------------------------------------------

    def configure(self, sources: Mapping[str, Any], **more: Any) -> None:
        text = json.dumps({"version": "1", "sources": dict(sources), **more})
        new = self.config.with_name("gitops.new")
        new.write_text(text)
        new.replace(self.config.with_name("gitops.yml"))

    def start(self, service: str) -> None:
        port = "--gitops-port" if service == "gitops" else "--port"
        self.state.mkdir(mode=0o700, exist_ok=True)
        run_file = self._run_file(service)
        run_file.unlink(missing_ok=True)
        with (self.folder / f"{self.state.name}-{service}.log").open("ab") as log:
            self._processes[service] = subprocess.Popen(
                [
                    str(BIN / "fairlead"), service, "--config", str(self.config),
                    "--state-dir", str(self.state), port, "0",
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment, cwd=self.folder,
            )  # fmt: skip
        wait_until(run_file.exists, lambda: self.log(service)[-2000:], guard=GUARD)

    def kill(self, service: str) -> None:
        process = self._processes.pop(service)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for service in ("gitops", "orchestrator"):
            if (process := self._processes.pop(service, None)) is not None:
                process.terminate()
                process.wait(GUARD)

    def _run_file(self, service: str) -> Path:
        return self.state / ("run-gitops.json" if service == "gitops" else "run.json")

    def log(self, service: str) -> str:
        return (self.folder / f"{self.state.name}-{service}.log").read_text(errors="replace")

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [str(BIN / "fairlead"), *arguments, "--state-dir", str(self.state)],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=GUARD, check=False,
        )  # fmt: skip
        assert ran.returncode == 0 or not check, ran.stdout + ran.stderr
        return ran

    # -- what it answers ---------------------------------------------------------------------------------

    def url(self, service: str = "gitops") -> str:
        run = json.loads(self._run_file(service).read_text())
        return str(run["addresses"][service]).rstrip("/")

    @property
    def token(self) -> str:
        return (self.state / "local-token").read_text().strip()

    def ask(
        self, path: str, body: Any = None, *, method: str = "", service: str = "gitops", **more: Any
    ) -> Any:
        """The JSON of a good answer."""
        answer = self.raw(path, body, method=method, service=service, **more)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def raw(
        self, path: str, body: Any = None, *, method: str = "", service: str = "gitops", token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:  # fmt: skip
        given = {"Authorization": f"Bearer {token or self.token}", **(headers or {})}
        return httpx.request(
            method or ("GET" if body is None else "POST"), self.url(service) + path,
            json=body, headers=given, timeout=GUARD,
        )  # fmt: skip

    def application(self, name: str) -> dict[str, Any]:
        return self.ask(f"/api/applications/{name}")

    def reason(self, name: str) -> str:
        return str(self.application(name)["conditions"][0]["reason"])

    def message(self, name: str) -> str:
        return str(self.application(name)["conditions"][0]["message"])

    def until(self, name: str, *, applied: str | None = None, reason: str | None = None) -> dict[str, Any]:
        """The application, once it has the commit in force, or its Ready has the reason."""

        def there() -> dict[str, Any] | None:
            answer = self.raw(f"/api/applications/{name}")
            if not answer.is_success:
                return None
            found: dict[str, Any] = answer.json()
            said = found["conditions"][0]["reason"] if found["conditions"] else None
            good = applied is None or found["applied"] == applied
            return found if good and reason in (None, said) else None

        def stands() -> str:
            return self.raw(f"/api/applications/{name}").text + self.log("gitops")[-3000:]

        return wait_until(there, stands, guard=GUARD)  # type: ignore[return-value]

    def drift(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(f"/api/drift/status?application={name}")["drift"]
        return found

    def deployments(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(f"/api/deployments?application={name}")["deployments"]
        return found

    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("/api/fleet", service="orchestrator")["spec"]
        return found

    def edit_live(self, server: Mapping[str, Any]) -> None:
        """Somebody changes the server `light` of the running fleet by hand."""
        spec = self.spec()
        spec["servers"]["light"] |= server
        self.ask(
            "/api/fleet?origin=live", spec, method="PUT", service="orchestrator", headers={"If-Match": "*"}
        )

    @contextmanager
    def hearing(self, *types: str) -> Iterator[Heard]:
        url = self.url().replace("http", "ws", 1) + "/ws"
        headers = {"Authorization": f"Bearer {self.token}"}
        with connect(url, additional_headers=headers, proxy=None) as socket:
            socket.send(json.dumps({"type": "subscribe", "id": "1", "types": types}))
            while (said := json.loads(socket.recv(GUARD)))["type"] != "result":
                assert said["type"] != "error", said
            heard = Heard()
            thread = threading.Thread(target=heard.listen, args=(socket,), daemon=True)
            thread.start()
            yield heard
        thread.join(GUARD)


class Heard:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def listen(self, socket: Any) -> None:
        with suppress(ConnectionClosed):
            for message in socket:
                event = json.loads(message).get("event")
                if event:
                    self.events.append((event["type"], event["data"]))

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    def until(self, kind: str, **data: Any) -> dict[str, Any]:
        """The first event of the kind with these data."""

        def there() -> dict[str, Any] | None:
            for found, said in list(self.events):
                if found == kind and all(said.get(key) == value for key, value in data.items()):
                    return said
            return None

        return wait_until(there, lambda: (kind, data, self.events), guard=GUARD)  # type: ignore[return-value]


def pushed(work: Repository, files: Mapping[str, str | None], message: str = "a change") -> str:
    """Committed and pushed; the commit."""
    commit = work.commit(files, message)
    work.git("push", "-q", "origin", "HEAD:main")
    return commit


def branches(bare: Path, below: str) -> Sequence[str]:
    ran = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname:short)", f"refs/heads/{below}"],
        cwd=bare, capture_output=True, text=True, check=True, env={**os.environ, "GIT_DIR": str(bare)},
    )  # fmt: skip
    return ran.stdout.split()
