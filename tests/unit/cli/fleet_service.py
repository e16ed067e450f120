"""A small fleet behind real HTTP, for the commands that change a running one: it keeps the contract of
/api/fleet (ETag, If-Match, dry run, problems), but starts nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fairlead.formats.yaml_text import write_yaml
from fairlead.model.reports import BalancerStatus, BreakerStatus, Change, FleetStatus
from fairlead.model.status import Condition
from fairlead.stores.fleet_file import load
from support.rest_service import server_status
from support.threaded_http import ThreadedHttp

Json = dict[str, Any]
Answer = tuple[int, Any]


def problem(status: int, code: str, title: str, detail: str = "so it is") -> Answer:
    return status, {"type": f"urn:fairlead:problem:{code}", "title": title, "detail": detail}


def as_json(model: Any) -> Json:
    return model.model_dump(mode="json", by_alias=True)


def change(generation: int = 8, **more: Any) -> Json:
    return as_json(Change(generation=generation, **more))


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    if_match: str | None


@dataclass
class FleetService(ThreadedHttp):
    """`states` are what a server goes through once it is added; `intruders` change the fleet before a PUT."""

    spec: Json = field(default_factory=lambda: {"version": "1", "servers": {"git": {"command": "mcp-git"}}})
    generation: int = 7
    owner: str = "file"
    overrides: list[Json] = field(default_factory=list)
    states: list[str] = field(default_factory=lambda: ["ready"])
    saves: bool = True  # what is in force
    answers: dict[str, Answer] = field(default_factory=dict)  # these go first: "PUT /api/fleet"
    intruders: list[Callable[[FleetService], None]] = field(default_factory=list)
    received: list[Request] = field(default_factory=list)

    @property
    def tag(self) -> str:
        """Opaque: nobody may read the generation out of it."""
        return f'"n0nce-{self.generation + 30}"'

    def put_spec(self, spec: Json) -> None:
        self.spec = spec
        self.generation += 1

    def requests(self, method: str) -> list[Request]:
        return [request for request in self.received if request.method == method]

    def answer(self, request: Request) -> Answer:
        if (laid_out := self.answers.get(f"{request.method} {request.path}")) is not None:
            return laid_out
        match request.method, request.path.split("/")[1:]:
            case "GET", ["api", "fleet"]:
                return 200, self._status()
            case "PUT", ["api", "fleet"]:
                return self._replace(request)
            case "DELETE", ["api", "fleet", "overrides"]:
                return self._drop(request.query.get("key", [row["key"] for row in self.overrides]))
            case "GET", ["api", "servers", name] if unquote(name) in self.spec["servers"]:
                return 200, server_status(
                    name, self.states[0] if len(self.states) == 1 else self.states.pop(0)
                )
        return problem(404, "unknown-server", "There is no such server", "Did you mean 'git'?")

    def _status(self) -> Json:
        status = FleetStatus(
            owner=self.owner,
            generation=self.generation,
            observed_generation=self.generation,
            conditions=[
                Condition(type="Ready", status=False, reason="Settling", message="", since=0.0),
                Condition(type="Kept", status=self.saves, reason="Kept", message="", since=0.0),
            ],
            overrides=[],
            spec=copy.deepcopy(self.spec),
        )
        return as_json(status) | {"overrides": self.overrides}

    def _replace(self, request: Request) -> Answer:
        if self.intruders:
            self.intruders.pop(0)(self)
        if not request.if_match:
            return problem(428, "precondition-required", "If-Match is missing")
        if request.if_match not in (self.tag, "*"):
            return problem(412, "changed-meanwhile", "The fleet was changed meanwhile")
        loaded = load(write_yaml(request.body), "request")
        if loaded.spec is None:
            return problem(422, "fleet-invalid", "Fleet invalid", "\n".join(map(str, loaded.errors)))
        old, new = self.spec["servers"], request.body["servers"]
        dry = request.query["dryRun"] == ["true"]
        made = change(
            self.generation + 1,
            started=[name for name in new if name not in old],
            stopped=[name for name in old if name not in new],
            kept=[name for name in new if name in old],
            dry_run=dry,
            saved=self.saves,
        )
        if not dry:
            self.put_spec(request.body)
        return 200, made

    def _drop(self, keys: list[str]) -> Answer:
        known = [row["key"] for row in self.overrides]
        if unknown := [key for key in keys if key not in known]:
            return problem(404, "unknown-override", "There is no such live edit", f"{unknown[0]!r}")
        self.overrides = [row for row in self.overrides if row["key"] not in keys]
        return 200, change(self.generation + 1, adjusted=["git"], saved=self.saves)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def reply(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urlsplit(self.path)
                request = Request(
                    self.command,
                    parts.path,
                    parse_qs(parts.query),
                    json.loads(content) if content else None,
                    self.headers.get("If-Match"),
                )
                service.received.append(request)
                status, answer = service.answer(request)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("ETag", service.tag)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = reply  # noqa: N815 - names of the base class

            def log_message(self, *_: object) -> None:
                return

        return Handler


def breaker(name: str, **more: Any) -> Json:
    """A `BreakerStatus` as REST shows it."""
    given = {"scope": "server", "server": name, "state": "closed", "calls": 0, "failures": 0, "slow": 0}
    return as_json(BreakerStatus.model_validate({"id": name, "openedTotal": 0, **given, **more}))


def balance(**more: Any) -> Json:
    """A `BalancerStatus` as REST shows it."""
    member = {
        "id": "git-1", "weight": 0.5, "inRotation": True, "callsInFlight": 3, "limit": 64, "pressure": 0.25,
        "callsTotal": 120,
    }  # fmt: skip
    others = {"id": "git-2", "inRotation": False, "callsInFlight": 1, "callsTotal": 5}
    git = {
        "id": "git", "strategy": "weighted", "weight": 1.0, "panicking": True, "callsWaiting": 2,
        "instances": [member, member | others],
    }  # fmt: skip
    groups = {"capability": "history", "groups": [["git", "hg"], ["svn"]]}
    whole = {"strategy": "resource-based", "servers": [git], "capabilities": [groups], **more}
    return as_json(BalancerStatus.model_validate(whole))
