"""Which results mean that the server failed: patterns are searched for in their texts, never in the JSON."""

import json

import pytest
from msgspec import Raw

from fairlead.model.fleet import HealthCheck, ServerSpec
from fairlead.orchestrator.rules import SEARCHED, CallRules


def rules(*patterns):
    return CallRules.of(ServerSpec(id="s", command="x", health_check=HealthCheck(error_patterns=patterns)))


def result(*texts, **members):
    return json.dumps({"content": [{"type": "text", "text": text} for text in texts], **members})


def failure(text, *patterns):
    return rules(*patterns).failure_in(Raw(text.encode()))


def test_a_pattern_is_searched_for_in_each_text_by_itself():
    assert failure(result("fine", "Error: quota"), "^Error") == "Error"
    assert failure(result("No Error"), "^Error") is None
    assert failure(result("a", "b"), "ab") is None


@pytest.mark.parametrize("pattern", ["text", "content", "type", '"', "isError"])
def test_the_json_around_the_texts_matches_nothing(pattern):
    assert failure(result("fine", isError=True), pattern) is None


def test_escapes_are_read():
    escaped = result('caf\u00e9\n"closed"')
    assert "\\u00e9" in escaped
    assert failure(escaped, '\u00e9\\n"c') == '\u00e9\n"c'


def test_patterns_do_not_meet_each_other():
    """Flags hold for their own pattern, and two may call a group by the same name."""
    assert failure(result("it FAILs"), "x", "(?i)fail") == "FAIL"
    assert failure(result("it FAILs"), "(?i)x", "fail") is None
    assert failure(result("b"), "(?P<what>a)", "(?P<what>b)") == "b"


def test_the_first_texts_are_searched_so_many_characters_in_all():
    assert failure(result("x" * (SEARCHED - 4) + "boom"), "boom")
    assert failure(result("x" * (SEARCHED - 3) + "boom"), "boom") is None
    assert failure(result("x" * (SEARCHED - 4), "boom"), "boom")
    assert failure(result("x" * (SEARCHED - 3), "boom"), "boom") is None
    assert failure(result("x" * 2 * SEARCHED, "boom"), "boom") is None


@pytest.mark.parametrize(
    "odd",
    ["{}", "[]", "null", "7", '"boom"', '{"content":null}', '{"content":"boom"}', "[" * 100_000],
)
def test_a_result_without_content_has_no_text(odd):
    assert failure(odd, "boom") is None


@pytest.mark.parametrize("odd", ["7", "null", "[]", '{"text":7}', '{"type":"image","data":"boom"}', "{}"])
def test_a_block_without_text_does_not_hide_the_others(odd):
    assert failure(f'{{"content":[{odd},{{"text":"boom"}}]}}', "boom") == "boom"
    assert failure(f'{{"content":[{odd}]}}', "boom") is None


def test_what_is_not_utf8_has_no_text():
    blocks = b'{"content":[{"text":"\xff boom"},{"text":"boom"}]}'
    assert rules("boom").failure_in(Raw(blocks)) == "boom"
    assert rules("boom").failure_in(Raw(b'{"content":[{"text":"\xff boom"}]}')) is None
