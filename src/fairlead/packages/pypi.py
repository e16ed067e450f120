"""PyPI packages: resolved and installed by uv, each into an environment of its own.

Only wheels are taken: a source distribution runs code of its own while it is built, and even while its
dependencies are looked up. Resolving is universal: the closure holds for every platform and for every Python
that Fairlead runs on. Environments are relocatable, since they are made in one place and moved to another
when whole.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

import uv

from fairlead.model.errors import ProblemError
from fairlead.model.package_ref import PackageRef
from fairlead.packages.closure import PypiClosure, PypiPackage, check_keys
from fairlead.packages.commands import Commands, Finished, environment_for
from fairlead.packages.problems import condensed, package_problem, unreachable

OLDEST_PYTHON: Final = "3.11"  # that Fairlead itself runs on: `requires-python`
_OPTIONS: Final = ("--quiet", "--no-progress", "--color=never", "--no-python-downloads")
_RESOLVE: Final = (
    "--universal", f"--python-version={OLDEST_PYTHON}", "--generate-hashes", "--only-binary=:all:",
    "--no-header", "--no-annotate", "--no-emit-index-url",
)  # fmt: skip
_INSTALL: Final = ("--require-hashes", "--only-binary=:all:", "--compile-bytecode")
_OWN_VARIABLES: Final = re.compile(
    r"UV_((DEFAULT_|EXTRA_)?INDEX(_.*)?|FIND_LINKS|INSECURE_HOST|KEYRING_PROVIDER|SYSTEM_CERTS|NATIVE_TLS|HTTP_.*"
    r"|CONFIG_FILE|NO_CONFIG|OFFLINE|EXCLUDE_NEWER)|NETRC"
)
_SHORT_WAITS: Final = {"UV_HTTP_RETRIES": "1"}
_LINE: Final = re.compile(r"(?P<key>\S+==\S+)(?: ; (?P<marker>[^#]+?))?(?P<hashes>(?: --hash=\S+)+)")
_NOT_FOUND: Final = re.compile(r"was not found in the package registry")
_NO_VERSION: Final = re.compile(r"there (?:is|are) no versions? of")
_NETWORK: Final = re.compile(r"error sending request|HTTP status|Request failed|network was disabled")


class Pypi:
    """An `Ecosystem` (see installer.py). `cache` is uv's own folder; `environ` holds the user's settings."""

    runtime = f"{sys.implementation.cache_tag} {sys.base_prefix}"  # environments link to this Python

    def __init__(self, commands: Commands, *, cache: Path, environ: Mapping[str, str]) -> None:
        self._commands = commands
        self._cache = cache
        self._environ = environ

    async def resolve(self, reference: PackageRef, folder: Path, lock: int) -> PypiClosure:
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{reference.name}=={reference.version}\n")
        command = ("pip", "compile", f"--python={sys.executable}", *_RESOLVE, str(wanted))
        finished = await self._uv(command, folder, lock)
        if finished.code:
            raise uv_problem(reference, finished)
        return closure_of(reference, finished.output)

    async def install(
        self, reference: PackageRef, closure: PypiClosure, folder: Path, lock: int
    ) -> dict[str, str]:
        requirements = folder / "requirements.txt"
        requirements.write_text(requirements_of(closure))
        python = folder / "env/bin/python"
        for command in (
            ("venv", f"--python={sys.executable}", "--relocatable", str(folder / "env")),
            ("pip", "install", f"--python={python}", *_INSTALL, f"--requirements={requirements}"),
        ):
            finished = await self._uv(command, folder, lock)
            if finished.code:
                raise uv_problem(reference, finished)
        return commands_of(reference, folder)

    async def argv(self, folder: Path, command: str) -> tuple[str, ...]:
        script = folder / command
        with script.open("rb") as content:
            is_python = content.read(2) == b"#!" and b"python" in content.readline(256) + content.readline(
                256
            )
        return (str(folder / "env/bin/python"), str(script)) if is_python else (str(script),)

    async def _uv(self, command: tuple[str, ...], folder: Path, lock: int) -> Finished:
        (folder / "uv.toml").touch()  # so that uv does not look for one in the folders above
        argv = (uv.find_uv_bin(), *command, *_OPTIONS, f"--cache-dir={self._cache}")
        environment = _SHORT_WAITS | environment_for(self._environ, _OWN_VARIABLES)
        return await self._commands.run(argv, folder=folder, environment=environment, lock=lock)


def closure_of(reference: PackageRef, requirements: str) -> PypiClosure:
    """The closure in what `uv pip compile` prints. Raises ProblemError where a line cannot be pinned."""
    closure: PypiClosure = {}
    for line in requirements.replace("\\\n", "").splitlines():
        text = " ".join(line.split())
        if not text or text.startswith("#"):
            continue
        try:
            closure |= _pinned(text)
        except ValueError as error:
            detail = f"{reference}: {condensed(text)}: {error}"
            raise package_problem("package-unsupported", "the package cannot be pinned", detail) from error
    return closure


def _pinned(line: str) -> PypiClosure:
    found = _LINE.fullmatch(line)
    if found is None:
        msg = "this is not one version with hashes from a package index"
        raise ValueError(msg)
    hashes = tuple(sorted(found["hashes"].replace("--hash=", "").split()))
    closure = {found["key"]: PypiPackage(hashes=hashes, marker=found["marker"] or "")}
    check_keys("pypi", closure)
    return closure


def requirements_of(closure: PypiClosure) -> str:
    """The requirements file that uv installs the closure from."""
    lines = []
    for requirement, package in closure.items():
        marker = f" ; {package.marker}" if package.marker else ""
        lines.append(requirement + marker + "".join(f" --hash={item}" for item in package.hashes))
    return "\n".join(lines) + "\n"


def commands_of(reference: PackageRef, folder: Path) -> dict[str, str]:
    """What the installed package put into the environment's `bin`: name to path below `folder`."""
    scripts = folder / "env/bin"
    for site in (folder / "env/lib").glob("python*/site-packages"):
        for distribution in Distribution.discover(name=reference.name, path=[str(site)]):
            located = [Path(str(file.locate())).resolve() for file in distribution.files or ()]
            return {
                path.name: str(path.relative_to(folder.resolve()))
                for path in located
                if path.parent == scripts.resolve() and path.is_file()
            }
    return {}


