"""The lock file: closures of packages and contracts of tools, in a text that reads well in a diff.

Two files have this form. The *committed* one lies beside the fleet file and holds for the team; running
only reads it. The *local* one lies in the state folder and takes what the committed one does not name, so
that running never changes a checkout. Neither names a host: where packages come from is everybody's own
configuration, what they are is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from fairlead.core.contracts import Contract, LockedContracts
from fairlead.core.visible import visible
from fairlead.model.errors import ProblemError
from fairlead.model.package_ref import PackageRef, parse_package
from fairlead.packages.closure import Closure, NpmClosure, PypiClosure, check_keys
from fairlead.packages.files import alone, write_whole
from fairlead.packages.problems import package_problem
from fairlead.packages.tool_lines import EntryError, contract_of_entry, entry_of

FORMAT: Final = 2  # the first with contracts; what has none is written so that older ones read it
ABOUT: Final = (
    "Every package that the servers need, by exact version and content. Written by `fairlead lock`."
)
ABOUT_CONTRACTS: Final = " And what each tool was when `fairlead lock --update` looked at it last."

Closures = dict[PackageRef, Closure]
_T = TypeVar("_T")


class _Head(msgspec.Struct):
    format: int


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    about: str = ""
    contracts: msgspec.Raw = msgspec.Raw(b"{}")  # packages are found whatever is wrong with these
    npm: dict[str, NpmClosure] = {}
    pypi: dict[str, PypiClosure] = {}


_DECODE_HEAD: Final = msgspec.json.Decoder(_Head)
_DECODE: Final = msgspec.json.Decoder(_Content)
_DECODE_CONTRACTS: Final = msgspec.json.Decoder(dict[str, dict[str, dict[str, Any]]])


def encode(closures: Mapping[PackageRef, Closure], contracts: LockedContracts | None = None) -> bytes:
    """The same content always gives the same text: sorted, a line for each package and each tool."""
    content: dict[str, Any] = {"about": ABOUT, "format": 1, "npm": {}, "pypi": {}}
    for reference in sorted(closures, key=str):
        content[reference.registry][str(reference)] = closures[reference]
    if contracts:
        tools = {
            server: {tool: msgspec.Raw(entry_of(contract)) for tool, contract in tools.items()}
            for server, tools in contracts.items()
        }
        content |= {"about": ABOUT + ABOUT_CONTRACTS, "format": FORMAT, "contracts": tools}
    return ("\n".join(map(visible, _lines(content, depth=3))) + "\n").encode()


def _lines(value: Any, *, depth: int) -> list[str]:
    """JSON with `depth` levels of objects spread over lines, what is deeper on one line."""
    if depth < 0 or not isinstance(value, dict) or not value:
        return [msgspec.json.encode(value, order="sorted").decode()]
    lines = ["{"]
    for number, key in enumerate(sorted(value), start=1):
        first, *rest = _lines(value[key], depth=depth - 1)
        comma = "," if number < len(value) else ""
        inner = [f"{msgspec.json.encode(key).decode()}: {first}", *rest]
        lines += ["  " + line for line in inner[:-1]] + [f"  {inner[-1]}{comma}"]
    return [*lines, "}"]


def decode(content: bytes) -> Closures:
    """Raises ValueError that says what is wrong and how to mend it."""
    found = _decoded(content)
    closures: Closures = {}
    for ecosystem, part in (("npm", found.npm), ("pypi", found.pypi)):
        for text, closure in part.items():
            reference = parse_package(text)
            if reference.registry != ecosystem:
                msg = f"{text} stands among the {ecosystem} packages; delete the file and run `fairlead lock`"
                raise ValueError(msg)
            check_keys(ecosystem, closure)
            closures[reference] = closure
    return closures


def decode_contracts(content: bytes) -> LockedContracts:
    """The same of the contracts."""
    entries = "its part `contracts`"
    try:
        servers = _DECODE_CONTRACTS.decode(_decoded(content).contracts)
        contracts: dict[str, dict[str, Contract]] = {}
        for server, tools in servers.items():
            for tool, entry in tools.items():
                entries = f"contracts.{server}.{tool[:100]}"
                contracts.setdefault(server, {})[tool] = contract_of_entry(tool, entry)
            contracts.setdefault(server, {})
    except (msgspec.DecodeError, EntryError) as error:
        mend = "take `contracts` out of it and run `fairlead lock --update`"
        msg = f"{entries}: {error}; {mend}"
        raise ValueError(msg) from error
    return contracts


def _decoded(content: bytes) -> _Content:
    try:
        version = _DECODE_HEAD.decode(content).format
        if version > FORMAT:
            msg = f"it has format {version}, written by a newer Fairlead; this one reads {FORMAT}: update it"
            raise ValueError(msg)
        return _DECODE.decode(content)
    except msgspec.DecodeError as error:
        conflict = " (it holds the marks of a merge conflict)" if b"\n<<<<<<< " in b"\n" + content else ""
        msg = f"{error}{conflict}; delete it and run `fairlead lock`"
        raise ValueError(msg) from error


class LockFiles:
    """The committed lock file and the local one. Files are read anew each time: they are small."""

    def __init__(self, *, committed: Path, local: Path) -> None:
        self.committed = committed
        self.local = local

    def __repr__(self) -> str:
        return f"LockFiles(committed={str(self.committed)!r}, local={str(self.local)!r})"

    def find(self, reference: PackageRef) -> Closure | None:
        """What is pinned: the team's choice before this machine's. Raises ProblemError `lock-invalid`."""
        closure = self.read_committed().get(reference)
        return self.read_local().get(reference) if closure is None else closure

    def read_committed(self) -> Closures:
        return _read(self.committed, decode) or {}

    def read_local(self) -> Closures:
        return _read(self.local, decode) or {}

    def read_contracts(self) -> LockedContracts:
        """What the team's tools were when somebody looked last."""
        return _read(self.committed, decode_contracts) or {}

    async def remember(self, reference: PackageRef, closure: Closure) -> None:
        """Add to the local lock file, whoever else does so at the same time."""
        async with alone(self.local.with_name(f"{self.local.name}.writer"), lambda: None):
            write_whole(self.local, encode({**self.read_local(), reference: closure}))

    def commit(self, closures: Mapping[PackageRef, Closure]) -> None:
        """Write the packages of the committed lock file: these closures and no others."""
        self._commit(closures, self.read_contracts())

    def commit_contracts(self, contracts: LockedContracts) -> None:
        """Write the contracts of the committed lock file: these and no others."""
        self._commit(self.read_committed(), contracts)

    def _commit(self, closures: Mapping[PackageRef, Closure], contracts: LockedContracts) -> None:
        content = encode(closures, contracts)
        if not self.committed.exists() or self.committed.read_bytes() != content:
            write_whole(self.committed, content)


def _read(path: Path, decoded: Callable[[bytes], _T]) -> _T | None:
    try:
        return decoded(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _invalid(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _invalid(path, str(error)) from error


def _invalid(path: Path, why: str) -> ProblemError:
    return package_problem("lock-invalid", "the lock file cannot be used", f"{path}: {why}")
