"""Where a source's repository is, and how it is reached: what is allowed, and with which credentials."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from fairlead.git.command import Access, ssh_command
from fairlead.git.failures import GitFailedError
from fairlead.kit.home import expanded
from fairlead.model.gitops import Source
from fairlead.model.reconciling import Reason

Resolve = Callable[[str], str]
"""Fills in placeholders. Raises SpecError for what has no value."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_SCP: Final = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!//)[^\0\n]+")
_BRANCH: Final = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)|/\.))[A-Za-z0-9_+#%=.,@/-]{1,250}")
_HELPER: Final = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$FAIRLEAD_GIT_USERNAME" "$FAIRLEAD_GIT_PASSWORD"; }; f'
)


@dataclass(frozen=True, slots=True)
class Remote:
    """`path` is set where it is a folder of this machine."""

    url: str
    protocol: str
    path: Path | None = None


def remote_of(source: Source, base: Path | None = None) -> Remote:
    """Check a source's URL and branch; a relative path starts at `base`. Raises GitFailedError."""
    _check_branch(source.branch)
    url = source.url
    if not url or re.search(r"[\0-\x1f\x7f]", url) or url.startswith("-") or "::" in url.split("/")[0]:
        raise _refused("the URL has characters that no repository's address has")
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _local(Path(unquote(parts.path)))
    if not parts.scheme and (url.startswith(("/", "./", "../", "~")) or ":" not in url):
        return _local((base or Path()) / expanded(url))
    if " " in url:
        raise _refused("the URL has a space in it")
    if parts.scheme in {"https", "http", "ssh"} and parts.hostname:
        return _network(url, parts)
    if _SCP.fullmatch(url) and parts.scheme not in {"git", "ext", "ftp", "ftps", "http", "https", "ssh"}:
        return Remote(url, "ssh")
    raise _refused("the URL is none of https://, ssh://, user@host:path, or a path of this machine")


def _network(url: str, parts: SplitResult) -> Remote:
    if parts.password or (parts.username and parts.scheme != "ssh"):
        raise _refused("the URL holds credentials; write them as `username` and `token`, or as `sshKey`")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise _refused("plain http:// shows the token and lets anybody change what arrives; use https://")
    return Remote(url, parts.scheme)


def _local(path: Path) -> Remote:
    path = path.absolute()
    return Remote(str(path), "file", path)


def _check_branch(branch: str) -> None:
    if not _BRANCH.fullmatch(branch) or branch[0] in "-./" or branch[-1] in "./":
        raise _refused(f"{branch!r} cannot be a branch's name")


def _refused(message: str) -> GitFailedError:
    return GitFailedError(Reason.SOURCE_REFUSED, message, temporary=False)


@contextmanager
def opened(source: Source, remote: Remote, resolve: Resolve, *, private: Path) -> Iterator[Access]:
    """The access, while it is needed; an SSH key is a file below `private` for so long, and no longer."""
    if remote.protocol == "ssh":
        with _key_file(resolve(source.ssh_key) if source.ssh_key else None, private) as key:
            yield _ssh_access(source, key)
    elif remote.protocol in {"https", "http"} and source.token:
        yield _token_access(remote, source.username or "git", resolve(source.token))
    else:
        yield Access((remote.protocol,))


def _token_access(remote: Remote, username: str, token: str) -> Access:
    if re.search(r"[\0\r\n]", token + username):
        raise _refused("the token has a line break in it; check the secret")
    parts = urlsplit(remote.url)
    place = f"{parts.scheme}://{parts.netloc}"
    return Access(
        (remote.protocol,),
        (
            "credential.helper=",
            f"credential.{place}.helper={_HELPER}",
            f"credential.{place}.useHttpPath=false",
        ),
        {"FAIRLEAD_GIT_USERNAME": username, "FAIRLEAD_GIT_PASSWORD": token},
        (token,),
    )


def _ssh_access(source: Source, key: Path | None) -> Access:
    options = []
    if key is not None:
        options += ["-oIdentitiesOnly=yes", "-i", shlex.quote(str(key))]
    if source.known_hosts:
        known = expanded(source.known_hosts)
        options += [shlex.quote(f"-oUserKnownHostsFile={known}"), "-oGlobalKnownHostsFile=/dev/null"]
    return Access(("ssh",), (), {"GIT_SSH_COMMAND": ssh_command(*options)})


@contextmanager
def _key_file(key: str | None, private: Path) -> Iterator[Path | None]:
    if key is None:
        yield None
        return
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix="key-", dir=private)  # mode 0600
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(key if key.endswith("\n") else key + "\n")
        yield path
    finally:
        path.unlink(missing_ok=True)
