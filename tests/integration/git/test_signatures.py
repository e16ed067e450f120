"""Signed commits: whose are taken, by SSH and by GPG."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.repositories import Repository, have

pytestmark = pytest.mark.skipif(not have("ssh-keygen"), reason="needs ssh-keygen")


def ssh_key(folder: Path, name: str) -> Path:
    key = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)], check=True)
    return key


def sign_with(origin: Repository, key: Path) -> list[str]:
    origin.git("config", "gpg.format", "ssh")
    origin.git("config", "user.signingkey", str(key))
    return ["-S"]


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A key that is allowed, one that is not, and the file of allowed signers."""
    good, bad = ssh_key(tmp_path, "good"), ssh_key(tmp_path, "bad")
    public = good.with_suffix(".pub").read_text().split()
    signers = tmp_path / "allowed signers"
    signers.write_text(f'ada@example.org namespaces="git" {public[0]} {public[1]}\n')
    return good, bad, signers


async def refused(source, *words: str) -> None:
    head = source.head
    await source.refresh()
    assert source.problem is not None
    assert source.problem[0] == "SourceRefused"
    for word in words:
        assert word in source.problem[1], source.problem
    assert source.head is head


async def taken(source, commit: str) -> None:
    await source.refresh()
    assert source.problem is None, source.problem
    assert source.head.commit.id == commit


def require(**policy: object) -> dict[str, object]:
    return {"signatures": "require", **policy}


async def test_ssh(rig, origin, keys):
    good, bad, signers = keys
    source = rig.source(origin.path, verify=require(allowed_signers=str(signers)))
    await refused(source, "not signed", "git commit -S")
    commit = origin.commit({"x": "1"}, options=sign_with(origin, good))
    await taken(source, commit)
    origin.commit({"x": "2"})
    await refused(source, "not signed")
    origin.commit({"x": "3"}, options=sign_with(origin, bad))
    await refused(source, "allowed signers")
    assert source.head.commit.id == commit
    assert source.failures == 0
    await taken(source, origin.commit({"x": "4"}, options=sign_with(origin, good)))


async def test_a_commit_that_was_changed_after_it_was_signed(rig, origin, keys):
    good, _, signers = keys
    origin.commit({"x": "1"}, options=sign_with(origin, good))
    raw = origin.git("cat-file", "commit", "HEAD").replace("a change", "another") + "\n"
    forged = origin.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=raw.encode())
    origin.git("update-ref", "refs/heads/main", forged)
    await refused(rig.source(origin.path, verify=require(allowed_signers=str(signers))))


async def test_ssh_without_allowed_signers(rig, origin, keys):
    origin.commit({"x": "1"}, options=sign_with(origin, keys[0]))
    await refused(rig.source(origin.path, verify=require()), "allowedSigners")


async def test_the_file_of_allowed_signers_is_gone(rig, origin, keys, tmp_path):
    origin.commit({"x": "1"}, options=sign_with(origin, keys[0]))
    await refused(rig.source(origin.path, verify=require(allowed_signers=str(tmp_path / "none"))))


async def test_a_policy_that_came_later_holds_for_the_head_too(rig, origin, keys):
    plain = rig.source(origin.path)
    await taken(plain, origin.head)
    await plain.close()
    strict = rig.source(origin.path, verify=require(allowed_signers=str(keys[2])))
    await refused(strict)
    assert strict.head is None
    await taken(strict, origin.commit({"x": "1"}, options=sign_with(origin, keys[0])))


async def test_a_policy_that_came_later_does_not_keep_a_newer_commit_waiting(rig, origin, keys):
    plain = rig.source(origin.path)
    await taken(plain, origin.head)
    await plain.close()
    newest = origin.commit({"x": "1"}, options=sign_with(origin, keys[0]))
    await taken(rig.source(origin.path, verify=require(allowed_signers=str(keys[2]))), newest)


async def test_a_signature_of_no_kind_that_is_known(rig, origin):
    tree = origin.git("write-tree")
    raw = (
        f"tree {tree}\nauthor A <a@b> 1700000000 +0000\ncommitter A <a@b> 1700000000 +0000\n"
        "gpgsig -----BEGIN SIGNED MESSAGE-----\n abc\n -----END SIGNED MESSAGE-----\n\nx509\n"
    )
    commit = origin.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=raw.encode())
    origin.git("update-ref", "refs/heads/main", commit)
    await refused(rig.source(origin.path, verify=require(gpg_keys=["A" * 40])), "not signed")


@pytest.fixture
def gnupg():
    """A home of its own, short enough for the agent's socket."""
    if not have("gpg"):
        pytest.skip("needs gpg")
    home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    home.chmod(0o700)
    yield home
    environ = {**os.environ, "GNUPGHOME": str(home)}
    subprocess.run(["gpgconf", "--kill", "all"], env=environ, check=False, capture_output=True)
    shutil.rmtree(home, ignore_errors=True)


def gpg_key(home: Path, name: str) -> str:
    environ = {**os.environ, "GNUPGHOME": str(home)}
    quick = ["gpg", "--batch", "-q", "--passphrase", "", "--pinentry-mode", "loopback"]
    subprocess.run(
        [*quick, "--quick-generate-key", name, "ed25519", "sign"],
        env=environ,
        check=True,
        capture_output=True,
    )
    listed = subprocess.run(
        ["gpg", "--batch", "--with-colons", "-K", name],
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))


async def test_gpg(rig, origin, gnupg):
    good, bad = gpg_key(gnupg, "good@example.org"), gpg_key(gnupg, "bad@example.org")
    rig.environ["GNUPGHOME"] = str(gnupg)

    def signed(content: str, key: str) -> str:
        (origin.path / "x").write_text(content)
        origin.git("add", "x")
        origin.git("commit", "-q", "-m", "signed", f"-S{key}", environ={"GNUPGHOME": str(gnupg)})
        return origin.head

    origin.git("config", "gpg.format", "openpgp")
    source = rig.source(origin.path, verify=require(gpg_keys=[f"{good[:20]} {good[20:].lower()}"]))
    await taken(source, signed("1", good))
    signed("2", bad)
    await refused(source, bad)
    await taken(source, signed("3", good))
    rig.environ["GNUPGHOME"] = str(gnupg / "empty")
    (gnupg / "empty").mkdir(mode=0o700)
    await source.close()
    without = rig.source(origin.path, verify=require(gpg_keys=[good]))
    await without.refresh()
    assert without.head is None
    assert "gpgKeys" in without.problem[1]
    await without.close()
    nobody = rig.source(origin.path, verify=require())
    await refused(nobody, "gpgKeys")
