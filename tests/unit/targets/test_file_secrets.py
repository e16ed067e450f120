"""Secrets that are filled in, and taken out again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.formats import documents
from fairlead.model.errors import Fault, Problem, ProblemError, SpecError
from fairlead.model.placeholders import CONCEALED
from fairlead.model.reconciling import Format
from fairlead.targets.file_secrets import Expected, Values, names_in, values

SECRETS = {"secret:A": "s3cr3t-a", "file:/run/b": "s3cr3t-b", "secret:SHORT": "x"}


def resolve(name: str) -> str:
    if name in SECRETS:
        return SECRETS[name]
    raise ProblemError(Problem("no-secret", "No secret", f"`fairlead secrets set {name}`", 422, Fault.CLIENT))


def known(*documents_: Mapping[str, Any]) -> Values:
    return values([name for document in documents_ for name in names_in(document)], resolve)


def written(desired: Mapping[str, Any], there: Mapping[str, Any] | None = None) -> dict[str, Any]:
    content = json.dumps(desired).encode()
    filled = Expected(desired, None).filled(Format.JSON, content, there or {}, known(desired))
    return documents.read(Format.JSON, filled)


DESIRED = {
    "env": {"TOKEN": "${secret:A}", "HOME": "${HOME:-/root}", "BOTH": "Bearer ${secret:A} ${file:/run/b}"},
    "args": ["--token", "${secret:A}", {"deep": "${file:/run/b}"}],
    "plain": "text",
    "optional": "${secret:NONE:-fallback}",
    "escaped": "$${secret:A}",
}
FILLED = {
    "env": {"TOKEN": "s3cr3t-a", "HOME": "${HOME:-/root}", "BOTH": "Bearer s3cr3t-a s3cr3t-b"},
    "args": ["--token", "s3cr3t-a", {"deep": "s3cr3t-b"}],
    "plain": "text",
    "optional": "fallback",
    "escaped": "$${secret:A}",
}


def test_fairleads_placeholders_are_filled_in_and_those_of_others_stay():
    assert written(DESIRED) == FILLED


def test_what_was_filled_in_is_shown_as_it_was_written():
    assert Expected(DESIRED, None).shown(FILLED, known(DESIRED)) == DESIRED
    assert Expected(None, DESIRED).shown(FILLED, known(DESIRED)) == DESIRED


@pytest.mark.parametrize(
    ("live", "shown"),
    [
        ({"env": {"TOKEN": "rotated"}}, {"env": {"TOKEN": CONCEALED}}),
        ({"env": {"TOKEN": {"value": "rotated"}}}, {"env": {"TOKEN": CONCEALED}}),
        ({"env": {"TOKEN": 12345678}}, {"env": {"TOKEN": CONCEALED}}),
        ({"env": {"BOTH": "Bearer rotated s3cr3t-b"}}, {"env": {"BOTH": CONCEALED}}),
        ({"args": ["--token", "rotated"]}, {"args": ["--token", CONCEALED]}),
        ({"args": ["-v", "--token", "s3cr3t-a"]}, {"args": [CONCEALED, "--token", "${secret:A}"]}),
        ({"args": ["--token=rotated"]}, {"args": [CONCEALED]}),
        ({"args": "rotated"}, {"args": "rotated"}),
        ({"theirs": "s3cr3t-a"}, {"theirs": "${secret:A}"}),
        ({"theirs": ["--x=s3cr3t-b"]}, {"theirs": ["--x=${file:/run/b}"]}),
        ({"theirs": "--x", "n": 1, "no": None}, {"theirs": "--x", "n": 1, "no": None}),
        ({"env": {"TOKEN": "${secret:A}"}}, {"env": {"TOKEN": CONCEALED}}),  # not filled in
    ],
)
def test_what_may_be_a_secret_is_never_shown(live: dict[str, Any], shown: dict[str, Any]):
    assert Expected(DESIRED, DESIRED).shown(live, known(DESIRED)) == shown


def test_a_key_that_becomes_a_secret_is_shown_as_it_was_applied():
    expected = Expected({"key": "${secret:A}"}, {"key": "literal"})
    secrets = known({"key": "${secret:A}"})
    assert expected.shown({"key": "literal"}, secrets) == {"key": "literal"}
    assert expected.shown({"key": "other"}, secrets) == {"key": CONCEALED}


def test_short_values_are_known_at_their_place_only():
    document = {"a": "${secret:SHORT}"}
    shown = Expected(document, None).shown({"a": "x", "b": "x", "c": "axe"}, known(document))
    assert shown == {"a": "${secret:SHORT}", "b": "x", "c": "axe"}


def test_what_lacks_is_told_with_its_name():
    document = {"a": "${secret:A}", "b": "${secret:NONE}"}
    told = Expected(document, None).lacks(known(document))
    assert told == "needs secret NONE: `fairlead secrets set secret:NONE`"
    assert not Expected(DESIRED, {"b": "${secret:NONE}"}).lacks(known(DESIRED, document))
    shown = Expected(None, document).shown({"a": "s3cr3t-a", "b": "whatever"}, known(document))
    assert shown == {"a": "${secret:A}", "b": CONCEALED}
    with pytest.raises(ProblemError):
        written(document)


def test_a_persons_own_placeholder_is_left_alone():
    there = {"mine": "${secret:NONE}", "list": ["${secret:A}"]}
    expected = Expected({"a": "${secret:A}"}, None)
    content = json.dumps({**there, "a": "${secret:A}"}).encode()
    filled = expected.filled(Format.JSON, content, there, known({"a": "${secret:A}"}, there))
    assert json.loads(filled) == {**there, "a": "s3cr3t-a"}


def test_what_is_concealed_stays_as_it_is_there_or_is_refused():
    there = {"key": "rotated", "list": ["--token", "rotated"]}
    desired = {"key": "${secret:A}", "list": ["--token", "${secret:A}"]}
    expected = Expected(desired, desired)

    def filled(document: dict[str, Any]) -> Any:
        return json.loads(expected.filled(Format.JSON, json.dumps(document).encode(), there, known(desired)))

    assert filled({"key": CONCEALED, "list": ["--token", CONCEALED]}) == there
    with pytest.raises(SpecError, match="concealed"):
        filled({"other": CONCEALED})
    with pytest.raises(SpecError, match="concealed"):
        filled({"list": [CONCEALED, "--token"]})


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        (
            "x.yml",
            b"# mine\na: '${secret:A}' # theirs\nb: [1,  2]\n",
            b"# mine\na: 's3cr3t-a' # theirs\nb: [1,  2]\n",
        ),
        ("x.toml", b'a = "${secret:A}" # theirs\n', b'a = "s3cr3t-a" # theirs\n'),
        ("x.json", b'{"a":\t"${secret:A}", // theirs\r\n"b":1}', b'{"a":\t"s3cr3t-a", // theirs\r\n"b":1}'),
        ("x.env", b"A=1\nTOKEN=${secret:A}\nP=${PATH}\n", b"A=1\nTOKEN=s3cr3t-a\nP=${PATH}\n"),
        (
            "x.md",
            b"mine ${secret:A}\n<!-- fairlead:begin a -->\nkey ${secret:A}\n<!-- fairlead:end a -->\n",
            b"mine ${secret:A}\n<!-- fairlead:begin a -->\nkey s3cr3t-a\n<!-- fairlead:end a -->\n",
        ),
    ],
)
def test_all_else_stays_byte_for_byte(name: str, content: bytes, wanted: bytes):
    format_ = documents.format_of(name)
    document = documents.read(format_, content)
    assert Expected(document, None).filled(format_, content, {}, known(document)) == wanted


def test_no_text_of_an_object_shows_a_value():
    secrets = known(DESIRED)
    assert "s3cr3t" not in repr(secrets) + repr(Expected(DESIRED, FILLED))


TEXTS = st.one_of(
    st.sampled_from(["s3cr3t-a", "is s3cr3t-b!", "${secret:A}", "text", ""]), st.text(max_size=4)
)
JSON = st.recursive(
    st.one_of(TEXTS, st.integers(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_no_value_comes_through_whatever_is_there(desired: Any, base: Any, live: Any):
    secrets = values(SECRETS, resolve)
    literal = json.dumps([desired, base])
    shown = json.dumps(Expected(desired, base).shown(live, secrets))
    for value in ("s3cr3t-a", "s3cr3t-b"):
        assert value not in shown or value in literal


@given(DOCUMENTS)
def test_what_is_written_reads_back_as_it_was_meant(desired: Any):
    if "s3cr3t" in json.dumps(desired):
        return
    secrets = values(SECRETS, resolve)
    content = documents.write(Format.JSON, desired)
    expected = Expected(desired, None)
    filled = documents.read(Format.JSON, expected.filled(Format.JSON, content, {}, secrets))
    assert expected.shown(filled, secrets) == desired
