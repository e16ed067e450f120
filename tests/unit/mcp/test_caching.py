"""Cache hints, as they are read and as they are said."""

import json

import pytest
from msgspec import Raw

from fairlead.mcp.caching import LONGEST, CacheHint, hint_of, read_hint, strictest


@pytest.mark.parametrize(
    ("ttl", "scope", "expected"),
    [
        (1500, "public", CacheHint(1.5, public=True)),
        (0, "private", CacheHint(0.0)),
        (10**15, "private", CacheHint(LONGEST)),
        (-1, "public", None),
        (1.5, "public", None),
        (True, "public", None),
        ("10", "public", None),
        (None, "public", None),
        (10, "shared", None),
        (10, None, None),
        (10, ["public"], None),
    ],
)
def test_what_a_result_says(ttl, scope, expected):
    assert hint_of(ttl, scope) == expected
    raw = {"ttlMs": Raw(json.dumps(ttl).encode()), "cacheScope": Raw(json.dumps(scope).encode())}
    assert read_hint(raw) == expected


def test_what_says_nothing_is_no_hint():
    assert read_hint({"ttlMs": Raw(b"1")}) is None
    assert read_hint({"ttlMs": Raw(b"{"), "cacheScope": Raw(b'"public"')}) is None


def test_the_strictest_of_several():
    assert strictest([]) is None
    mixed = [CacheHint(5, public=True), CacheHint(3, public=True)]
    assert strictest(mixed) == CacheHint(3, public=True)
    assert strictest([*mixed, CacheHint(9)]) == CacheHint(3)


def test_as_members_of_a_result():
    said = json.loads(b"{" + CacheHint(0.0301, public=True).members() + b"}")
    assert said == {"ttlMs": 30, "cacheScope": "public"}
