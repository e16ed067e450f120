"""Layers, patterns, texts, windows and prunings: what holds whatever they are given."""

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.crontab import parse_schedule
from fairlead.core.layers import merge, merge_with_origins
from fairlead.core.merge_text import merge_text
from fairlead.core.overrides import ABSENT, key_text, lookup
from fairlead.core.patterns import Pattern
from fairlead.core.pruning import Setting, judge
from fairlead.core.windows import is_open
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Environment, Prune, Window
from fairlead.model.reconciling import Case, Difference

NAMES = st.sampled_from(["a", "b", "c"])
ATOMS = st.none() | st.integers(0, 2) | st.just([1]) | st.just([None])
VALUES = st.recursive(ATOMS, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)
LAYERS = st.dictionaries(NAMES, VALUES, max_size=3)


def nulls(value):
    return value is None or (isinstance(value, dict) and any(map(nulls, value.values())))


@given(LAYERS, LAYERS, LAYERS)
def test_layers_can_be_merged_in_any_grouping(one, two, three):
    assert merge([merge([one, two]), three]) == merge([one, two, three])
    assert merge([one, one]) == merge([one]) == merge([{}, one])


@given(st.lists(LAYERS, max_size=4))
def test_no_null_is_left_and_each_leaf_is_from_a_layer_that_says_it(layers):
    named = [(str(number), layer) for number, layer in enumerate(layers)]
    merged, origins = merge_with_origins(named)
    assert merged == merge(layers)
    assert not nulls(merged)
    for key, name in origins.items():
        said = lookup(layers[int(name)], key)
        value = lookup(merged, key)
        assert said == value or (value == {} and isinstance(said, dict) and said is not ABSENT)


@given(st.lists(LAYERS, min_size=1, max_size=4))
def test_what_the_last_layer_says_holds(layers):
    def holds(said, value):
        if isinstance(said, dict):
            return isinstance(value, dict) and all(
                holds(item, value.get(name, ABSENT)) for name, item in said.items()
            )
        return said is None or said == value

    assert holds(layers[-1], merge(layers))


PARTS = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*b", "?"])


def as_expression(parts):
    """The same pattern as a regular expression over parts that end with a slash."""
    whole = ""
    for part in parts:
        if part == "**":
            whole += "(?:[^/]*/)*"
        else:
            whole += re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") + "/"
    return re.compile(whole + "(?:[^/]*/)*")


@given(
    st.lists(PARTS, min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "b", "ab", "aab", ""]), max_size=5),
)
def test_a_pattern_means_what_its_regular_expression_does(parts, key):
    pattern = Pattern.parse("#" + ".".join(parts), fleet=False)
    expected = as_expression(parts).fullmatch("".join(f"{part}/" for part in key)) is not None
    assert pattern.matches("x", tuple(key)) is expected


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3).map(tuple), st.text())
def test_a_key_as_it_is_written_is_a_pattern_of_itself(key, more):
    pattern = Pattern.parse(f"#{key_text(key)}", fleet=False)
    assert pattern.matches("x", key)
    assert pattern.matches("x", (*key, more))
    assert not pattern.matches("x", key[:-1])


@given(st.text(alphabet='ab.*?"#/\\ []=', max_size=12), st.booleans())
def test_any_text_is_a_pattern_or_refused(text, fleet):
    try:
        pattern = Pattern.parse(text, fleet=fleet)
    except SpecError as error:
        assert error.hint  # noqa: PT017 - most texts are refused
    else:
        assert isinstance(pattern.matches("a/b", ("a", "b")), bool)


TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d\n"]), max_size=8).map("".join)


@given(TEXTS, TEXTS, TEXTS)
def test_texts_merge_alike_from_both_sides_and_keep_each_sides_new_lines(base, live, desired):
    merged = merge_text(base, live, desired)
    assert merged == merge_text(base, desired, live)
    assert merge_text(base, base, desired) == desired
    assert merge_text(base, live, base) == live
    assert merge_text(base, live, live) == live
    if merged is not None and live != desired:
        added = len(live) + len(desired) - len(base)
        assert len(merged) >= added or set(live.splitlines()) & set(desired.splitlines()) or not base


@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.integers(1, 26 * 60),
    st.integers(0, 365 * 86_400).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s)),
)
def test_a_daily_window_is_open_exactly_after_its_starts(minute, hour, length, now):
    window = Window(schedule=f"{minute} {hour} * * *", duration=length * 60.0)
    opened, change = is_open([window], now.timestamp())
    starts = [
        now.replace(hour=hour, minute=minute, second=0, microsecond=0) - timedelta(days=n)
        for n in (-1, 0, 1, 2)
    ]
    assert opened == any(start <= now < start + timedelta(minutes=length) for start in starts)
    if length < 24 * 60:
        assert change is not None
        assert change > now.timestamp()
        assert is_open([window], change)[0] is not opened
        assert is_open([window], change - 0.5)[0] is opened


FIELD = st.text(alphabet="0123456789*/-,", min_size=1, max_size=6)


@given(st.lists(FIELD | st.just("*"), min_size=5, max_size=5))
@settings(max_examples=300)
def test_any_schedule_is_understood_or_refused(fields):
    try:
        schedule = parse_schedule(" ".join(fields))
    except SpecError:
        return
    assert set(schedule.minutes) <= set(range(60))
    assert set(schedule.hours) <= set(range(24))
    assert schedule.months <= set(range(1, 13))


@given(
    st.lists(st.floats(0.0, 100.0), max_size=12),
    st.integers(0, 12),
    st.integers(0, 100),
    st.integers(0, 20),
    st.floats(0.001, 50.0),
)
def test_never_is_more_removed_than_allowed(seen, max_count, max_percent, total, grace):
    removals = [Difference(f"f{n}", (), Case.DEPLOY, {}, {}, ABSENT) for n in range(len(seen))]
    first_seen = {each.object: at for each, at in zip(removals, seen, strict=True)}
    prune = Prune(max_count=max_count, max_percent=max_percent, grace=grace)
    setting = Setting(prune, Environment.STAGING, total, nothing_desired=False, confirmed=False)
    verdict = judge(removals, setting, lambda each: first_seen[each.object], 100.0)
    gone = [each for each in removals if each not in verdict.waiting]
    assert len(gone) <= max_count
    assert total < 4 or len(gone) * 100 <= max_percent * total
    assert all(first_seen[each.object] + grace <= 100.0 for each in gone)
    assert bool(verdict.waiting) == bool(verdict.message)
