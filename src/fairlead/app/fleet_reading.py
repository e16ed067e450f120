"""Reading a fleet spec, wherever it comes from: the spec, or a problem (422) with all that is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fairlead.app.fleet_layers import complaint
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import FleetSpec
from fairlead.model.spec_problem import Loaded
from fairlead.stores.fleet_file import load
from fairlead.stores.yaml_tree import MAX_BYTES

_MOST_SHOWN: Final = 20  # errors in a problem's text; its `problems` has all
_SURROGATES: Final = re.compile(
    rb"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)


def problem(code: str, title: str, detail: str, status: int, **extra: Any) -> ProblemError:
    return ProblemError(Problem(code, title, detail, status, Fault.CLIENT, extra=extra))


def content_of(path: Path) -> bytes | None:
    """As much of the file as `watch` yields of it; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return None


def spec_of_body(content: bytes) -> FleetSpec:
    """The spec in a request's body. JSON is YAML, but for characters that it may write as two escapes."""

    def joined(match: re.Match[bytes]) -> bytes:
        pair = match[2].decode("unicode-escape")
        return match[1] + pair.encode("utf-16", "surrogatepass").decode("utf-16").encode()

    return spec_of_file(load(_SURROGATES.sub(joined, content), "body"))


def spec_of_file(loaded: Loaded) -> FleetSpec:
    """Problems name the line."""
    if loaded.spec is None:
        raise _invalid("fleet-file-invalid", "Fleet file invalid", [*map(str, loaded.errors)])
    return loaded.spec


def spec_of_edit(loaded: Loaded) -> FleetSpec:
    """Problems name the key only: there is no text with lines."""
    if loaded.spec is None:
        raise _invalid("edit-invalid", "Edit invalid", [*map(complaint, loaded.errors)])
    return loaded.spec


def _invalid(code: str, title: str, errors: Sequence[str]) -> ProblemError:
    more = [f"and {len(errors) - _MOST_SHOWN} more"] if len(errors) > _MOST_SHOWN else []
    return problem(code, title, "\n".join([*errors[:_MOST_SHOWN], *more]), 422, problems=[*errors])
