"""Reading a fleet spec, wherever it comes from: the spec, or a problem (422) with all that is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fairlead.formats.yaml_tree import MAX_BYTES
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import FleetSpec
from fairlead.model.spec_problem import Loaded, SpecProblem
from fairlead.stores.fleet_file import load

_MOST_SHOWN: Final = 20  # errors in a problem's text; its `problems` has all
_SURROGATES: Final = re.compile(
    rb"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_NOT_YAML: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON may hold as it is, and YAML refuses or takes for the end of a line."""


@dataclass(frozen=True, slots=True)
class Stated:
    """A spec, and the document that states it, in the words of whoever wrote it."""

    spec: FleetSpec = field(default_factory=FleetSpec)
    said: dict[str, Any] = field(default_factory=dict, repr=False)


def problem(code: str, title: str, detail: str, status: int, **extra: Any) -> ProblemError:
    return ProblemError(Problem(code, title, detail, status, Fault.CLIENT, extra=extra))


def content_of(path: Path) -> bytes | None:
    """As much of the file as `watch` yields of it; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return None


def spec_of_body(content: bytes) -> Stated:
    """The spec in a request's body, which is JSON."""
    return spec_of_file(load(_as_yaml(content) if len(content) <= MAX_BYTES else content, "body"))


def _as_yaml(content: bytes) -> bytes:
    """JSON is YAML, but for characters that it may write as two escapes or need not escape."""

    def joined(match: re.Match[bytes]) -> bytes:
        pair = match[2].decode("unicode-escape")
        return match[1] + pair.encode("utf-16", "surrogatepass").decode("utf-16").encode()

    content = _SURROGATES.sub(joined, content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content  # the loader says where
    return _NOT_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def spec_of_file(loaded: Loaded) -> Stated:
    """Problems name the line."""
    if loaded.spec is None:
        raise _invalid("fleet-file-invalid", "Fleet file invalid", [*map(str, loaded.errors)])
    return Stated(loaded.spec, loaded.said)


def spec_of_edit(loaded: Loaded) -> FleetSpec:
    """Problems name the key only: there is no text with lines."""
    if loaded.spec is None:
        raise _invalid("edit-invalid", "Edit invalid", [*map(complaint, loaded.errors)])
    return loaded.spec


def complaint(problem: SpecProblem) -> str:
    """A problem of a document that nobody wrote as text, so without line and column."""
    text = f"{problem.path}: {problem.message}" if problem.path else problem.message
    return text + (f"; {problem.hint}" if problem.hint else "")


def _invalid(code: str, title: str, errors: Sequence[str]) -> ProblemError:
    more = [f"and {len(errors) - _MOST_SHOWN} more"] if len(errors) > _MOST_SHOWN else []
    return problem(code, title, "\n".join([*errors[:_MOST_SHOWN], *more]), 422, problems=[*errors])
