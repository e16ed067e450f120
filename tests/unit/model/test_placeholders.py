from __future__ import annotations

import pytest

from fairlead.model.errors import SpecError
from fairlead.model.placeholders import MissingNames, check, check_shown, has_placeholder, names, resolve

KNOWN = {
    "A": "alpha",
    "B_2": "${A}",
    "EMPTY": "",
    "file:/run/secrets/a key": "from a file",
    "file:/c:/x": "odd",
    "secret:db.main-1": "from the vault",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${A}", "alpha"),
        ("${env:A}", "alpha"),
        ("<${A}${A}>", "<alphaalpha>"),
        ("${NONE:-fallback}", "fallback"),
        ("${env:NONE:-fallback}", "fallback"),
        ("${A:-fallback}", "alpha"),
        ("${NONE:-}", ""),
        ("${EMPTY:-fallback}", "fallback"),
        ("${NONE:-a:-b $x}", "a:-b $x"),
        ("${B_2}", "${A}"),  # a value is not looked at again
        ("<${file:/run/secrets/a key}>", "<from a file>"),
        ("${file:/c:/x}", "odd"),
        ("${file:/none:-fallback}", "fallback"),
        ("${secret:db.main-1}", "from the vault"),
        ("${secret:none:-}", ""),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$alpha"),
        ("$A $ 5$", "$A $ 5$"),
        ("", ""),
    ],
)
def test_placeholders_are_filled_in(text: str, value: str) -> None:
    assert resolve(check(text), KNOWN.get) == value


def test_all_missing_names_are_told_once_and_in_order() -> None:
    assert resolve("${Z} ${A} ${EMPTY} ${Y} ${Z} ${X:-x}", KNOWN.get) == MissingNames(("Z", "EMPTY", "Y"))


@pytest.mark.parametrize(
    "text",
    [
        "${",
        "${}",
        "${1A}",
        "${A",
        "${A-x}",
        "${A:x}",
        "${A B}",
        "${env:}",
        "${input:key}",
        "${file:relative}",
        "${file:}",
        "${secret:}",
        "${secret:1a}",
        "${secret:a b}",
        "${ A}",
        "${É}",
        "a$$${",
    ],
)
def test_a_malformed_placeholder_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="malformed") as refused:
        check(text)
    assert "${NAME:-default}" in refused.value.hint


def test_a_refusal_says_where_and_never_shows_the_text() -> None:
    with pytest.raises(SpecError, match="character 8 is") as refused:
        check("s3cret ${oops")
    assert "s3cret" not in str(refused.value) + refused.value.hint


def test_what_a_process_cannot_be_given_is_refused() -> None:
    with pytest.raises(SpecError, match="NUL"):
        check("a\0b")


def test_the_names_in_a_text() -> None:
    assert list(names("${A} $${B} ${env:C:-c}")) == ["A", "C"]
    assert has_placeholder("x${A:-}")
    assert not has_placeholder("$${A} $A")


@pytest.mark.parametrize("text", ["${file:/a}", "--key=${secret:a}", "${secret:a:-x}"])
def test_a_secret_is_refused_where_others_can_see_it(text: str) -> None:
    with pytest.raises(SpecError, match="list of processes"):
        check_shown(text)


def test_a_plain_variable_may_stand_where_others_can_see_it() -> None:
    assert check_shown("${A} $${secret:a}") == "${A} $${secret:a}"
