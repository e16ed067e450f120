from __future__ import annotations

from typing import Any

import pytest

from fairlead.formats.documents import read, write
from fairlead.formats.place import DocumentError
from fairlead.formats.plain_text import BINARY
from fairlead.model.reconciling import Format


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\r\n\xc3\xa9", b"\xef\xbb\xbfx"])
def test_a_text_is_its_text(content: bytes) -> None:
    assert read(Format.TEXT, content) == {"": content.decode()}
    assert write(Format.TEXT, {"": content.decode()}) == content


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", BINARY.encode() + b"x", BINARY.encode()])
def test_anything_else_comes_back_byte_for_byte(content: bytes) -> None:
    document = read(Format.TEXT, content)
    assert document[""].startswith(BINARY)
    assert "\0" not in document[""]
    assert write(Format.TEXT, document) == content


@pytest.mark.parametrize(
    "document", [{"": 1}, {"": "x", "a": "y"}, {"a": "x"}, {}, {"": BINARY + "?"}, {"": BINARY + "é"}]
)
def test_what_is_no_text_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(DocumentError):
        write(Format.TEXT, document)
