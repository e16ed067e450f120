"""What people cannot see is written out, as JSON has it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.visible import visible


@pytest.mark.parametrize("text", ["", "plain text", "Grüße, 你好, 🎉", "a b", "한글", "e\u0301"])
def test_what_is_seen_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u200bb", "a\\u200bb"),  # zero width
        ("a\u202eb", "a\\u202eb"),  # right to left from here
        ("a\U000e0041b", "a\\udb40\\udc41b"),  # a tag character
        ("a\U000e0100b", "a\\udb40\\udd00b"),  # a variation selector
        ("\ufe0f", "\\ufe0f"),
        ("\x1b[2J", "\\u001b[2J"),
        ("a\nb", "a\\u000ab"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\u3164\uffa0", "\\u3164\\uffa0"),  # fillers of Hangul, letters to Python
        ("\u115f\u1160\u2800", "\\u115f\\u1160\\u2800"),
        ("a\u034f\u17b4\u180f", "a\\u034f\\u17b4\\u180f"),
    ],
)
def test_what_is_not_seen_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_characters_may_be_kept() -> None:
    assert visible("a\nb\u200b", keep="\n") == "a\nb\\u200b"


@given(st.text())
def test_json_means_the_same(text: str) -> None:
    assert json.loads(visible(json.dumps(text, ensure_ascii=False))) == text
