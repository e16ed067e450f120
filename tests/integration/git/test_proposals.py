"""Changes proposed to Git: pushed to a branch of their own, idempotent, merged with what came meanwhile."""

from __future__ import annotations

import dataclasses

import pytest

from fairlead.core.overrides import REMOVED
from fairlead.git import proposals
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import ForgeSpec
from fairlead.ports.gitops import Proposal
from support.repositories import Repository

BRANCH = "fairlead/drift/app/0123abcd"
REFERENCE = f"refs/heads/{BRANCH}"
FILE = "base/servers.yml"


class RecordedForge:
    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    async def propose(self, *, branch: str, onto: str, title: str, body: str) -> str:
        self.calls.append(("propose", branch, onto, title, body))
        return "https://git.example/pulls/1"

    async def withdraw(self, branch: str) -> None:
        self.calls.append(("withdraw", branch))


@pytest.fixture
def author(origin: Repository) -> Repository:
    """Where people work."""
    origin.commit({FILE: "a: 1  # one\nb: 1\nc: 1\n", "notes.txt": "one\ntwo\nthree\nfour\nfive\n"})
    return origin


@pytest.fixture
def host(author: Repository, tmp_path) -> Repository:
    """What they push to."""
    host = author.pushable(tmp_path / "srv/config.git")
    author.git("remote", "add", "origin", str(host.path))
    return host


@pytest.fixture
def url(hosted, host) -> str:
    return hosted.url_of("config.git")


def pushed(author: Repository, files, message: str = "meanwhile", branch: str = "main") -> str:
    commit = author.commit(files, message)
    author.git("push", "-q", "origin", f"HEAD:{branch}")
    return commit


def proposal(onto: str, files, **more) -> Proposal:
    made = Proposal(
        BRANCH,
        onto,
        "Take over what was changed by hand",
        "`a` was changed.",
        {path: None if text is None else text.encode() for path, text in files.items()},
        {"Fairlead-Origin": "app", "Fairlead-By": "ada"},
    )
    return dataclasses.replace(made, **more)


async def test_a_branch_with_one_commit_is_pushed(rig, author, host, url):
    source = rig.source(url)
    await source.refresh()
    before = author.head
    made = proposal(before, {FILE: "a: 2  # one\nb: 1\nc: 1\n", "new/file.txt": "new\n", "README.md": None})

    assert await source.propose(made) == BRANCH

    tip = host.at(REFERENCE)
    assert host.git("rev-parse", f"{tip}^") == before
    assert host.show(tip, FILE) == "a: 2  # one\nb: 1\nc: 1"
    assert host.show(tip, "new/file.txt") == "new"
    assert host.git("ls-tree", "-r", "--name-only", tip).splitlines() == [FILE, "new/file.txt", "notes.txt"]
    message = host.git("log", "-1", "--format=%B", tip)
    assert message.splitlines() == [
        "Take over what was changed by hand",
        "",
        "`a` was changed.",
        "",
        "Fairlead-Origin: app",
        "Fairlead-By: ada",
    ]
    assert host.at("refs/heads/main") == before
    host.git("fsck", "--strict")


async def test_the_same_again_changes_nothing(rig, author, host, url):
    source = rig.source(url)
    made = proposal(author.head, {FILE: "a: 2\nb: 1\nc: 1\n"})
    await source.propose(made)
    tip = host.at(REFERENCE)
    await source.propose(made)
    assert host.at(REFERENCE) == tip
    await source.close()
    again = rig.source(url)  # which has never seen that branch
    await again.propose(made)
    assert host.at(REFERENCE) == tip


async def test_another_content_replaces_ours(rig, author, host, url):
    source = rig.source(url)
    await source.propose(proposal(author.head, {FILE: "a: 2\nb: 1\nc: 1\n"}))
    await source.propose(proposal(author.head, {FILE: "a: 3\nb: 1\nc: 1\n"}))
    tip = host.at(REFERENCE)
    assert host.show(tip, FILE).startswith("a: 3")
    assert host.git("rev-parse", f"{tip}^") == author.head


async def test_what_git_has_already_is_not_proposed(rig, author, host, url):
    source = rig.source(url)
    assert await source.propose(proposal(author.head, {FILE: "a: 1  # one\nb: 1\nc: 1\n"})) == BRANCH
    assert host.at(REFERENCE) is None


async def test_edits_are_carried_out_anew_on_a_newer_commit(rig, author, host, url):
    onto = author.head
    source = rig.source(url)
    await source.refresh()
    newer = pushed(author, {FILE: "a: 1  # one\nb: 7\nc: 1\nd: 4\n"})
    made = proposal(
        onto,
        {FILE: "a: 2  # one\nb: 1\n"},
        merge={FILE: [(("a",), 2), (("c",), REMOVED)]},
    )
    await source.propose(made)
    tip = host.at(REFERENCE)
    assert host.git("rev-parse", f"{tip}^") == newer
    assert host.show(tip, FILE) == "a: 2  # one\nb: 7\nd: 4"


