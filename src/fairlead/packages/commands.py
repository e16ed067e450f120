"""Runs the tools that resolve and install: few at once, each as a process group that ends as a whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.kit.children import end_child, start_child
from fairlead.packages.problems import package_problem

_PASSED_ON: Final = re.compile(
    r"HOME|PATH|LANG|LC_ALL|TMPDIR|XDG_CONFIG_HOME|SSL_CERT_(FILE|DIR)|(HTTPS?|ALL|NO)_PROXY", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    code: int
    output: str
    errors: str


class Commands:
    """Runs commands, `at_once` together; one that takes more than `patience` seconds is ended."""

    def __init__(self, *, at_once: int = 2, patience: float = 900.0) -> None:
        self._turn = asyncio.Semaphore(at_once)
        self._patience = patience

    async def run(
        self, argv: Sequence[str], *, folder: Path, environment: Mapping[str, str], lock: int
    ) -> Finished:
        """Run `argv` in `folder`; `lock` is a descriptor that it inherits. Cancelling kills it.

        Raises ProblemError when it does not end in time.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(self._patience):
                    return await run(argv, folder=folder, environment=environment, inherited=(lock,))
            except TimeoutError as error:
                detail = f"{Path(argv[0]).name} did not end within {self._patience:.0f} s; check the network"
                raise package_problem("install-failed", "the installation hangs", detail) from error


async def run(
    argv: Sequence[str], *, folder: Path, environment: Mapping[str, str], inherited: tuple[int, ...] = ()
) -> Finished:
    """Run one command to its end, without input. Raises OSError when it cannot be started."""
    process = await start_child(
        argv,
        cwd=folder,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=inherited,
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        await end_child(process)
        raise
    return Finished(process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace"))


def environment_for(environ: Mapping[str, str], own: re.Pattern[str]) -> dict[str, str]:
    """What a tool gets of our environment: where home, certificates and proxies are, and its `own`."""
    return {
        name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name) or own.fullmatch(name)
    }
