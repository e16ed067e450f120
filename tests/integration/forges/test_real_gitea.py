"""The same contract at a real Gitea (or Forgejo), where one is at hand.

It is taken from the PATH, or from where FAIRLEAD_TEST_GITEA says; FAIRLEAD_TEST_GITEA_FILES is the folder
with its templates, for a program that was built without them.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fairlead.forges.choosing import forge_of
from fairlead.forges.pulls import PullRequests
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import ForgeSpec
from support.servers import free_port

PROGRAM = os.environ.get("FAIRLEAD_TEST_GITEA") or shutil.which("gitea") or shutil.which("forgejo")
FILES = os.environ.get("FAIRLEAD_TEST_GITEA_FILES", "")
BRANCH = "fairlead/drift/tools/3f9c2a71"
START = 60.0  # s

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Gitea here")


@dataclass
class Installation:
    url: str
    token: str
    http: httpx.AsyncClient

    def forge(self, project: str = "team/config", token: str | None = None) -> PullRequests:
        spec = ForgeSpec(kind="gitea", url=self.url, project=project, token="${T}")
        return forge_of(spec, self.token if token is None else token)

    async def api(self, method: str, path: str, **body: object) -> httpx.Response:
        answer = await self.http.request(method, f"/api/v1{path}", json=body or None)
        assert answer.is_success, answer.text
        return answer

    async def write(self, project: str, name: str, branch: str, new_branch: str) -> None:
        content = base64.b64encode(new_branch.encode()).decode()
        path = f"/repos/{project}/contents/{name}"
        await self.api("POST", path, content=content, branch=branch, new_branch=new_branch, message="m")


@pytest.fixture
async def gitea(tmp_path: Path) -> AsyncIterator[Installation]:
    assert PROGRAM is not None
    port = free_port()
    settings = tmp_path / "app.ini"
    files = f"STATIC_ROOT_PATH = {FILES}\n" if FILES else ""
    settings.write_text(
        "RUN_MODE = prod\nI_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\n"
        f"[server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\n"
        f"ROOT_URL = http://127.0.0.1:{port}/\nDISABLE_SSH = true\nOFFLINE_MODE = true\n{files}"
        f"[database]\nDB_TYPE = sqlite3\nPATH = {tmp_path}/gitea.db\n[security]\nINSTALL_LOCK = true\n"
        "[log]\nLEVEL = warn\n[session]\nPROVIDER = memory\n"
    )
    environment = os.environ | {"HOME": str(tmp_path)}
    command = (PROGRAM, "--work-path", str(tmp_path), "--config", str(settings))

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    run("migrate")
    user = ("--username", "team", "--password", "pass-word-1", "--email", "team@example.com", "--admin")
    run("admin", "user", "create", *user, "--must-change-password=false")
    scopes = ("--token-name", "t", "--scopes", "all", "--raw")
    token = run("admin", "user", "generate-access-token", "--username", "team", *scopes).splitlines()[-1]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, "web", env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"token {token}"}, timeout=30
        ) as http:
            async with asyncio.timeout(START):
                while True:
                    assert process.returncode is None, (tmp_path / "log").read_text()
                    try:
                        if (await http.get("/api/v1/version")).is_success:
                            break
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
            installation = Installation(url, token, http)
            await installation.api(
                "POST", "/user/repos", name="config", auto_init=True, default_branch="main"
            )
            yield installation
    finally:
        process.terminate()
        await process.wait()


async def test_the_life_of_a_proposal(gitea: Installation):
    await gitea.write("team/config", "a", "main", BRANCH)
    await gitea.write("team/config", "b", "main", "another")
    forge = gitea.forge()
    asked = {"onto": "main", "title": "Live change", "body": "by hand"}
    other = await forge.propose(branch="another", **asked)
    url = await forge.propose(branch=BRANCH, **asked)
    assert url.startswith(f"{gitea.url}/team/config/pulls/")
    assert url != other
    both = await asyncio.gather(*(forge.propose(branch=BRANCH, **asked) for _ in range(3)))
    assert set(both) == {url}
    await forge.withdraw(BRANCH)
    await forge.withdraw(BRANCH)
    pulls = (await gitea.api("GET", "/repos/team/config/pulls?state=all")).json()
    assert {pull["html_url"]: pull["state"] for pull in pulls} == {other: "open", url: "closed"}
    again = await forge.propose(branch=BRANCH, **asked)
    assert again != url


async def test_one_is_found_behind_fifty_others(gitea: Installation):
    await gitea.write("team/config", "a", "main", BRANCH)
    asked = {"onto": "main", "title": "t", "body": "b"}
    url = await gitea.forge().propose(branch=BRANCH, **asked)
    for number in range(51):
        await gitea.write("team/config", f"n{number}", "main", f"n{number}")
        await gitea.api("POST", "/repos/team/config/pulls", head=f"n{number}", base="main", title="x")
    await gitea.forge().withdraw(BRANCH)
    pull = (await gitea.api("GET", f"/repos/team/config/pulls/{url.rpartition('/')[2]}")).json()
    assert pull["state"] == "closed"


async def test_what_it_refuses(gitea: Installation):
    asked = {"branch": BRANCH, "onto": "main", "title": "t", "body": "b"}
    with pytest.raises(ProblemError, match="mend the forge's `token`"):
        await gitea.forge(token="wrong").propose(**asked)
    with pytest.raises(ProblemError, match="mend `project` or `token`"):
        await gitea.forge("team/nothing").propose(**asked)
    with pytest.raises(ProblemError) as refused:
        await gitea.forge().propose(**asked)  # there is no such branch
    assert refused.value.problem.retry_after is None
