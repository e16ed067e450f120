"""Names and messages, as commits have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.git.snapshot import refused_path, trailers_of


@pytest.mark.parametrize(
    ("message", "trailers"),
    [
        ("subject", {}),
        ("Fix: subject", {}),
        ("subject\n\nA: 1\nB-C: two words\n", {"A": "1", "B-C": "two words"}),
        ("subject\n\nbody\n\nA: 1", {"A": "1"}),
        ("subject\n\nA: 1\n\nbody", {}),
        ("subject\n\nA: 1\nand prose", {}),
        ("subject\n\nA:\n\n\n", {"A": ""}),
        ("", {}),
        ("\n\n\n", {}),
    ],
    ids=range(9),
)
def test_trailers(message, trailers):
    assert trailers_of(message) == trailers


@given(st.text(max_size=300))
def test_any_message_is_read(message):
    assert isinstance(trailers_of(message), dict)


@pytest.mark.parametrize(
    "path",
    ["a", "a/b.yml", ".mcp.json", ".claude/settings.json", "a b", ".github/x", ".gitignore", "é"],
)
def test_names_that_are_fine(path):
    assert refused_path(path) == ""


@pytest.mark.parametrize(
    "path",
    ["..", "a/../b", "./a", "a//b", "", "/a", "a/", ".git", "a/.GIT/config", ".git ", ".git.", "git~1",
     ".g\u200cit", "...", "a\\b", "a\nb", "a\x1b", "a\x7f", "x" * 2000, "bad\udcff"],
    ids=range(20),
)  # fmt: skip
def test_names_that_lead_elsewhere_or_deceive(path):
    assert refused_path(path)
