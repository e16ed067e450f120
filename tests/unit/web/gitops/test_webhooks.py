"""Webhooks at the door: no token, only a proof; and what is not proved learns nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fairlead.core.admission import WEBHOOK_BYTES
from fairlead.git.command import Git
from fairlead.git.repository import GitRepositoryManager
from fairlead.git.source import Workshop
from fairlead.kit.tasks import Tasks
from fairlead.model.access import Role
from fairlead.model.audit import AuditKind
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Source
from fairlead.web.gitops_app import create_gitops_app
from fairlead.web.gitops_webhooks import RATE
from support.gitops_web import BEARER, FIRST, SECRET, GitOpsRig, gitops_services, policy, signed
from support.live_service import Audit
from support.repositories import ENVIRON
from support.web_services import client, services

PUSH = json.dumps({"ref": "refs/heads/main", "after": FIRST}).encode()


def resolve(text: str) -> str:
    if text == "${HOOK}":
        return SECRET
    raise SpecError(f"{text} is not set", "set it")


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[GitRepositoryManager]:
    """The real one, of repositories that are not there."""
    tasks = Tasks(lambda name, error: None)
    workshop = Workshop(tmp_path / "state", Git(ENVIRON, patience=60.0, largest=2**20), resolve)
    manager = GitRepositoryManager(workshop, tasks, lambda source: None)
    await manager.configure(
        {
            name: Source.model_validate({"url": str(tmp_path / name), "poll": "1h", **more})
            for name, more in {
                "config": {"webhook_secret": "${HOOK}"},
                "plain": {},
                "gone": {"webhook_secret": "${NO}"},
            }.items()
        }
    )
    yield manager
    await manager.close()
    await tasks.close()


@pytest.fixture
def audit() -> Audit:
    return Audit()


@pytest.fixture
async def http(manager: GitRepositoryManager, audit: Audit) -> AsyncIterator[httpx.AsyncClient]:
    """One without a token. The rate of what is not proved is counted anew for each test."""
    of = gitops_services(GitOpsRig(), webhooks=manager, audit=audit)
    transport = httpx.ASGITransport(create_gitops_app(of))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3002") as connected:
        yield connected


@pytest.mark.parametrize("kind", ["github", "gitea", "gitlab"])
async def test_a_proved_one_is_taken_without_a_token(http, audit, manager, kind):
    answer = await http.post("/webhooks/config", content=PUSH, headers=signed(PUSH, kind))
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"kind": kind, "branch": "main", "commit": FIRST}
    again = await http.post("/webhooks/config", content=PUSH, headers=signed(PUSH, kind))
    assert (again.status_code, again.json()["type"]) == (409, "urn:fairlead:problem:webhook-replayed")
    assert audit.records == []


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_whatever_it_says_it_is(http, content_type):
    headers = signed(PUSH) | {"content-type": content_type}
    assert (await http.post("/webhooks/config?x=y", content=PUSH, headers=headers)).status_code == 202


async def test_what_is_proved_and_cannot_be_read_is_told_why(http):
    for body in (b"", b"no JSON", b"[]", b"\xff", b"[" * 100_000):
        answer = await http.post("/webhooks/config", content=body, headers=signed(body))
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:fairlead:problem:webhook-unreadable")


UNPROVED = [
    ("config", signed(PUSH, secret="guess")),
    ("config", signed(PUSH + b" ")),
    ("config", signed(PUSH, "gitlab", "guess")),
    ("config", signed(PUSH, "gitlab", "")),
    ("config", {}),
    ("config", {"X-GitHub-Event": "push"}),
    ("config", {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256="}),
    ("config", {"X-GitHub-Event": "push", "X-Hub-Signature": "sha1=0"}),
    ("config", {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=ü"}),
    ("config", {"X-Gitlab-Event": "Push Hook", "webhook-signature": "v1,x", "webhook-id": "1"}),
    ("plain", signed(PUSH)),
    ("plain", signed(PUSH, secret="")),
    ("gone", signed(PUSH)),
    ("nobody", signed(PUSH)),
    ("nobody", signed(PUSH, secret="")),
    ("nobody", {}),
    ("x" * 128, signed(PUSH)),
]


async def test_all_that_is_not_proved_gets_the_same_answer(http, audit):
    answers = set()
    for source, headers in UNPROVED:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        answer = await http.post(
            f"/webhooks/{source}", content=PUSH, headers=[*raw, (b"x-request-id", b"same")]
        )
        shown = tuple(sorted((k, v) for k, v in answer.headers.items()))
        answers.add((answer.status_code, answer.text, shown))
    [(status, text, _)] = answers
    assert status == 401
    assert "webhook-unproved" in text
    assert len(audit.records) == len(UNPROVED)
    assert {(each.kind, each.outcome, each.principal) for each in audit.records} == {
        (AuditKind.REFUSAL, "webhook-unproved", "")
    }


async def test_only_what_is_not_proved_is_counted_against_a_rate(http):
    statuses = [
        (await http.post("/webhooks/config", content=PUSH, headers=signed(PUSH, secret="guess"))).status_code
        for _ in range(RATE.burst + 10)
    ]
    assert set(statuses[: RATE.burst]) == {401}
    assert 429 in statuses
    limited = await http.post("/webhooks/nobody", content=PUSH, headers=signed(PUSH))
    assert limited.status_code in (401, 429)
    answer = await http.post("/webhooks/config", content=PUSH, headers=signed(PUSH))
    assert answer.status_code == 202


async def test_bodies_are_bounded(http):
    fits = json.dumps({"ref": "refs/heads/x", "pad": "x" * (WEBHOOK_BYTES - 100)}).encode()
    assert (await http.post("/webhooks/config", content=fits, headers=signed(fits))).status_code == 202
    large = b" " * (WEBHOOK_BYTES + 1)
    answer = await http.post("/webhooks/config", content=large, headers=signed(large))
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:fairlead:problem:body-too-large")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * (WEBHOOK_BYTES // 10)
            await asyncio.sleep(0)

    answer = await http.post("/webhooks/config", content=chunks(), headers=signed(large))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    ["/webhooks/%63onfig", "/webhooks/config/", "/webhooks//config", "//webhooks/config", "/webhooks/a%2fb",
     "/Webhooks/config", "/webhooks/", "/webhooks", "/webhooks/ü", "/webhooks/" + "x" * 129,
     "/webhooks/config/x"],
)  # fmt: skip
async def test_no_other_spelling_is_public(http, path):
    answer = await http.post(path, content=PUSH, headers=signed(PUSH))
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:fairlead:problem:missing-token")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_other_methods_take_a_token(http, method):
    assert (await http.request(method, "/webhooks/config")).status_code == 401


async def test_with_a_token_another_spelling_is_proved_all_the_same(manager):
    of = gitops_services(GitOpsRig(), webhooks=manager)
    async with client(of, **BEARER[Role.ADMIN]) as http:
        for path in ("/webhooks/%63onfig", "/webhooks/a~b"):
            assert (await http.post(path, content=PUSH)).json()[
                "type"
            ] == "urn:fairlead:problem:webhook-unproved"
        assert (await http.post("/webhooks/" + "x" * 129, content=PUSH)).status_code == 422
        assert (await http.get("/webhooks/config")).status_code == 405


async def test_a_foreign_host_or_page_is_refused_before(http):
    for header in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        answer = await http.post("/webhooks/config", content=PUSH, headers=signed(PUSH) | header)
        assert answer.status_code in (403, 421)


async def test_they_are_taken_while_the_database_is_away(manager):
    of = gitops_services(GitOpsRig(), webhooks=manager, away=lambda: {"store": "gone"})
    async with client(of) as http:
        answer = await http.post("/webhooks/config", content=PUSH, headers=signed(PUSH))
        assert answer.status_code == 202


async def test_no_other_service_takes_any():
    async with client(services()) as http:
        assert (await http.post("/webhooks/config", content=PUSH, headers=signed(PUSH))).status_code == 401
    of = gitops_services(GitOpsRig(), admits=policy())
    assert of.policy().webhooks
    assert not services().policy().webhooks
