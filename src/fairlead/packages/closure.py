"""A closure: every package that one package needs, each at one version with the hash of its content."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

_INTEGRITY: Final = re.compile(
    r"sha(?:256|384|512)-[A-Za-z0-9+/]+={0,2}(?:\s+sha(?:1|256|384|512)-[\w+/=]+)*"
)
_HASH: Final = re.compile(r"sha(?:256|384|512):[0-9a-f]{64,128}")
_REQUIREMENT: Final = re.compile(r"[A-Za-z0-9][\w.-]*==[0-9A-Za-z.!+_-]+", re.ASCII)
_MARKER: Final = re.compile(r"[\w .'\"=<>!()~,-]*", re.ASCII)
_FOLDER: Final = r"node_modules/(?:@[\w~-][\w.~-]*/)?[\w~-][\w.~-]*"
_PATH: Final = re.compile(rf"{_FOLDER}(?:/{_FOLDER})*", re.ASCII)


class NpmPackage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel", kw_only=True
):
    """What package-lock.json (version 3) says of one folder, as far as `npm ci` needs it.

    `integrity` is empty only for what lies inside another package's archive (`in_bundle`).
    """

    version: str
    integrity: str = ""
    name: str = ""  # where the folder is named otherwise (an alias)
    optional: bool = False
    peer: bool = False
    in_bundle: bool = False
    has_shrinkwrap: bool = False
    os: list[str] = []
    cpu: list[str] = []
    libc: list[str] = []
    dependencies: dict[str, str] = {}
    optional_dependencies: dict[str, str] = {}
    peer_dependencies: dict[str, str] = {}
    peer_dependencies_meta: dict[str, dict[str, bool]] = {}
    bundle_dependencies: list[str] | bool = []

    def __post_init__(self) -> None:
        if not self.in_bundle and not _INTEGRITY.fullmatch(self.integrity):
            msg = "no integrity (a hash of SHA-256 or better)"
            raise ValueError(msg)


class PypiPackage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One requirement: the hashes of all its files, and the environment marker that says where it holds."""

    hashes: tuple[str, ...]
    marker: str = ""

    def __post_init__(self) -> None:
        if not self.hashes or not all(_HASH.fullmatch(item) for item in self.hashes):
            msg = "no hashes (sha256:..., or better)"
            raise ValueError(msg)
        if not _MARKER.fullmatch(self.marker):
            msg = f"{self.marker!r} is not an environment marker"
            raise ValueError(msg)


NpmClosure = dict[str, NpmPackage]  # by path below the folder: node_modules/a/node_modules/@b/c
PypiClosure = dict[str, PypiPackage]  # by requirement: name==version
Closure = NpmClosure | PypiClosure


def check_keys(ecosystem: str, closure: Closure) -> None:
    """Raises ValueError: the keys go into files that npm and uv read, so they must be what they seem."""
    shape = _PATH if ecosystem == "npm" else _REQUIREMENT
    for key in closure:
        if not shape.fullmatch(key):
            msg = f"{key!r} is not a {'path' if ecosystem == 'npm' else 'requirement'} that can be installed"
            raise ValueError(msg)


def digest(closure: Closure, platform: str) -> str:
    """Names an installation: the same for the same content on the same kind of platform."""
    content = msgspec.json.encode((platform, closure), order="sorted")
    return hashlib.sha256(content).hexdigest()[:16]
