"""Patterns of places: what they cover, which is the more specific one, what is refused."""

import time

import pytest

from fairlead.core.patterns import LONGEST, Pattern
from fairlead.model.errors import SpecError


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("servers.*.args", ("servers", "a", "args"), True),
        ("servers.*.args", ("servers", "a", "args", "deeper"), True),
        ("servers.*.args", ("servers", "a"), False),
        ("servers.*.args", ("servers", "a", "b", "args"), False),
        ("servers.*.args", ("servers", "a", "argsx"), False),
        ("servers.**.args", ("servers", "a", "b", "args"), True),
        ("servers.**.args", ("servers", "args"), True),
        ("**.env", ("env",), True),
        ("**.env", ("servers", "a", "env", "HOME"), True),
        ("**", (), True),
        ("**", ("a",), True),
        ("servers", (), False),
        ("servers.fs-*", ("servers", "fs-1"), True),
        ("servers.fs-?", ("servers", "fs-12"), False),
        ("servers.*-x-*", ("servers", "a-x-x-b"), True),
        ('metadata."a.b"', ("metadata", "a.b"), True),
        ('metadata."a.b"', ("metadata", "a", "b"), False),
        ('metadata."*"', ("metadata", "x"), False),
        ('metadata."*"', ("metadata", "*"), True),
        ('a."[name=x]".b', ("a", "[name=x]", "b"), True),
        ("a.[name=*].b", ("a", "[name=x]", "b"), True),
        ('a."x#y"', ("a", "x#y"), True),
        ("Servers", ("servers",), False),
    ],
    ids=str,
)
def test_keys_of_a_fleet(pattern, key, fits):
    assert Pattern.parse(pattern, fleet=True).matches("fleet", key) is fits


@pytest.mark.parametrize(
    ("pattern", "object_id", "key", "fits"),
    [
        (".mcp.json", ".mcp.json", (), True),
        (".mcp.json", ".mcp.json", ("a", "b"), True),
        (".mcp.json", "sub/.mcp.json", (), False),
        ("**/.mcp.json", "sub/sub/.mcp.json", (), True),
        (".claude/**", ".claude/a/b.md", (), True),
        (".claude", ".claude/a/b.md", (), True),
        (".claude/", ".claude/a/b.md", (), True),
        (".claude/*.md", ".claude/a/b.md", (), False),
        (".claude/*.md", ".claude/b.md", (), True),
        ("*.json", ".mcp.json", (), True),
        (".mcp.json#mcpServers.**", ".mcp.json", ("mcpServers", "x"), True),
        (".mcp.json#mcpServers.**", ".mcp.json", ("other",), False),
        (".mcp.json#mcpServers.**", "x.json", ("mcpServers", "x"), False),
        ("#mcpServers", "any/thing.json", ("mcpServers", "x"), True),
        (".mcp.json#", ".mcp.json", ("x",), True),
        ('#"a#b"', "x", ("a#b",), True),
    ],
    ids=str,
)
def test_places_of_files(pattern, object_id, key, fits):
    assert Pattern.parse(pattern, fleet=False).matches(object_id, key) is fits


def test_a_path_is_an_object_for_a_fleet_too():
    for text in (".claude/**", ".mcp.json", "a/b"):
        assert not Pattern.parse(text, fleet=True).matches("fleet", ("claude",))
    assert Pattern.parse("fleet#servers", fleet=True).matches("fleet", ("servers", "a"))


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("servers.a.args", "servers.*.args"),
        ("servers.a", "servers.*"),
        ("servers.fs-*", "servers.*"),
        ("servers.*", "servers.**"),
        ("servers.*", "servers"),
        ("servers.*.args", "servers.*"),
        ("servers", "**"),
        ("fleet#servers.a", "servers.a"),
        ("servers.a", "fleet#"),
        ('metadata."*"', "metadata.*"),
    ],
)
def test_the_more_specific_pattern_counts_more(more, less):
    one, other = (Pattern.parse(text, fleet=True).specificity for text in (more, less))
    assert one > other


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#",
        "a..b",
        "a. b",
        'a."b',
        "a.",
        'x"y',
        "/abs",
        "a//b",
        "../x",
        "a/./b",
        "x\0",
        "a" * (LONGEST + 1),
        '"\\x"',
    ],
    ids=lambda text: repr(text)[:12],
)
def test_what_is_no_pattern_is_refused_with_a_hint(text):
    with pytest.raises(SpecError) as refused:
        Pattern.parse(text, fleet=True)
    assert refused.value.hint


def test_no_pattern_takes_long():
    hard = ".".join(["**", "*a*a*a*a*b"] * 40)
    pattern = Pattern.parse(hard, fleet=True)
    key = tuple("a" * 60 for _ in range(200))
    start = time.process_time()
    assert not pattern.matches("fleet", key)
    assert time.process_time() - start < 10.0
