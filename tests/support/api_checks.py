"""What Schemathesis checks beside its own: loaded by it (`SCHEMATHESIS_HOOKS`), never by our tests."""

from __future__ import annotations

from typing import Any

import schemathesis

FRAMING = frozenset({400, 405, 413, 414, 431})
"""About any request at all, whatever its operation: documented as `default`."""


@schemathesis.check
def status_has_an_entry_of_its_own(ctx: Any, response: Any, case: Any) -> None:
    """`default` documents every status, so Schemathesis' own check would never find one missing."""
    documented = case.operation.definition.raw["responses"]
    if response.status_code not in FRAMING:
        assert str(response.status_code) in documented, f"{response.status_code} is not documented"
