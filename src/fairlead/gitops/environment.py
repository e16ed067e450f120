"""Whether this host has the tools that applications declare, in the declared versions.

Each tool is asked by its own command, once in a while for all applications together; what it prints is
compared with the range. A tool that hangs, fails or floods us counts as one whose version is not known.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from fairlead.core import severity, versions
from fairlead.core.overrides import key_text
from fairlead.core.rules import Rules
from fairlead.kit.children import end_child, start_child
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Application, DriftKind
from fairlead.model.gitops_reports import ToolReport
from fairlead.model.reconciling import DriftRow, DriftState

OBJECT: Final = "environment"
"""What drift rows of this kind are about."""

MAX_AGE: Final = 300.0  # s for which an answer holds
MISFIT_AGE: Final = 10.0  # s: the same for what is not as declared, since somebody will mend that
PATIENCE: Final = 20.0  # s for one command
MOST_OUTPUT: Final = 2**20  # bytes; what is more is an error
_COMMANDS: Final[Mapping[str, Sequence[Sequence[str]]]] = {
    "node": [["node", "--version"]],
    "python": [["python3", "--version"], ["python", "--version"]],
    "claude": [["claude", "--version"]],
    "superclaude": [["superclaude", "--version"], ["SuperClaude", "--version"]],
}
_NPM: Final = ("npm", "ls", "--global", "--depth=0", "--json")
_PYTHON: Final = (
    "python3",
    "-c",
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))",
)
_TOOL_LISTS: Final = (("uv", "tool", "list"), ("pipx", "list", "--short"))
_TOOL: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*) v?([0-9]\S*)", re.MULTILINE)
_PASSED_ON: Final = re.compile(
    r"HOME|PATH|USER|LOGNAME|TMPDIR|LANG|NVM_DIR|VOLTA_HOME|NPM_CONFIG_PREFIX|UV_TOOL_DIR|PIPX_HOME|XDG_\w+",
    re.IGNORECASE,
)

Run = Callable[[Sequence[str]], Awaitable[str | None]]
"""What a command prints; None where there is no such command, or it fails. Never raises."""


class Environment:
    """This host's tools. `now` counts seconds from any start."""

    def __init__(self, run: Run | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._run = run or (lambda argv: printed(argv, os.environ))
        self._now = now
        self._answers: dict[tuple[str, ...], tuple[float, str | None]] = {}  # when, what
        self._asking: dict[tuple[str, ...], asyncio.Lock] = {}

    def __repr__(self) -> str:
        return f"Environment({len(self._answers)} commands)"

    async def reports(self, application: Application, *, fresh: bool = False) -> list[ToolReport]:
        """On each tool that the application declares, in its order; `fresh` asks the tools anew."""
        if fresh:
            self._answers.clear()
        found = []
        for tool, wanted in versions.wanted(application.tools):
            report = _report(application.name, tool, wanted, await self._installed(tool, MAX_AGE))
            if not report.fits:
                report = _report(application.name, tool, wanted, await self._installed(tool, MISFIT_AGE))
            found.append(report)
        return found

    async def _installed(self, tool: str, max_age: float) -> str | None:
        registry, _, name = tool.partition(":")
        if registry == "npm":
            return _npm_version(await self._ask(_NPM, max_age), name)
        if registry == "pypi":
            return await self._pypi_version(_folded(name), max_age)
        for argv in _COMMANDS[tool]:
            if (found := await self._ask(argv, max_age)) is not None:
                return versions.version_in(found) or found.strip()[:80] or "unknown"
        return None

    async def _pypi_version(self, name: str, max_age: float) -> str | None:
        """In the interpreter on the path, or among the tools that have an environment of their own."""
        of_python = _json(await self._ask(_PYTHON, max_age))
        found = {_folded(each): said for each, said in of_python.items() if isinstance(said, str)}
        for argv in _TOOL_LISTS:
            if name in found:
                break
            found |= {
                _folded(each): said for each, said in _TOOL.findall(await self._ask(argv, max_age) or "")
            }
        return found.get(name)

    async def _ask(self, argv: Sequence[str], max_age: float) -> str | None:
        """Once for all who ask at the same time."""
        key = tuple(argv)
        async with self._asking.setdefault(key, asyncio.Lock()):
            at, answer = self._answers.get(key, (-math.inf, None))
            if self._now() - at > max_age:
                answer = await self._run(argv)
                self._answers[key] = self._now(), answer
        return answer


def drift_rows(
    application: Application, reports: Sequence[ToolReport], rules: Sequence[Rules], now: float
) -> list[DriftRow]:
    """What is not as declared. `rules` are as `core.severity` wants them, `now` is Unix time in s."""
    return [
        DriftRow(
            application=application.name,
            object=OBJECT,
            key=key_text((report.tool,)),
            kind=DriftKind.ENVIRONMENT,
            severity=severity.severity(OBJECT, (report.tool,), DriftKind.ENVIRONMENT, rules),
            state=DriftState.OPEN,
            base=None,
            live=None if report.installed is None else json.dumps(report.installed),
            desired=json.dumps(report.wanted),
            since=now,
            message=f"{report.tool}: {report.message}",
        )
        for report in reports
        if not report.fits
    ]


async def printed(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Run a command without input, as a process group that ends as a whole; see `Run`."""
    program = shutil.which(argv[0], path=environ.get("PATH"))
    if program is None:
        return None
    passed = {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)}
    try:
        process = await start_child(
            (program, *argv[1:]),
            env={**passed, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "DISABLE_AUTOUPDATER": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(PATIENCE):
            output = await _bounded(process)
            code = await process.wait()
    except (TimeoutError, ValueError):
        return None
    finally:
        await end_child(process)
    # `npm ls` fails where any installed package has a problem of its own, and prints all the same.
    return output.decode(errors="replace") if code == 0 or argv[0] == "npm" else None


async def _bounded(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    output = b""
    while chunk := await process.stdout.read(2**16):
        output += chunk
        if len(output) > MOST_OUTPUT:
            raise ValueError("too much")
    return output


def _report(application: str, tool: str, wanted: str, installed: str | None) -> ToolReport:
    try:
        message = versions.misfit(wanted, installed)
    except SpecError as error:
        message = f"{error}; {error.hint}"
    return ToolReport(
        application=application,
        tool=tool,
        wanted=wanted,
        installed=installed,
        fits=not message,
        message=message,
    )


def _npm_version(text: str | None, name: str) -> str | None:
    found = _json(text).get("dependencies")
    entry = found.get(name) if isinstance(found, dict) else None
    version = entry.get("version") if isinstance(entry, dict) else None
    return version if isinstance(version, str) else None


def _json(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _folded(name: str) -> str:
    """PyPI does not distinguish case, `-`, `_` and `.` in names."""
    return re.sub(r"[-_.]+", "-", name).lower()
