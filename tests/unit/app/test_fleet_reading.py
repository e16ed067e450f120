"""A fleet spec as the body of a request: JSON, of which YAML must make the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.app.fleet_reading import spec_of_body
from fairlead.formats.yaml_tree import MAX_BYTES
from fairlead.model.errors import ProblemError


def metadata(text: str, *, ensure_ascii: bool = False) -> str:
    body = json.dumps({"servers": {}, "metadata": {"x": text}}, ensure_ascii=ensure_ascii)
    return spec_of_body(body.encode()).spec.metadata["x"]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_every_text_comes_through(text: str, ensure_ascii: bool) -> None:
    assert metadata(text, ensure_ascii=ensure_ascii) == text


@pytest.mark.parametrize("character", "\x7f\x80\x85\x9f\u2028\u2029\ufeff\ufffe\uffff")
def test_what_json_may_hold_as_it_is_and_yaml_not(character: str) -> None:
    text = f"a{character}b \\u0041 {character}"
    assert metadata(text) == text


def test_places_are_those_of_the_body() -> None:
    body = '{"servers": {},\n "metadata": {"x": "\x85"}, "surplus": 1}'
    with pytest.raises(ProblemError) as refused:
        spec_of_body(body.encode())
    assert refused.value.problem.extra["problems"][0].startswith("body:2:")


def test_one_that_is_too_large_is_refused_as_it_came() -> None:
    """Its escapes are not looked at, which would take long."""
    body = b'{"servers": {}, "metadata": {"x": "' + b"\\ud83d\\ude00" * 100_000 + b'"}}'
    with pytest.raises(ProblemError) as refused:
        spec_of_body(body)
    assert f"{len(body):,} bytes" in refused.value.problem.detail
    assert f"at most {MAX_BYTES:,}" in refused.value.problem.detail
