"""What can go wrong with packages, as problems; and the output of npm and uv made fit to be shown."""

from __future__ import annotations

import re
from typing import Final

from fairlead.model.errors import Fault, Problem, ProblemError

RETRY_AFTER: Final = 30.0  # s, where the network or the registry may come back
_SECRETS: Final = (
    (re.compile(r"(?<=://)[^/@\s]*@"), "***@"),
    (re.compile(r"(://[^\s?]*\?)\S+"), r"\1***"),
    (re.compile(r"(?i)(_auth\w*|_password)(\s*=\s*)\S+"), r"\1\2***"),
    (re.compile(r"\b(?:npm_|pypi-Ag)[A-Za-z0-9_-]{20,}"), "***"),
)
_MOST_SHOWN: Final = 1200  # characters


def package_problem(code: str, title: str, detail: str, *, retry_after: float | None = None) -> ProblemError:
    """A fault of the package, its registry or this machine: never of the caller.

    Codes: package-invalid, package-not-found, version-not-found, package-unsupported, registry-unreachable,
    integrity-mismatch, no-entry, node-not-found, install-failed, lock-invalid.
    """
    status = 503 if retry_after is not None else 502
    return ProblemError(Problem(code, title, detail, status, Fault.UPSTREAM, retry_after))


def unreachable(detail: str) -> ProblemError:
    title = "the package registry cannot be reached"
    return package_problem("registry-unreachable", title, detail, retry_after=RETRY_AFTER)


def condensed(output: str) -> str:
    """The output of a tool as a few lines without secrets: blank, repeated and stack lines left out."""
    lines: list[str] = []
    for line in output.splitlines():
        text = line.strip()
        if text and text not in lines and not text.startswith(("at ", "hint: See")):
            lines.append(text)
    text = "\n".join(lines)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + " ..."
