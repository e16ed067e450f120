"""Grants: a denial wins, order says nothing, and what is chosen is all there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.access import may_read, may_use
from fairlead.model.access import Effect, Grant

NAMES = ("a", "ab", "b", "[a]", "read_file")
PATTERNS = st.sampled_from((*NAMES, "*", "a*", "?", "*b", "[ab]", "read_*"))
CHOICES = st.lists(PATTERNS, min_size=1, max_size=2).map(tuple)
NAME = st.sampled_from(NAMES)
TOOLSET = st.none() | NAME


@st.composite
def grants(draw, effect=None):
    return Grant(
        draw(st.sampled_from(Effect)) if effect is None else effect,
        servers=draw(CHOICES),
        toolsets=draw(st.just(("*",)) | CHOICES),
        tools=draw(st.just(("*",)) | CHOICES),
    )


LISTS = st.lists(grants(), max_size=4).map(tuple)
ALLOWING = st.lists(grants(Effect.ALLOW), min_size=1, max_size=3).map(tuple)


@given(NAME, NAME, TOOLSET)
def test_without_grants_everything_may_be_used(server, tool, toolset):
    assert may_use((), server, tool, toolset)
    assert may_use((), server, None, toolset)
    assert may_read((), server, toolset)


@given(LISTS, grants(Effect.DENY), NAME, NAME | st.none(), TOOLSET)
def test_a_denial_never_gives_anything(some, denial, server, tool, toolset):
    if not may_use(some, server, tool, toolset):
        assert not may_use((*some, denial), server, tool, toolset)
    if not may_read(some, server, toolset):
        assert not may_read((*some, denial), server, toolset)


@given(ALLOWING, grants(Effect.ALLOW), NAME, NAME | st.none(), TOOLSET)
def test_a_further_allowance_never_takes_anything(some, more, server, tool, toolset):
    if may_use(some, server, tool, toolset):
        assert may_use((*some, more), server, tool, toolset)
    if may_read(some, server, toolset):
        assert may_read((*some, more), server, toolset)


@given(LISTS, st.randoms(use_true_random=False), NAME, NAME, TOOLSET)
def test_the_order_says_nothing(some, chance, server, tool, toolset):
    other = list(some)
    chance.shuffle(other)
    assert may_use(some, server, tool, toolset) == may_use(tuple(other), server, tool, toolset)
    assert may_read(some, server, toolset) == may_read(tuple(other), server, toolset)


@given(LISTS, NAME, NAME, TOOLSET)
def test_who_may_use_a_tool_sees_its_server(some, server, tool, toolset):
    if may_use(some, server, tool, toolset):
        assert may_use(some, server, None, toolset)


@given(LISTS, NAME, TOOLSET)
def test_who_may_read_sees_the_server(some, server, toolset):
    if may_read(some, server, toolset):
        assert may_use(some, server, None, toolset)


@given(ALLOWING, NAME, NAME, TOOLSET)
def test_where_anything_is_allowed_nothing_else_is(some, server, tool, toolset):
    """Word by word, against the simplest way to say it."""

    def named(name, patterns):
        if name is None:
            return "*" in patterns
        return any(_matches(name, pattern) for pattern in patterns)

    covered = any(
        named(server, each.servers)
        and named(tool, each.tools)
        and (named(toolset, each.toolsets) if toolset is not None else "*" in each.toolsets)
        for each in some
    )
    assert may_use(some, server, tool, toolset) == covered


@given(CHOICES, NAME, NAME)
def test_a_denied_tool_is_denied_by_every_way(patterns, server, tool):
    denial = Grant(Effect.DENY, tools=patterns)
    if any(_matches(tool, pattern) for pattern in patterns):
        for toolset in (None, *NAMES):
            assert not may_use((denial,), server, tool, toolset)


def _matches(name: str, pattern: str) -> bool:
    """`*` and `?` alone are special."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return _matches(name, pattern[1:]) or (bool(name) and _matches(name[1:], pattern))
    return bool(name) and pattern[0] in ("?", name[0]) and _matches(name[1:], pattern[1:])
