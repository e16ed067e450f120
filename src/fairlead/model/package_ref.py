"""How a fleet file names a package: `npm:@scope/name@version` or `pypi:name==version`, always pinned."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairlead.model.errors import SpecError


@dataclass(frozen=True, slots=True)
class PackageRef:
    """One version of one package; `registry` is `npm` or `pypi`."""

    registry: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.registry}:{self.name}{_PIN[self.registry]}{self.version}"


_PIN = {"npm": "@", "pypi": "=="}
_NAME = {
    "npm": r"(?:@[a-z0-9~][a-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*",
    "pypi": r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?",
}
_VERSION = {
    "npm": r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?",
    "pypi": (
        r"(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?"
        r"(?:\+[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*)?"
    ),
}
PATTERN = "^(?:" + "|".join(f"{kind}:{_NAME[kind]}{_PIN[kind]}{_VERSION[kind]}" for kind in _PIN) + ")$"


def parse_package(text: str) -> PackageRef:
    """Raises `SpecError` when the text names no package or does not pin one version of it."""
    if len(text) > 300:
        raise SpecError("no package has so long a name", "write npm:NAME@VERSION or pypi:NAME==VERSION")
    registry, _, rest = text.partition(":")
    if registry not in _PIN:
        raise SpecError(
            f"{text[:80]!r} does not say where the package comes from",
            "write npm:NAME@VERSION or pypi:NAME==VERSION",
        )
    match = re.fullmatch(f"({_NAME[registry]})(.*)", rest, re.DOTALL)
    if match is None:
        raise SpecError(
            f"{rest[:80]!r} is no name of an {registry} package", f"write {_example(registry, 'NAME')}"
        )
    name, version = match.groups()
    pin = _PIN[registry]
    if not version.startswith(pin) or not re.fullmatch(_VERSION[registry], version.removeprefix(pin)):
        lacks = "has no version" if not version else f"is not pinned by {version[:40]!r} to one version"
        raise SpecError(f"{registry}:{name} {lacks}", f"write {_example(registry, name)}")
    return PackageRef(registry, name, version.removeprefix(pin))


def _example(registry: str, name: str) -> str:
    return f"the exact version, like {PackageRef(registry, name, '1.2.3')}, not a range or a tag"