async def test_texts_are_merged_on_a_newer_commit(rig, author, host, url):
    onto = author.head
    pushed(author, {"notes.txt": "ONE\ntwo\nthree\nfour\nfive\n"})
    source = rig.source(url)
    await source.propose(proposal(onto, {"notes.txt": "one\ntwo\nthree\nfour\nFIVE\n"}))
    assert host.show(BRANCH, "notes.txt") == "ONE\ntwo\nthree\nfour\nFIVE"


@pytest.mark.parametrize(
    ("newer", "wanted"),
    [("ONE\ntwo\n", "1\ntwo\n"), (None, "1\ntwo\n"), ("ONE\ntwo\n", None)],
    ids=["same-line", "removed-in-git", "removed-here"],
)
async def test_a_true_conflict_is_told(rig, author, host, url, newer, wanted):
    onto = pushed(author, {"notes.txt": "one\ntwo\n"})
    pushed(author, {"notes.txt": newer})
    source = rig.source(url)
    with pytest.raises(ProblemError, match="same place") as caught:
        await source.propose(proposal(onto, {"notes.txt": wanted}))
    assert caught.value.problem.code == "proposal-conflict"
    assert host.at(REFERENCE) is None


async def test_a_file_that_became_something_else(rig, author, host, url):
    onto = author.head
    pushed(author, {FILE: "- a list\n"})
    source = rig.source(url)
    with pytest.raises(ProblemError) as caught:
        await source.propose(proposal(onto, {FILE: "a: 2\n"}, merge={FILE: [(("a",), 2)]}))
    assert caught.value.problem.code == "proposal-conflict"


async def test_commits_of_people_on_our_branch_stay(rig, author, host, url):
    source = rig.source(url)
    onto = author.head
    await source.propose(proposal(onto, {FILE: "a: 2\nb: 1\nc: 1\n"}))
    author.git("fetch", "-q", "origin", BRANCH)
    author.git("switch", "-q", "--detach", "FETCH_HEAD")
    theirs = pushed(author, {"review.txt": "fine\n"}, branch=REFERENCE)
    await source.propose(proposal(onto, {"README.md": "changed\n"}))
    tip = host.at(REFERENCE)
    assert host.git("rev-parse", f"{tip}^") == theirs
    assert host.show(tip, "review.txt") == "fine"
    assert host.show(tip, "README.md") == "changed"
    await source.propose(proposal(onto, {"notes.txt": "changed too\n"}))
    assert host.show(BRANCH, "review.txt") == "fine"
    last = host.at(REFERENCE)
    await source.withdraw(BRANCH)
    assert host.at(REFERENCE) == last  # the tip is ours, but below it is theirs


async def test_withdrawn(rig, author, host, url):
    source = rig.source(url)
    await source.withdraw(BRANCH)  # there is none
    await source.propose(proposal(author.head, {FILE: "a: 2\n"}))
    await source.withdraw(BRANCH)
    assert host.at(REFERENCE) is None
    await source.propose(proposal(author.head, {FILE: "a: 2\n"}))
    author.git("push", "-q", "-f", "origin", f"main:{REFERENCE}")
    theirs = pushed(author, {"x": "1"}, branch=REFERENCE)
    await source.withdraw(BRANCH)
    assert host.at(REFERENCE) == theirs  # somebody else's by now


async def test_what_was_merged_is_tidied_away(rig, author, host, url):
    source = rig.source(url)
    await source.propose(proposal(author.head, {FILE: "a: 2\n"}))
    host.git("update-ref", "refs/heads/main", host.at(REFERENCE))
    await source.withdraw(BRANCH)
    assert host.at(REFERENCE) is None


async def test_somebody_is_always_faster(rig, author, host, url, monkeypatch):
    """Whoever pushes between our look and our push is never overwritten; at most ten tries."""
    source = rig.source(url)
    await source.refresh()
    real, looks = proposals._tip, []

    async def look(place, branch):
        tip = await real(place, branch)
        looks.append(tip)
        commit = author.git(
            "commit-tree", f"{author.head}^{{tree}}", "-m", f"race {len(looks)}", "-p", author.head
        )
        author.git("push", "-q", "-f", "origin", f"{commit}:{REFERENCE}")
        return tip

    monkeypatch.setattr(proposals, "_tip", look)
    with pytest.raises(ProblemError, match="each of 10 times") as caught:
        await source.propose(proposal(author.head, {FILE: "a: 2\n"}))
    assert caught.value.problem.retry_after is not None
    assert len(looks) == 10
    assert host.git("log", "-1", "--format=%s", REFERENCE) == "race 10"


