"""What is kept of a call's arguments."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from fairlead.audit.arguments import (
    MARK,
    MAX_REDACTED,
    digest_of,
    digests_of,
    redacted,
)
from fairlead.model.audit import DIGEST

ARGUMENTS = b'{"path": "notes.md"}'
PARAMS = b'{"name":"read","arguments":%b}' % ARGUMENTS
NOTHING = (b"", b"{}", b'{"name":"x"}', b"no json", b"\xff", b'{"arguments":' + b"[" * 20_000, b"[1]")


def test_the_digest_is_over_the_bytes_of_the_arguments_as_they_were_sent():
    assert digest_of(PARAMS) == sha256(ARGUMENTS).digest()
    assert digest_of(b'{"arguments": %b ,"name":"read"}' % ARGUMENTS) == sha256(ARGUMENTS).digest()
    assert digest_of(PARAMS.replace(b" ", b"")) != digest_of(PARAMS)


@pytest.mark.parametrize("params", NOTHING)
def test_there_is_none_where_there_are_no_arguments(params):
    assert digest_of(params) == b""


def test_bad_params_among_good_ones_do_no_harm():
    assert digests_of([PARAMS, *NOTHING, PARAMS]) == [
        digest_of(PARAMS),
        *[b""] * len(NOTHING),
        digest_of(PARAMS),
    ]


def show(**arguments):
    return redacted(json.dumps({"name": "x", "arguments": arguments}).encode(), str)


def test_redacted_arguments_are_shown_without_what_looks_like_a_secret():
    shown = show(
        path="notes.md",
        api_key="hunter22-hunter22",
        url="https://u:pw@example.com/",
        deep={"password": "x1y2z3w4"},
    )
    assert "notes.md" in shown
    assert MARK in shown
    for secret in ("hunter22", "u:pw", "x1y2z3w4"):
        assert secret not in shown


def test_known_secrets_are_concealed_whatever_they_are_called():
    params = b'{"arguments":{"text":"say sesame please"}}'
    assert redacted(params, lambda text: text.replace("sesame", "***")) == '{"text":"say *** please"}'


def test_what_is_too_long_to_show_is_digested():
    assert show(text="x" * MAX_REDACTED) == DIGEST
    assert show(text="x" * (MAX_REDACTED - 20)) != DIGEST


def test_what_grows_too_long_by_its_marks_is_digested():
    params = json.dumps({"arguments": {"token": ["Ab1" + "c" * 3] * 300}}).encode()
    assert redacted(params, lambda text: text + "x" * MAX_REDACTED) == DIGEST


@pytest.mark.parametrize("params", NOTHING)
def test_nothing_is_shown_of_what_is_no_arguments(params):
    assert redacted(params, str) == ""
