"""A Git host that fails, and repositories that mean harm: what was verified last stays enforced."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
from typing import Any

import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import application, pushed
from e2e.system import wait_until
from support.repositories import Repository

NAME = "host"


@pytest.fixture(scope="module")
def installed(place: Place) -> Place:
    """One application with a file, over HTTP."""
    (place.installation.folder / "hosts").mkdir()
    pushed(place.work, files(1) | {"applications/host.yml": declared(place)})
    place.installation.configure({"team": {"url": place.server.url_of("config.git"), "poll": "1s"}})
    place.installation.start("gitops")
    place.installation.until(NAME, applied=place.work.head, reason="Synced")
    return place


def declared(place: Place) -> str:
    target = {"files": {"root": str(place.installation.folder / "hosts")}}
    return application(NAME, target, render="files", policy="remote")


VERSIONS = itertools.count(2)


def files(version: int) -> dict[str, str | None]:
    return {f"apps/{NAME}/base/files/a.json": json.dumps({"version": version}) + "\n"}


def spec_of(place: Place) -> dict[str, Any]:
    return {"url": place.server.url_of("config.git"), "poll": "1s"}


def there(place: Place) -> Any:
    return json.loads((place.installation.folder / "hosts" / "a.json").read_text())


def source(place: Place) -> dict[str, Any]:
    found = place.installation.ask("/api/git/status")["sources"]
    return next(each for each in found if each["name"] == "team")


def enforced(place: Place, version: int) -> None:
    """What is changed by hand is healed still."""
    (place.installation.folder / "hosts" / "a.json").write_text('{"version": "mine"}')
    wait_until(lambda: there(place) == {"version": version}, lambda: source(place))


@pytest.mark.parametrize("fault", ["away", "status", "credentials", "cut", "slow"])
def test_a_host_that_fails_is_told_and_the_last_commit_enforced(installed: Place, fault: str):
    server, number = installed.server, next(VERSIONS)
    before = there(installed)["version"]
    match fault:
        case "away":
            server.away = True
        case "status":
            server.status = 500
        case "credentials":
            server.credentials = ("ada", "secret")
        case "cut":
            server.cut_after = 10
        case "slow":
            server.gate.clear()
    commit = pushed(installed.work, files(number))
    if fault != "slow":
        found = wait_until(lambda: (told := source(installed))["reason"] and told, lambda: source(installed))
        assert found["reason"] in {"SourceAway", "SourceRefused"}
        assert found["message"]
        assert "secret" not in found["message"]
        assert installed.installation.reason(NAME) == found["reason"]
    enforced(installed, before)
    age = source(installed)["age"]
    wait_until(lambda: source(installed)["age"] > age, "the age grows")
    server.away, server.status, server.credentials, server.cut_after = False, None, None, None
    server.gate.set()
    installed.installation.until(NAME, applied=commit, reason="Synced")
    assert there(installed) == {"version": number}
    assert source(installed)["reason"] == ""


def test_a_damaged_mirror_is_mended(installed: Place):
    [mirror] = list((installed.installation.state / "git").glob("*.git"))
    for pack in mirror.glob("objects/pack/*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(b"garbage")
    for loose in mirror.glob("objects/??/*"):
        loose.chmod(0o644)
        loose.write_bytes(b"garbage")
    version = next(VERSIONS)
    commit = pushed(installed.work, files(version))
    installed.installation.until(NAME, applied=commit, reason="Synced")
    assert there(installed) == {"version": version}
    shutil.rmtree(mirror)
    commit = pushed(installed.work, files(next(VERSIONS)))
    installed.installation.until(NAME, applied=commit, reason="Synced")


def test_rewritten_history_is_held_until_it_is_accepted(installed: Place):
    installed.installation.configure({"team": spec_of(installed)})
    before, after = next(VERSIONS), next(VERSIONS)
    good = pushed(installed.work, files(before))
    installed.installation.until(NAME, applied=good, reason="Synced")
    rewritten = installed.work.amend(files(after))
    installed.work.git("push", "-q", "--force", "origin", "HEAD:main")
    installed.installation.until(NAME, applied=good, reason="HistoryRewritten")
    enforced(installed, before)
    installed.installation.configure({"team": spec_of(installed) | {"rewritten": "accept"}})
    installed.installation.until(NAME, applied=rewritten, reason="Synced")
    assert there(installed) == {"version": after}


def test_a_host_that_does_not_answer_at_all_stops_nothing(installed: Place):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"
        spec = spec_of(installed) | {"rewritten": "accept"}
        installed.installation.configure({"team": spec, "silent": {"url": url}})
        commit = pushed(installed.work, files(next(VERSIONS)))
        installed.installation.until(NAME, applied=commit, reason="Synced")
        installed.installation.configure({"team": spec})


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("mode", "content", "name", "told"),
    [
        ("120000", b"/etc/passwd", b"link", "symbolic link"),
        ("160000", None, b"module", "submodule"),
        ("100644", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"lfs", "LFS"),
        ("100644", b"x" * (2 * 2**20), b"large.txt", "bytes"),
        ("100644", BOMB.encode(), b"bomb.yml", "bomb.yml"),
        ("100644", b"[" * 5000, b"deep.json", "deep.json"),
    ],
    ids=["link", "submodule", "lfs", "large", "bomb", "deep"],
)
def test_a_hostile_commit_is_refused_with_its_reason(
    installed: Place, mode: str, content: bytes | None, name: bytes, told: str
):
    installation, work = installed.installation, installed.work
    good = pushed(work, files(next(VERSIONS)))
    installation.until(NAME, applied=good, reason="Synced")
    before = there(installed)
    blob = "1" * 40 if content is None else work.blob(content)
    bad = work.commit_tree(_with(work, mode, blob, name), parent=good)
    work.git("push", "-q", "origin", f"{bad}:refs/heads/main")
    wait_until(
        lambda: (
            installation.reason(NAME) in {"SourceRefused", "InvalidConfig"}
            and told in installation.message(NAME)
        ),
        lambda: installation.raw(f"/api/applications/{NAME}").text,
    )
    assert there(installed) == before
    assert sorted(each.name for each in (installation.folder / "hosts").iterdir()) == ["a.json"]
    enforced(installed, before["version"])
    mended = work.commit_tree(work.git("rev-parse", f"{good}^{{tree}}"), parent=bad)
    work.git("push", "-q", "origin", f"{mended}:refs/heads/main")
    work.git("reset", "-q", "--hard", mended)
    installation.until(NAME, reason="Synced")


def _with(work: Repository, mode: str, blob: str, name: bytes) -> str:
    """HEAD's tree with one more entry beside the application's file."""
    folders = f"apps/{NAME}/base/files".split("/")
    trees = [work.git("rev-parse", "HEAD^{tree}")]
    trees += [
        work.git("rev-parse", f"HEAD:{'/'.join(folders[: depth + 1])}") for depth in range(len(folders))
    ]
    found = work.tree(*sorted([*_entries(work, trees[-1]), (mode, blob, name)], key=lambda each: each[2]))
    for depth in reversed(range(len(folders))):
        entries = [each for each in _entries(work, trees[depth]) if each[2] != folders[depth].encode()]
        entries.append(("40000", found, folders[depth].encode()))
        found = work.tree(*sorted(entries, key=lambda each: each[2] + (b"/" if each[0] == "40000" else b"")))
    return found


def _entries(work: Repository, tree: str) -> list[tuple[str, str, bytes]]:
    lines = work.git("ls-tree", tree).splitlines()
    parsed = [line.split(None, 3) for line in lines]
    return [(mode.lstrip("0"), found, name.encode()) for mode, _, found, name in parsed]