async def test_somebody_was_faster_once(rig, author, host, url, monkeypatch):
    source = rig.source(url)
    await source.refresh()
    real, looks = proposals._tip, []

    async def look(place, branch):
        tip = await real(place, branch)
        looks.append(tip)
        if len(looks) == 1:
            author.git("push", "-q", "origin", f"main:{REFERENCE}")
        return tip

    monkeypatch.setattr(proposals, "_tip", look)
    assert await source.propose(proposal(author.head, {FILE: "a: 2\n"})) == BRANCH
    assert len(looks) == 2
    assert host.show(BRANCH, FILE) == "a: 2"


async def test_a_host_that_takes_no_branch(rig, author, host, url):
    hook = host.path / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no drift here >&2\nexit 1\n")
    hook.chmod(0o755)
    source = rig.source(url)
    with pytest.raises(ProblemError, match="does not take the branch") as caught:
        await source.propose(proposal(author.head, {FILE: "a: 2\n"}))
    assert "no drift here" in caught.value.problem.detail
    assert caught.value.problem.retry_after is None


async def test_a_host_that_is_away(rig, author, hosted, url):
    source = rig.source(url)
    await source.refresh()
    hosted.away = True
    with pytest.raises(ProblemError) as caught:
        await source.propose(proposal(author.head, {FILE: "a: 2\n"}))
    assert caught.value.problem.status == 503
    assert caught.value.problem.retry_after
    with pytest.raises(ProblemError):
        await source.withdraw(BRANCH)


async def test_a_bare_repository_of_this_machine(rig, author, host):
    source = rig.source(host.path)
    await source.propose(proposal(author.head, {FILE: "a: 2\n"}))
    assert host.show(BRANCH, FILE) == "a: 2"


@pytest.mark.parametrize("below", ["", ".git", ".git/worktrees/linked", "../linked", "../link"])
async def test_nothing_is_pushed_into_a_checkout(rig, author, host, below):
    author.git("worktree", "add", "-q", "../linked")
    (author.path.parent / "link").symlink_to(author.path / ".git")
    source = rig.source(author.path / below)
    await source.refresh()
    before = author.git("for-each-ref")
    for ask in (source.propose(proposal(author.head, {FILE: "a: 2\n"})), source.withdraw(BRANCH)):
        with pytest.raises(ProblemError, match="only read"):
            await ask
    assert author.git("for-each-ref") == before


@pytest.mark.parametrize("branch", ["main", "fairlead/../main", "fairlead/a b", "fairlead/x:refs/heads/main"])
async def test_other_branches_are_never_touched(rig, author, host, url, branch):
    source = rig.source(url)
    before = host.git("for-each-ref")
    with pytest.raises(ProblemError, match="no branch of Fairlead"):
        await source.propose(proposal(author.head, {FILE: "a: 2\n"}, branch=branch))
    with pytest.raises(ProblemError, match="no branch of Fairlead"):
        await source.withdraw(branch)
    assert host.git("for-each-ref") == before


@pytest.mark.parametrize("path", ["../x", ".git/config", "a//b", "/etc/passwd", "a\nb", ""])
async def test_paths_that_lead_elsewhere(rig, author, host, url, path):
    source = rig.source(url)
    with pytest.raises(ProblemError, match="cannot be proposed"):
        await source.propose(proposal(author.head, {path: "x"}))


async def test_a_pull_request_is_opened_and_closed(rig, author, host, url):
    forge, kinds = RecordedForge(), []

    def forge_of(spec: ForgeSpec) -> RecordedForge:
        kinds.append(spec.kind)
        return forge

    spec = {"kind": "gitea", "project": "team/config", "token": "${TOKEN}"}
    source = rig.source(url, forge=spec)
    source._workshop = dataclasses.replace(source._workshop, forge_of=forge_of)
    made = proposal(author.head, {FILE: "a: 2\n"})
    assert await source.propose(made) == "https://git.example/pulls/1"
    await source.withdraw(BRANCH)
    assert forge.calls == [("propose", BRANCH, "main", made.title, made.body), ("withdraw", BRANCH)]
    assert kinds == ["gitea", "gitea"]
    assert host.at(REFERENCE) is None


async def test_an_executable_stays_one(rig, author, host, url):
    run = author.path / "run.sh"
    run.write_text("#!/bin/sh\n")
    run.chmod(0o755)
    onto = pushed(author, {})
    source = rig.source(url)
    await source.propose(proposal(onto, {"run.sh": "#!/bin/sh\ntrue\n"}))
    assert host.git("ls-tree", BRANCH, "run.sh").startswith("100755")
