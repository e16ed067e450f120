"""Versions of tools: found in what a tool says of itself, compared with the range that is declared. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from fairlead.model.errors import SpecError
from fairlead.model.gitops import Tools

REGISTRIES: Final = ("npm", "pypi")

_LONGEST: Final = 200
_VERSION: Final = re.compile(r"(?<![\w.])v?([0-9]+(?:\.[0-9]+)+(?:[-+.]?[0-9A-Za-z]+)*)")
_NAME: Final = re.compile(r"(?:@[a-z0-9~][a-z0-9._~-]*/)?[A-Za-z0-9~](?:[A-Za-z0-9._~-]*[A-Za-z0-9])?")
_HINT: Final = "write it like >=22, ~=4.3, ==2026.8.31 or >=3.11,<4"


def wanted(tools: Tools) -> Iterator[tuple[str, str]]:
    """What is declared: `node` or `npm:NAME`, and the range."""
    single = {
        "node": tools.node,
        "python": tools.python,
        "claude": tools.claude,
        "superclaude": tools.superclaude,
    }
    yield from ((name, said) for name, said in single.items() if said is not None)
    yield from tools.packages.items()


def check_range(text: str) -> SpecifierSet:
    """Raises `SpecError`."""
    try:
        if len(text) <= _LONGEST and (found := SpecifierSet(text, prereleases=True)):
            return found
    except InvalidSpecifier:
        pass
    hint = f"{_HINT}, with an operator" if re.match(r"\s*v?[0-9]", text) else _HINT
    raise SpecError(f"{text[:80]!r} is no range of versions", hint)


def check_package(text: str) -> tuple[str, str]:
    """The registry and the name. Raises `SpecError`."""
    registry, _, name = text.partition(":")
    if registry not in REGISTRIES or len(text) > _LONGEST or not _NAME.fullmatch(name):
        raise SpecError(f"{text[:80]!r} is no package", "write npm:NAME or pypi:NAME")
    return registry, name


def version_in(text: str) -> str | None:
    """The first version in what a tool prints: `v24.1.0`, `2.1.4 (Claude Code)`, `SuperClaude 4.3.0`."""
    found = _VERSION.search(text[:10_000])
    return found[1] if found else None


def misfit(wanted_range: str, installed: str | None) -> str:
    """Why the installed version does not do; empty if it does. Raises `SpecError` for a malformed range."""
    accepted = check_range(wanted_range)
    if installed is None:
        return "it is not installed"
    try:
        version = Version(installed)
    except InvalidVersion:
        return f"its version {installed[:80]!r} cannot be compared"
    return "" if version in accepted else f"{installed} is installed, {wanted_range} is wanted"
