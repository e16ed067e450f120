"""The REST client of the command line, on the standard library: a command must start fast."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fairlead.app.settings import Settings
from fairlead.cli.output import problem
from fairlead.kit.trust import pinned
from fairlead.model.errors import ProblemError
from fairlead.stores.state import Run, StateFolder
from fairlead.stores.tokens import TokenStore

PATIENCE = 330.0  # s: longer than any call that a server may take by default


class Client:
    """Speaks to one running service. Every failure is a `ProblemError`."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        timeout: float = PATIENCE,
        certificate: Path | None = None,
        logs: str = "fairlead logs",
    ) -> None:
        """Over TLS only `certificate`, the service's own, is trusted, whatever name it is for.

        `logs` is the command that shows why it does not answer.
        """
        self.address = address
        self._logs = logs
        self._token = token
        self._timeout = timeout
        self._certificate = certificate

    def __repr__(self) -> str:
        return f"Client({self.address!r})"

    def get(self, path: str) -> Any:
        return self._send("GET", path)[0]

    def get_tagged(self, path: str) -> tuple[Any, str]:
        """What is there, and its ETag for `put`."""
        body, headers = self._send("GET", path)
        return body, headers.get("ETag", "")

    def post(self, path: str, body: Any = None, *, if_match: str | None = None) -> Any:
        return self._send("POST", path, body, if_match=if_match)[0]

    def put(self, path: str, body: Any, *, if_match: str | None = None) -> Any:
        """Replace what is there. A problem of status 412 means that it is not what `if_match` stands for."""
        return self._send("PUT", path, body, if_match=if_match)[0]

    def delete(self, path: str) -> Any:
        return self._send("DELETE", path)[0]

    def stream(self, path: str) -> Iterator[tuple[str, Any]]:
        """Server-sent events as they come: their names and data, which is JSON. It ends when they do."""
        connection = self._connection()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "text/event-stream"}
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            if response.status >= 300:
                _answer(response.status, response.read())
            name, data = "", ""
            for line in map(_text, response):
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif not line and data:
                    yield name, json.loads(data)
                    name, data = "", ""
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, body: Any = None, *, if_match: str | None = None
    ) -> tuple[Any, http.client.HTTPMessage]:
        connection = self._connection()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if if_match is not None:
            headers["If-Match"] = if_match
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            return _answer(response.status, response.read()), response.headers
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.address)
        host, port = parts.hostname or "", parts.port
        if parts.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        try:
            context = pinned(self._certificate)
        except OSError as error:
            raise self._unreachable(error) from error
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)

    def _unreachable(self, error: Exception) -> ProblemError:
        return problem(
            "not-reachable",
            "the running service does not answer",
            f"{self.address}: {str(error) or type(error).__name__}; see `{self._logs}`; `fairlead down` "
            "stops it",
        )


def _text(line: bytes) -> str:
    return line.decode().rstrip("\r\n")


def connect(settings: Settings, *, timeout: float = PATIENCE) -> Client:
    """A client for the system that runs with these settings' state folder."""
    state = StateFolder(settings.state_dir)
    run = state.read_run()
    if run is None:
        raise not_running(state)
    return client_of(settings, run, timeout=timeout)


def client_of(settings: Settings, run: Run, *, timeout: float = PATIENCE) -> Client:
    """A client for a running system."""
    address = run.addresses["orchestrator"]
    return Client(address, cli_token(settings), timeout=timeout, certificate=settings.tls.certificate)


def cli_token(settings: Settings) -> str:
    """The token that commands use: FAIRLEAD_TOKEN's, else the one named `local`."""
    if settings.token is not None:
        return settings.token.get_secret_value()
    state = StateFolder(settings.state_dir)
    if (token := TokenStore(state).local()) is not None:
        return token
    raise problem(
        "no-token",
        "there is no token for the command line",
        f"{state.local_token_file} is missing: run `fairlead token add local`, or set FAIRLEAD_TOKEN",
    )


def server_path(server: str) -> str:
    return f"/api/servers/{quote(server, safe='')}"


def not_running(state: StateFolder) -> ProblemError:
    return problem(
        "not-running",
        "Fairlead does not run",
        f"nothing runs with the state folder {state.root}: start it with `fairlead up`, or name another "
        "folder with --state-dir",
    )


def _answer(status: int, content: bytes) -> Any:
    try:
        body = json.loads(content) if content else None
    except ValueError:
        body = None
    if status < 300:
        return body
    document = body if isinstance(body, dict) else {}
    title = str(document.get("title") or http.client.responses.get(status, f"HTTP status {status}"))
    detail = str(document.get("detail") or "")
    if status == 401:
        detail = f"{detail}\nthe token of this command is not valid there: see `fairlead token list`".strip()
    code = str(document.get("type", "")).rpartition(":")[2] or f"http-{status}"
    raise problem(code, title, detail, status=status, extra=document)