def uv_problem(reference: PackageRef, finished: Finished) -> ProblemError:
    """What uv's answer means, and what to do about it."""
    said = condensed(finished.errors or finished.output or f"uv exited with {finished.code}")
    detail = f"{reference}: {said}"
    if "Hash mismatch" in said or "Failed to extract" in said:  # a damaged archive is unpacked first
        detail += (
            "\nNothing was installed. If you trust the package index, pin anew with `fairlead lock --anew`"
        )
        return package_problem("integrity-mismatch", "a package is not what was pinned", detail)
    if "401 Unauthorized" in said or "403 Forbidden" in said:
        return unreachable(
            f"{detail}\nThe package index refuses us: check the login in UV_DEFAULT_INDEX or uv.toml"
        )
    if _NETWORK.search(said):
        detail += "\nCheck the network, UV_DEFAULT_INDEX or uv.toml, HTTPS_PROXY and SSL_CERT_FILE"
        return unreachable(detail)
    if _NOT_FOUND.search(said):
        detail += "\nCheck the name; for a private package, UV_DEFAULT_INDEX or uv.toml"
        return package_problem("package-not-found", "PyPI knows no such package", detail)
    if "no usable wheels" in said or "no wheels" in said:
        detail += "\nOnly wheels are installed: building from source would run the package's code"
        return package_problem("package-unsupported", "the package has no wheel", detail)
    if "as a URL dependency" in said:
        detail += "\nOnly what comes from a package index can be pinned"
        return package_problem("package-unsupported", "the package cannot be pinned", detail)
    if _NO_VERSION.search(said):
        return package_problem("version-not-found", "PyPI knows no such version", detail)
    return package_problem("install-failed", "uv cannot install the package", detail)
