"""Header values of MCP: plain where that is safe, else canonical base64."""

import pytest

from fairlead.mcp.headers import decode_header_value, encode_header_value


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("echo", "echo"),
        ("", ""),
        ("a b", "a b"),
        ("file:///a?b=c", "file:///a?b=c"),
        (" a", "=?base64?IGE=?="),
        ("größe", "=?base64?Z3LDtsOfZQ==?="),
        ("a\r\nb", "=?base64?YQ0KYg==?="),
        ("a\tb", "=?base64?YQli?="),
        ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ("=?base64?=", "=?base64?="),
    ],
)
def test_both_ways(value, header):
    assert encode_header_value(value) == header
    assert decode_header_value(header) == value


def test_white_space_around_a_header_does_not_count():
    assert decode_header_value(" \techo\t ") == "echo"
    assert decode_header_value(" =?base64?YQ==?= ") == "a"


@pytest.mark.parametrize(
    "payload", ["YQ", "YQ=", "YR==", "Y Q==", "_w==", "!", "/w==", "größe", "YQ==YQ=="], ids=ascii
)
def test_only_canonical_base64_of_utf8_is_accepted(payload):
    assert decode_header_value(f"=?base64?{payload}?=") is None


def test_a_lone_surrogate_goes_out_as_what_nobody_reads_as_a_name():
    header = encode_header_value("a\ud800")
    assert header.isascii()
    assert decode_header_value(header) is None
