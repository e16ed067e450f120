"""Three texts merged by lines."""

import time

import pytest

from fairlead.core.merge_text import MOST_CHANGES, merge_text

BASE = "one\ntwo\nthree\nfour\nfive\n"


@pytest.mark.parametrize(
    ("live", "desired", "merged"),
    [
        pytest.param("ONE\ntwo\nthree\nfour\nfive\n", BASE, "ONE\ntwo\nthree\nfour\nfive\n", id="one-side"),
        pytest.param(
            "ONE\ntwo\nthree\nfour\nfive\n",
            "one\ntwo\nthree\nfour\nFIVE\n",
            "ONE\ntwo\nthree\nfour\nFIVE\n",
            id="apart",
        ),
        pytest.param(
            "zero\n" + BASE, BASE + "six\n", "zero\n" + BASE + "six\n", id="insertions-at-both-ends"
        ),
        pytest.param(
            "one\nthree\nfour\nfive\n", "one\ntwo\nthree\nfive\n", "one\nthree\nfive\n", id="removals-apart"
        ),
        pytest.param("one\nX\nthree\nfour\nfive\n", "one\nY\nthree\nfour\nfive\n", None, id="same-line"),
        pytest.param("one\nX\nthree\nfour\nfive\n", "one\ntwo\nY\nfour\nfive\n", None, id="neighbours"),
        pytest.param(
            "one\ntwo\nX\nthree\nfour\nfive\n", "one\ntwo\nY\nthree\nfour\nfive\n", None, id="same-place"
        ),
        pytest.param(
            "one\nX\nthree\nfour\nfive\nL\n",
            "D\none\nX\nthree\nfour\nfive\n",
            "D\none\nX\nthree\nfour\nfive\nL\n",
            id="the-same-change-on-both-sides",
        ),
        pytest.param("", "one\nX\nthree\nfour\nfive\n", None, id="all-removed-against-a-change"),
        pytest.param(
            "one\r\ntwo\nthree\nfour\nfive\n", BASE + "6", "one\r\ntwo\nthree\nfour\nfive\n6", id="line-ends"
        ),
    ],
)
def test_both_sides_changes_are_taken_where_they_do_not_touch(live, desired, merged):
    assert merge_text(BASE, live, desired) == merged
    assert merge_text(BASE, desired, live) == merged


def test_a_text_without_a_last_line_end_conflicts_where_both_go_on():
    assert merge_text("a\nb", "a\nb\nc", "a\nb\nd") is None
    assert merge_text("a\n\nb", "a\n\nb\nc", "A\n\nb") == "A\n\nb\nc"


def test_a_side_that_changed_very_much_is_a_conflict_and_found_quickly():
    base = "".join(f"{line}\n" for line in range(20_000))
    live = "".join(f"{line * 7 % 20_000}\n" for line in range(20_000))
    start = time.process_time()
    assert merge_text(base, live, base + "more\n") is None
    assert time.process_time() - start < 25.0
    assert merge_text(base, live, base) == live, "nobody else changed anything"
    few = "".join(f"x{line}\n" if line % 100 == 0 else f"{line}\n" for line in range(20_000))
    assert MOST_CHANGES > 2 * 200
    assert merge_text(base, few, base + "more\n") == few + "more\n"
