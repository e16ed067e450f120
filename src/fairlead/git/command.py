"""Runs git: without questions, within bounds, and gone as a whole when it takes too long or we die.

Each git runs in a session of its own, below a shell that holds a lifeline: a pipe whose other end only we
have. When that closes, because we let go or were killed, the shell's watcher kills the whole group, so that
no `git-remote-https` or `ssh` is left behind. When git ends by itself, the shell ends its watcher and passes
the exit code on.

Nothing secret stands in arguments: a token goes through the environment to a credential helper that is asked
for this one host only (a redirect elsewhere gets nothing), an SSH key through a file that only we can read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fairlead.git.failures import CorruptError, GitFailedError, TimedOutError, classify
from fairlead.kit.children import end_child, start_child
from fairlead.model.reconciling import Reason

PATIENCE: Final = 120.0  # s, for one command
MOST_OUTPUT: Final = 16 * 2**20  # bytes, of each stream; more is read and thrown away
_MOST_WRITTEN: Final = 4 * 2**30  # bytes, of one file: the largest pack that is taken
_NOT_FOUND: Final = 127  # the shell's exit code

_LIFELINE: Final = (
    "exec 3<&0 </dev/null; (read -r _ <&3; kill -9 0) >/dev/null 2>&1 & w=$!; "
    'ulimit -f "$FAIRLEAD_GIT_BLOCKS" 2>/dev/null; trap "" XFSZ; '
    '"$@" 3<&-; c=$?; kill $w 2>/dev/null; wait $w 2>/dev/null; exit $c'
)
_PASSED_ON: Final = re.compile(
    r"HOME|PATH|TMPDIR|USER|LOGNAME|SSH_AUTH_SOCK|GNUPGHOME|XDG_CONFIG_HOME|XDG_RUNTIME_DIR|SSL_CERT_(FILE|DIR)"
    r"|GIT_SSL_CAINFO|GIT_CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)|(HTTPS?|ALL|NO)_PROXY|COVERAGE_\w+",
    re.IGNORECASE,
)
_SETTINGS: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "protocol.allow=never",
    "transfer.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "core.bigFileThreshold=8m",  # larger blobs are taken piece by piece, not into memory
    "gc.autoDetach=false",
    "gc.pruneExpire=never",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "http.followRedirects=initial",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
)


@dataclass(frozen=True, slots=True)
class Access:
    """How one remote is reached. `protocols` are the only ones that git may speak."""

    protocols: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()  # NAME=VALUE, without anything secret
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    hidden: tuple[str, ...] = field(default=(), repr=False)  # never shown, should git repeat it


NOWHERE: Final = Access()


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    output: bytes
    errors: str


class Git:
    """Runs git commands in bare repositories; counts them by name and outcome."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        patience: float = PATIENCE,
        largest: int = _MOST_WRITTEN,
        at_once: int = 4,
    ) -> None:
        self._environment = {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)}
        self._environment |= {
            "LC_ALL": "C",
            "GIT_DIR": ".",  # or a damaged mirror would make git look further up, and work in what is there
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS_REQUIRE": "never",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": ssh_command(),
            "FAIRLEAD_GIT_BLOCKS": str(largest // 512),
        }
        self.patience = patience
        self._turn = asyncio.Semaphore(at_once)
        self.operations: dict[tuple[str, str], int] = {}

    def __repr__(self) -> str:
        return f"Git({sum(self.operations.values())} operations)"

    async def run(
        self,
        *arguments: str,
        folder: Path,
        access: Access = NOWHERE,
        codes: Sequence[int] = (0,),
        patience: float | None = None,
    ) -> Ran:
        """Run `git ARGUMENTS` to its end. Raises GitFailedError for an exit code that is none of `codes`."""
        name = arguments[0]
        outcome = "failed"
        try:
            async with self._turn:
                ran = await self._bounded(arguments, folder, access, patience or self.patience)
            if ran.code == _NOT_FOUND:
                raise GitFailedError(
                    Reason.FAULT, "there is no `git`: install git 2.34 or later", temporary=False
                )
            if ran.code not in codes:
                raise classify(name, ran.errors, hidden=access.hidden)
            outcome = "succeeded"
        finally:
            self.operations[name, outcome] = self.operations.get((name, outcome), 0) + 1
        return ran

    async def _bounded(self, arguments: Sequence[str], folder: Path, access: Access, patience: float) -> Ran:
        settings = [
            *_SETTINGS,
            *(f"protocol.{name}.allow=always" for name in access.protocols),
            *access.settings,
        ]
        argv = ["git", *(part for setting in settings for part in ("-c", setting)), *arguments]
        try:
            async with asyncio.timeout(patience):
                return await _run(argv, folder, {**self._environment, **access.environment})
        except TimeoutError as error:
            raise TimedOutError(arguments[0], patience) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CorruptError(f"there is no folder {folder.name}") from error
        except OSError as error:
            raise GitFailedError(Reason.FAULT, f"git cannot be run: {error}", temporary=True) from error


async def _run(argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Ran:
    process = await start_child(
        ("/bin/sh", "-c", _LIFELINE, "git", *argv),
        cwd=folder,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        output, errors = await asyncio.gather(_drained(process.stdout), _drained(process.stderr))
        code = await process.wait()
    except asyncio.CancelledError:
        await end_child(process)
        raise
    finally:
        process.stdin.close()
    return Ran(code, output, errors.decode(errors="replace"))


async def _drained(stream: asyncio.StreamReader) -> bytes:
    """All of it up to a bound; what is more is dropped, so that git does not wait for us."""
    kept = bytearray()
    while chunk := await stream.read(2**16):
        kept += chunk[: max(0, MOST_OUTPUT - len(kept))]
    return bytes(kept)


def ssh_command(*options: str) -> str:
    """How git calls ssh: it never asks, and knows each host's key beforehand. `options` are quoted."""
    return " ".join(
        ("ssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=15", *options)
    )
