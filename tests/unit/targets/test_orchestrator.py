"""What an orchestrator answers, and what it means for the fleet target."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from fairlead.model.errors import ProblemError
from fairlead.ports.gitops import ChangedMeanwhileError, TargetAwayError, Write
from fairlead.targets.fleet import FleetTarget
from fairlead.targets.orchestrator import Place, ask
from support.threaded_http import ThreadedHttp

TOKEN = "flt_s3cret"


class Answering(ThreadedHttp):
    """Always the same; what came is kept."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body
        self.came: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def place(self) -> Place:
        return Place(self.address + "/", TOKEN)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): text for name, text in self.headers.items()}
                service.came.append((self.command, self.path, headers, body))
                self.send_response(service.status)
                self.send_header("ETag", '"run-1"')
                self.send_header("Content-Length", str(len(service.body)))
                self.end_headers()
                self.wfile.write(service.body)

            do_GET = do_PUT = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def problem(code: str, status: int, **more: Any) -> bytes:
    document = {"type": f"urn:fairlead:problem:{code}", "title": "It is so", "detail": "because", **more}
    return json.dumps(document | {"status": status}).encode()


async def test_a_request_is_what_the_orchestrator_takes():
    with Answering(200, b'{"a": 1}') as service:
        body, headers = await ask(service.place, "PUT", "/api/fleet?x=1", body={"b": "ü"}, if_match='"run-0"')
    assert (body, headers["etag"]) == ({"a": 1}, '"run-1"')
    [(method, path, sent, content)] = service.came
    assert (method, path, json.loads(content)) == ("PUT", "/api/fleet?x=1", {"b": "ü"})
    assert (sent["authorization"], sent["if-match"]) == (f"Bearer {TOKEN}", '"run-0"')
    assert sent["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (412, problem("generation-changed", 412), ChangedMeanwhileError),
        (409, problem("changed-meanwhile", 409), ChangedMeanwhileError),
        (409, problem("change-refused", 409), ProblemError),
        (422, problem("spec-refused", 422), ProblemError),
        (401, problem("invalid-token", 401), ProblemError),
        (403, problem("insufficient-role", 403), ProblemError),
        (429, problem("rate-limited", 429), TargetAwayError),
        (500, problem("internal", 500), TargetAwayError),
        (503, problem("starting", 503), TargetAwayError),
        (502, b"<html>a proxy's own page</html>", TargetAwayError),
        (404, b"<html>not found</html>", ProblemError),
        (302, b"", ProblemError),
        (200, b"<html>hello</html>", ProblemError),
        (200, b"[1]", ProblemError),
        (200, b"[" * 100_000, ProblemError),
        (422, b'{"title": 1, "detail": 2}', ProblemError),
    ],
    ids=str,
)
async def test_what_is_no_success_says_what_to_do(status: int, body: bytes, error: type[Exception]):
    with Answering(status, body) as service, pytest.raises(error) as raised:
        await ask(service.place, "GET", "/api/fleet")
    assert TOKEN not in str(raised.value)
    if isinstance(raised.value, ProblemError):
        known = status in {401, 403}
        assert ("mend the target's `token`" in raised.value.problem.detail) is known
        foreign = raised.value.problem.code == "no-orchestrator"
        assert foreign is (b"urn:fairlead" not in body)


async def test_all_that_is_wrong_in_a_spec_is_passed_on():
    body = problem("invalid", 422, problems=["a", "b"])
    with Answering(422, body) as service, pytest.raises(ProblemError) as raised:
        await ask(service.place, "GET", "/api/fleet")
    assert raised.value.problem.extra == {"problems": ["a", "b"]}
    assert (raised.value.problem.code, raised.value.problem.status) == ("invalid", 422)


async def test_a_foreign_answer_is_told_as_such():
    with Answering(200, b'{"hello": "world"}') as service:
        target = FleetTarget(lambda: service.place, dict)
        write = Write("fleet", '"run-1"', b"{}", {"servers": {}})
        attempts = (target.read(["fleet"]), target.health(), target.check([write]), target.write(write))
        for attempt in attempts:
            with pytest.raises(ProblemError, match="bring both services to the same version"):
                await attempt
    assert target.generation is None


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://u:p@h/", "nonsense"])
async def test_a_url_that_is_none_is_away_and_says_why(url: str):
    with pytest.raises(TargetAwayError) as raised:
        await ask(Place(url, TOKEN), "GET", "/api/fleet")
    assert ":p@" not in str(raised.value)
