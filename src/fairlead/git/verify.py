"""Whether a commit's signature is one of those that a source's policy takes.

Git checks the signature itself (`git verify-commit --raw`). A good signature is not enough: whoever could add
a key to a keyring would be trusted. For GPG the key's fingerprint must be declared; for SSH the key must
stand in the file of allowed signers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fairlead.git.command import Access, Git
from fairlead.git.failures import GitFailedError
from fairlead.model.gitops import Verify
from fairlead.model.reconciling import Reason

_SSH: Final = "-----BEGIN SSH SIGNATURE-----"
_GPG: Final = "-----BEGIN PGP SIGNATURE-----"
_GOOD_SSH: Final = re.compile(r'^Good "git" signature for (.+) with \S+ key (\S+)$', re.MULTILINE)


async def verify_commit(git: Git, folder: Path, commit: str, policy: Verify) -> str:
    """Who signed it; empty where the policy asks for nothing. Raises GitFailedError with what is missing."""
    if policy.signatures == "off":
        return ""
    raw = (await git.run("cat-file", "commit", commit, folder=folder)).output.decode(errors="replace")
    header = raw.partition("\n\n")[0]
    if _SSH in header:
        return await _by_ssh(git, folder, commit, policy)
    if _GPG in header:
        return await _by_gpg(git, folder, commit, policy)
    raise _refused(commit, "it is not signed; sign it (`git commit -S`) and push again")


async def _by_ssh(git: Git, folder: Path, commit: str, policy: Verify) -> str:
    if policy.allowed_signers is None:
        raise _refused(commit, "it is signed with SSH, and the source has no `verify.allowedSigners`")
    access = Access(settings=(f"gpg.ssh.allowedSignersFile={policy.allowed_signers}",))
    ran = await git.run("verify-commit", "--raw", commit, folder=folder, access=access, codes=(0, 1, 128))
    found = _GOOD_SSH.search(ran.errors)
    if ran.code != 0 or found is None:
        raise _refused(
            commit, f"no key in {policy.allowed_signers} made its SSH signature: {_first(ran.errors)}"
        )
    return found[1]


async def _by_gpg(git: Git, folder: Path, commit: str, policy: Verify) -> str:
    wanted = {re.sub(r"\s|^0x", "", key).upper() for key in policy.gpg_keys}
    if not wanted:
        raise _refused(commit, "it is signed with GPG, and the source has no `verify.gpgKeys`")
    ran = await git.run("verify-commit", "--raw", commit, folder=folder, codes=(0, 1, 128))
    good = signed_by(ran.errors)
    if not good & wanted:
        known = ", ".join(sorted(good)) or _first(ran.errors)
        raise _refused(commit, f"none of the GPG keys of `verify.gpgKeys` made its signature ({known})")
    return next(iter(sorted(good & wanted)))


def signed_by(status: str) -> set[str]:
    """The fingerprints (the key's, and its primary key's) of a good signature in GPG's status lines.

    Exactly one good signature by a key that is neither expired nor revoked; otherwise none.
    """
    lines = [line.split()[1:] for line in status.splitlines() if line.startswith("[GNUPG:] ")]
    names = [line[0] for line in lines if line]
    valid = [line for line in lines if line and line[0] == "VALIDSIG"]
    bad = {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"} & set(names)
    if bad or names.count("GOODSIG") != 1 or len(valid) != 1 or len(valid[0]) < 2:
        return set()
    return {valid[0][1].upper(), valid[0][-1].upper()}


def _first(errors: str) -> str:
    lines = [
        line.strip() for line in errors.splitlines() if line.strip() and not line.startswith("[GNUPG:] K")
    ]
    return lines[0][:200] if lines else "git said nothing"


def _refused(commit: str, why: str) -> GitFailedError:
    message = f"commit {commit[:12]} is not taken: {why}"
    return GitFailedError(Reason.SOURCE_REFUSED, message, temporary=False)
