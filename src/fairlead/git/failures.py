"""What git says when it fails, made into a reason, a message with a remedy, and whether waiting mends it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from fairlead.model.reconciling import Reason

_MOST_SHOWN: Final = 400  # characters
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]*@")


class GitFailedError(Exception):
    """`message` is for a person. `temporary` is true where time alone may mend it."""

    def __init__(self, reason: Reason, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.temporary = temporary


class CorruptError(GitFailedError):
    """The mirror is damaged: check it, and clone again."""

    def __init__(self, message: str) -> None:
        super().__init__(
            Reason.FAULT, f"the mirror is damaged and is fetched anew: {message}", temporary=True
        )


class LockedError(GitFailedError):
    """A lock file is in the way that an earlier git left."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.FAULT, f"a stale lock is in the way: {message}", temporary=True)


class TimedOutError(GitFailedError):
    """Git did not end in time, and was killed with all that it had started."""

    def __init__(self, command: str, seconds: float) -> None:
        message = f"`git {command}` did not end within {seconds:.0f} s: is the Git host slow?"
        super().__init__(Reason.SOURCE_AWAY, message, temporary=True)


class _Kind(NamedTuple):
    pattern: re.Pattern[str]
    reason: Reason
    remedy: str
    temporary: bool


def _kind(pattern: str, reason: Reason, remedy: str, *, temporary: bool) -> _Kind:
    return _Kind(re.compile(pattern, re.IGNORECASE), reason, remedy, temporary)


DISK_FULL: Final = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|file size limit exceeded", re.IGNORECASE
)
_LOCKED: Final = re.compile(
    r"Unable to create '[^']*\.lock'|cannot lock ref .*: Unable to create", re.IGNORECASE
)
_CORRUPT: Final = re.compile(
    r"object file .* is empty|loose object .* is corrupt|bad object |unable to read (sha1 file|tree)"
    r"|packfile .* (cannot be accessed|does not match index|is far too short)|inflate: |bad packed object"
    r"|missing (blob|tree|commit|necessary)|unresolved deltas left|cannot read existing object"
    r"|garbage at end of loose object|hash mismatch|your current branch appears to be broken|bad config line"
    r"|did not send all necessary objects|bad signature 0x|index file .* is too small|unable to parse sha1"
    r"|not a git repository: '\.'|Could not read [0-9a-f]{40}|unable to unpack [0-9a-f]{40}|broken link from",
    re.IGNORECASE,
)
# The first that fits counts: a failed transfer also says "could not read from remote repository".
_KINDS: Final = (
    _kind(
        r"dubious ownership|not owned by current user",
        Reason.FOREIGN_OWNER,
        "somebody else owns the repository: `git config --global --add safe.directory PATH` trusts it",
        temporary=False,
    ),
    _kind(
        r"fsck error|in strict mode|fsckObjects",
        Reason.SOURCE_REFUSED,
        "the repository has objects that git's own check refuses; mend them where the repository is kept",
        temporary=False,
    ),
    _kind(
        r"SSL certificate|certificate (verification|subject|verify|has expired)|SSL_ERROR|TLS"
        r"|unable to get local issuer|no alternative certificate subject|server verification failed",
        Reason.SOURCE_REFUSED,
        "the host's certificate is not trusted; check the URL, or add the authority to `http.sslCAInfo`",
        temporary=False,
    ),
    _kind(
        r"host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
        Reason.SOURCE_REFUSED,
        "the SSH host's key is not known; add it to the file of `knownHosts`",
        temporary=False,
    ),
    _kind(
        r"Authentication failed|could not read (Username|Password)|terminal prompts disabled"
        r"|Permission denied|returned error: 40[13]|access denied|HTTP Basic",
        Reason.SOURCE_REFUSED,
        "the credentials are missing or not enough; check `username`, `token` or `sshKey` of the source",
        temporary=False,
    ),
    _kind(
        r"mismatched algorithms|unknown object format|unsupported object format",
        Reason.SOURCE_REFUSED,
        "the repository's object format is not SHA-1, the only one that is read",
        temporary=False,
    ),
    _kind(
        r"couldn't find remote ref|Remote branch .* not found|no such ref",
        Reason.NO_COMMIT,
        "the repository has no such branch yet; check `branch`, or push a first commit",
        temporary=False,
    ),
    _kind(
        r"Could not resolve host|failed to connect|couldn't connect|Connection (refused|reset|timed out)"
        r"|timed out|Network is unreachable|No route to host|Operation too slow|returned error: (5\d\d|429)"
        r"|early EOF|RPC failed|unexpected disconnect|hung up unexpectedly|transfer closed|empty reply"
        r"|bytes of body are still expected|Connection closed|Temporary failure in name|expected flush after",
        Reason.SOURCE_AWAY,
        "the Git host cannot be reached, or broke off",
        temporary=True,
    ),
    _kind(
        r"does not appear to be a git repository|repository .* not found|not a git repository"
        r"|returned error: 404|does not exist|no such (file|repository)|is this a git repository",
        Reason.NO_REPOSITORY,
        "there is no repository at that place; check `url`",
        temporary=False,
    ),
    _kind(
        r"Could not read from remote repository|remote end hung up",
        Reason.SOURCE_AWAY,
        "the Git host cannot be reached, or broke off",
        temporary=True,
    ),
)


def classify(command: str, errors: str, *, hidden: tuple[str, ...] = ()) -> GitFailedError:
    """The error that git's standard error tells of. `hidden` are values that must not be shown."""
    shown = _shown(errors, hidden)
    if DISK_FULL.search(errors):
        message = f"the disk is full: make room where the mirrors are kept ({shown})"
        return GitFailedError(Reason.FAULT, message, temporary=True)
    if _LOCKED.search(errors):
        return LockedError(shown)
    for kind in _KINDS[:2]:
        if kind.pattern.search(errors):
            return GitFailedError(kind.reason, f"{kind.remedy} ({shown})", temporary=kind.temporary)
    if _CORRUPT.search(errors):
        return CorruptError(shown)
    for kind in _KINDS[2:]:
        if kind.pattern.search(errors):
            return GitFailedError(kind.reason, f"{kind.remedy} ({shown})", temporary=kind.temporary)
    return GitFailedError(Reason.SOURCE_AWAY, f"`git {command}` failed: {shown}", temporary=True)


def _shown(errors: str, hidden: tuple[str, ...]) -> str:
    """The lines that say something, as one, without secrets and bounded."""
    lines = [line.strip() for line in errors.splitlines()]
    telling = [
        line for line in lines if re.match(r"(fatal|error|remote|ssh|warning: remote)\b", line)
    ] or lines
    text = "; ".join(dict.fromkeys(line for line in telling if line)) or "it said nothing"
    for value in hidden:
        if value:
            text = text.replace(value, "***")
    text = _USERINFO.sub("***@", text)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + " ..."
