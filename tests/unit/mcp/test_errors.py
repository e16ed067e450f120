"""JSON-RPC errors: what a server told in one is taken out of all of it."""

from __future__ import annotations

import msgspec
import pytest

from fairlead.mcp.errors import McpError


def conceal(text: str) -> str:
    return text.replace("hunter2", "[redacted]")


@pytest.mark.parametrize(
    "data",
    [
        {"env": {"PASSWORD": "hunter2"}, "list": ["a hunter2", 7, None, True]},
        msgspec.Raw(b'{"env": {"PASSWORD": "hunter2"}, "list": ["a hunter2", 7, null, true]}'),
    ],
)
def test_a_secret_is_taken_out_of_the_message_and_of_data_however_deep(data: object) -> None:
    error = McpError(-32001, "no luck with hunter2", data, status=418).concealed(conceal)
    assert (error.code, error.message, error.status) == (-32001, "no luck with [redacted]", 418)
    assert error.data == {"env": {"PASSWORD": "[redacted]"}, "list": ["a [redacted]", 7, None, True]}


def test_names_of_members_are_texts_too() -> None:
    assert McpError(1, "", {"hunter2": 1}).concealed(conceal).data == {"[redacted]": 1}


def test_an_error_without_a_secret_stays_as_it_is_to_the_byte() -> None:
    error = McpError(-32602, "no", msgspec.Raw(b'{"a" : 1.0e2}'))
    assert error.concealed(conceal) is error
    assert b'{"a" : 1.0e2}' in error.encode()
