"""URLs taken apart, headers checked, failures to connect named."""

import ssl

import pytest

from fairlead.drivers.http_endpoint import Endpoint, connect_problem, header_lines
from fairlead.model.errors import ProblemError


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("http://host/mcp", "host", "/mcp"),
        ("HTTP://HOST:80", "host", "/"),
        ("https://host:443/a/?b=c&d=%20", "host", "/a/?b=c&d=%20"),
        ("https://host:8443/ä b?ö#fragment", "host:8443", "/%C3%A4%20b?%C3%B6"),
        ("http://[::1]:3000/mcp", "[::1]:3000", "/mcp"),
        ("http://bücher.example/", "xn--bcher-kva.example", "/"),
        ("http://host/a\r\nb", "host", "/ab"),
    ],
)
def test_parse(url, authority, target):
    endpoint = Endpoint.parse(url)
    assert endpoint.authority == authority
    assert endpoint.target == target


@pytest.mark.parametrize(
    "url",
    [
        "http://a b/",
        "http://a\x00b/",
        "http://a%0d%0a/",
        "http://" + "x" * 64 + "/",
        "http://h:port/",
        "//h/",
    ],
)
def test_a_host_that_cannot_be(url):
    with pytest.raises(ProblemError) as caught:
        Endpoint.parse(url)
    assert caught.value.problem.code == "invalid-url"


def test_a_key_in_the_query_is_not_shown():
    endpoint = Endpoint.parse("https://host/mcp?key=s3cr3t")
    assert str(endpoint) == "https://host/mcp"
    assert "s3cr3t" not in repr(endpoint)


def test_join():
    here = Endpoint.parse("http://host:81/a/sse?x=y")
    assert here.join("/m?s=1") == Endpoint("http", "host", 81, "/m?s=1")
    assert here.join("m") == Endpoint("http", "host", 81, "/a/m")
    assert here.join("http://other/").origin == "http://other"


def test_header_lines():
    assert header_lines({"Authorization": " Bearer x ", "X-Ü".replace("Ü", "U"): "ü"}) == (
        b"Authorization: Bearer x\r\nX-U: \xfc\r\n"
    )
    assert header_lines({}) == b""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nb"),
        ("X-A", "a\nb"),
        ("X-A", "a\0b"),
        ("X-A", "€"),
        ("X A", "a"),
        ("", "a"),
        ("X:A", "a"),
        ("Ü", "a"),
        ("Host", "a"),
        ("transfer-encoding", "chunked"),
        ("Content-Length", "0"),
        ("MCP-Session-ID", "a"),
    ],
)
def test_headers_that_cannot_be_sent(name, value):
    with pytest.raises(ProblemError) as caught:
        header_lines({name: f"s3cr3t{value}"})
    assert caught.value.problem.code == "invalid-header"
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConnectionRefusedError(), "connection-refused", "connection refused"),
        (TimeoutError(), "connect-timeout", "within 3 s"),
        (ConnectionResetError(104, "Connection reset by peer"), "connect-failed", "Connection reset by peer"),
        (OSError(), "connect-failed", "closed at once"),
        (ssl.SSLError(1, "[X] y"), "tls-failed", "write http://"),
    ],
)
def test_connect_problems(error, code, words):
    problem = connect_problem(Endpoint.parse("https://host/mcp?key=s3cr3t"), error, waited=3.0).problem
    assert problem.code == code
    assert words in problem.detail
    assert "https://host/mcp" in problem.detail
    assert "s3cr3t" not in problem.detail
