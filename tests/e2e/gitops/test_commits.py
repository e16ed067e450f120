"""What is pushed is in force at once, told by a webhook or by the repository itself, and no call is lost."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import application, fleet, light, pushed
from e2e.gitops.team import APP, BASE, arguments_of, declared, echo, take_over
from e2e.system import FLEET, wait_until
from support.repositories import Repository, at
from support.service_process import META
from support.stack import ACCEPT, MODERN

SECRET = "a-secret-of-the-webhook"
NEVER = "24h"  # nothing but a webhook, or the repository's own files, wakes the controller
EVERYTHING = {"package": "npm:@modelcontextprotocol/server-everything@2026.8.31"}


@pytest.fixture(scope="module")
def installed(place: Place, packages: Path) -> Place:
    """The source `team` comes over HTTP; packages are downloaded once in a run of the tests."""
    installation = place.installation
    secret = installation.folder / "webhook-secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    installation.state.mkdir(mode=0o700)
    (installation.state / "packages").symlink_to(packages)
    shutil.copy(FLEET.with_suffix(".lock"), installation.config.parent)
    url = place.server.url_of("config.git")
    take_over(place, url, poll=NEVER, webhookSecret=f"${{file:{secret}}}")
    return place


def signed(kind: str, body: bytes, secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "github": {"x-github-event": "push", "x-hub-signature-256": f"sha256={digest}"},
        "gitea": {"x-gitea-event": "push", "x-gitea-signature": digest},
        "gitlab": {"x-gitlab-event": "Push Hook", "x-gitlab-token": secret},
    }[kind]


def body_of(commit: str) -> bytes:
    return json.dumps({"ref": "refs/heads/main", "after": commit}).encode()


def send(place: Place, body: bytes, headers: dict[str, str], source: str = "team") -> httpx.Response:
    """As a Git host does it: without a token of ours."""
    url = f"{place.installation.url()}/webhooks/{source}"
    return httpx.post(url, content=body, headers=headers | {"content-type": "application/json"}, timeout=20)


def told(place: Place, files: dict[str, str | None], kind: str = "github") -> str:
    """Pushed, and a webhook says so; the commit is in force."""
    commit = pushed(place.work, files)
    body = body_of(commit)
    assert send(place, body, signed(kind, body)).status_code == 202
    wait_until(
        lambda: place.installation.application("team")["applied"] == commit,
        lambda: place.installation.application("team"),
        guard=120,
    )
    return commit


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])
def test_a_webhook_wakes_and_the_commit_is_in_force(installed: Place, kind: str):
    installation = installed.installation
    types = ("config-changed", "sync-started", "sync-completed", "deployment-started", "deployment-completed")
    with installation.hearing(*types) as heard:
        commit = told(installed, {BASE: fleet({"light": light("--label", kind)})}, kind)
        heard.until("sync-completed", commit=commit)
        heard.until("deployment-completed", commit=commit)
        kinds = [each for each in heard.kinds() if each != "config-changed"]
    assert kinds.index("deployment-started") < kinds.index("deployment-completed")
    assert set(kinds) >= {"sync-started", "sync-completed"}
    assert arguments_of(installed)[-1] == kind
    assert kind in echo(installed, kind)


def test_a_webhook_that_is_forged_or_sent_again_wakes_nobody(installed: Place):
    installation = installed.installation
    before = installation.application("team")["applied"]
    commit = pushed(installed.work, {BASE: fleet({"light": light("--label", "forged")})})
    body = body_of(commit)
    seen = len(installed.server.requests)
    refused = [
        send(installed, body, signed("github", body, "another secret")),
        send(installed, body, signed("github", b"another body")),
        send(installed, body, {"x-github-event": "push"}),
        send(installed, body, signed("github", body), source="nobody"),
    ]
    assert [each.status_code for each in refused] == [401] * 4
    assert len({each.json()["detail"] for each in refused}) == 1
    assert len(installed.server.requests) == seen
    assert installation.application("team")["applied"] == before
    assert send(installed, body, signed("github", body)).status_code == 202
    installation.until("team", applied=commit)
    assert send(installed, body, signed("github", body)).status_code == 409


def test_a_call_over_mcp_survives_the_version_that_replaces_its_server(installed: Place):
    installation = installed.installation
    told(installed, {BASE: fleet({"light": light("--label", "old")})})
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(_slept(installed, 12)))
    thread.start()
    wait_until(lambda: _calls(installed), "the call is in flight")
    told(installed, {BASE: fleet({"light": light("--label", "new")})})
    assert _calls(installed), "the commit is in force while the call goes on"
    thread.join()
    assert "slept 12 s" in answers[0]
    assert "new" in arguments_of(installed)
    assert installation.application("team")["conditions"][0]["status"] is True


def _calls(place: Place) -> int:
    shown = place.installation.ask("/api/servers/light", service="orchestrator")
    return sum(each["callsInFlight"] for each in shown["instances"])


def _slept(place: Place, seconds: int) -> str:
    """The tool `sleep`, by a client of the modern era."""
    headers = {
        "Authorization": f"Bearer {place.installation.token}",
        "Accept": ACCEPT,
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "light__sleep",
    }
    params = {"name": "light__sleep", "arguments": {"seconds": seconds}, "_meta": META}
    message = {"jsonrpc": "2.0", "id": "1", "method": "tools/call", "params": params}
    url = f"{place.installation.url('orchestrator')}/mcp"
    return httpx.post(url, headers=headers, json=message, timeout=60).text


def test_a_commit_adds_a_real_package_and_takes_it_away(installed: Place):
    installation = installed.installation
    told(installed, {BASE: fleet({"light": light(), "everything": EVERYTHING})})
    params = {"name": "echo", "arguments": {"message": "from the package"}}
    body = {"server": "everything", "method": "tools/call", "params": params}
    answer = installation.ask("/api/request", body, service="orchestrator")
    assert "from the package" in json.dumps(answer)
    told(installed, {BASE: fleet({"light": light()})})
    assert sorted(installation.spec()["servers"]) == ["light"]


def test_a_repository_of_this_machine_needs_no_webhook(installed: Place):
    installation = installed.installation
    folder = installation.folder
    home = folder / "near-home"
    home.mkdir()
    first = Repository(folder / "near-first")
    declares = application("near", {"files": {"root": str(home)}}, render="files", policy="remote")
    path = "apps/near/base/files/a.json"
    first.commit({"applications/near.yml": declares, path: '{"x": 1}\n'})
    bare = first.pushable(folder / "repositories" / "near.git")
    work = bare.clone(folder / "near-work")
    known = json.loads(installation.config.with_name("gitops.yml").read_text())["sources"]
    installation.configure(known | {"near": {"url": str(bare.path), "poll": NEVER}})
    installation.until("near", applied=work.head, reason="Synced")
    for number in range(2, 5):
        commit = pushed(at(work.path), {path: json.dumps({"x": number}) + "\n"})
        installation.until("near", applied=commit, reason="Synced")
        assert json.loads((home / "a.json").read_text()) == {"x": number}
    assert installation.application("team")["conditions"][0]["reason"] == "Synced"


def test_a_commit_beside_an_application_does_not_wake_it(installed: Place):
    installation = installed.installation
    applied = told(installed, {APP: declared(), BASE: fleet({"light": light()})})
    before = [each["id"] for each in installation.deployments("team")]
    commit = pushed(installed.work, {"README.md": "other words\n"})
    body = body_of(commit)
    assert send(installed, body, signed("github", body)).status_code == 202

    def heads() -> dict[str, str]:
        return {each["name"]: each["head"] for each in installation.ask("/api/git/status")["sources"]}

    wait_until(lambda: heads()["team"] == commit, heads)
    installation.ask("/api/drift/check", {})
    assert [each["id"] for each in installation.deployments("team")] == before
    found = installation.application("team")
    assert found["conditions"][0]["reason"] == "Synced"
    assert found["applied"] in {applied, commit}
