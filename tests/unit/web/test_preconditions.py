from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.model.errors import ProblemError
from fairlead.web.preconditions import entity_tag, expected_tag

ETAG_TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f'))
BLANK = st.text(" \t", max_size=3)


def refusal(*lines: str, tag: str = "7") -> tuple[int, str]:
    with pytest.raises(ProblemError) as refused:
        expected_tag(lines, tag)
    return refused.value.problem.status, refused.value.problem.detail


@pytest.mark.parametrize(
    "lines",
    [
        ['"7"'],
        ['"6", "7"'],
        ['"6"', '"7"'],
        [' "7" ,'],
        [',, "x" ,\t"7"'],
        ['W/"7", "7"'],
        ['"a,b", "7"'],
        ['"","7"'],
    ],
)
def test_a_tag_of_the_present_spec_is_the_one_that_is_expected(lines):
    assert expected_tag(lines, "7") == "7"


@pytest.mark.parametrize("line", ["*", " * ", "\t*"])
def test_a_star_takes_any(line):
    assert expected_tag([line], "7") is None


@pytest.mark.parametrize(
    "lines",
    [
        ['"6"'],
        ['"07"'],
        ['"70"'],
        ['W/"7"'],
        ['"a", W/"7"'],
        ['""'],
        ['"*"'],
        ['"\xe9"'],
        ['"6,7"'],
    ],
)
def test_what_names_another_spec_is_412_and_says_which_it_is(lines):
    status, detail = refusal(*lines)
    assert status == 412
    assert 'the present spec, which is "7"' in detail


@pytest.mark.parametrize(
    "lines",
    [
        [""], [" "], [","], ["7"], ['"7'], ['7"'], ['"7" "8"'], ['"7";'], ['w/"7"'], ['W/ "7"'], ["W/7"],
        ["'7'"], ["*, *"], ['*, "7"'], ['"7"', "*"], ["**"], ['"a b"'], ['"7"\n'], ['"\x7f"'], ['"7" x'],
    ],
)  # fmt: skip
def test_what_is_no_list_of_tags_is_422_and_says_how_to_write_it(lines):
    status, detail = refusal(*lines)
    assert status == 422
    assert 'write * or the ETag of GET /api/fleet with its quotes, such as "3f9c2a71-7"' in detail


def test_none_at_all_is_428():
    status, detail = refusal()
    assert status == 428
    assert "GET /api/fleet" in detail


@given(tag=st.from_regex(r"[0-9a-f]{8}-[0-9]{1,9}", fullmatch=True))
def test_our_own_tag_comes_back(tag):
    assert expected_tag([entity_tag(tag)], tag) == tag


@given(
    tags=st.lists(st.tuples(st.booleans(), ETAG_TEXT, BLANK), min_size=1, max_size=5),
    tag=st.integers(0, 99).map(str),
)
@example(tags=[(True, "7", ""), (False, ",", " ")], tag="7")
def test_a_list_matches_exactly_when_a_strong_tag_of_it_does(tags, tag):
    header = ",".join(f'{blank}{"W/" * weak}"{text}"{blank}' for weak, text, blank in tags)
    if any(text == tag and not weak for weak, text, _ in tags):
        assert expected_tag([header], tag) == tag
    else:
        assert refusal(header, tag=tag)[0] == 412


@given(st.text('"W/,7* \t', max_size=30))
def test_any_text_gets_an_answer(header):
    try:
        status, expected = 200, expected_tag([header], "7")
    except ProblemError as refused:
        status, expected = refused.problem.status, "7"
    assert status in {200, 412, 422}
    assert expected in {"7", None}
    assert (expected is None) == (header.strip(" \t") == "*")
