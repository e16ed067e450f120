"""Which contracts come out of a server's lists."""

from __future__ import annotations

import pytest

from fairlead.app.tool_reading import _readable
from fairlead.model.errors import ProblemError
from fairlead.orchestrator.catalogue import Catalogue, Item


def test_a_tool_that_cannot_be_read_has_no_contract() -> None:
    tools = (
        Item("a", b'{"name":"a","title":"A"}'),
        Item("b", b'{"name":"b","inputSchema":{"maximum":1e999}}'),
    )
    assert _readable(Catalogue({"tools": tools})) == {"a": {"name": "a"}}


def test_tools_that_cannot_be_listed_are_not_no_tools() -> None:
    with pytest.raises(ProblemError, match="its tools cannot be listed: boom"):
        _readable(Catalogue({"prompts": ()}, unread={"tools": "boom"}))
