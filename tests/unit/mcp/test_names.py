"""Names in merged lists."""

import re

from hypothesis import given
from hypothesis import strategies as st

from fairlead.mcp.names import containers, exposed_name, unwrap_uri, wrap_uri

SERVERS = st.from_regex(r"[a-z0-9](-?[a-z0-9]){0,20}", fullmatch=True)


def test_a_plain_name_gets_its_prefix():
    assert exposed_name("filesystem", "read_file") == "filesystem__read_file"


def test_what_clients_refuse_is_replaced_and_stays_apart():
    names = {exposed_name("s", name) for name in ("a/b", "a b", "a_b", "a:b", "ä_b")}
    assert len(names) == 5
    assert "s__a_b" in names


@given(SERVERS, st.text(max_size=200))
def test_every_name_is_one_that_clients_take(server, name):
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", exposed_name(server, name))


@given(SERVERS, st.lists(st.text(max_size=100), unique=True, max_size=20))
def test_different_names_stay_different(server, names):
    assert len({exposed_name(server, name) for name in names}) == len(names)


@given(SERVERS, st.text(max_size=100))
def test_a_uri_comes_back_as_it_was(server, uri):
    assert unwrap_uri(wrap_uri(server, uri)) == (server, uri)


def test_foreign_uris_are_not_unwrapped():
    assert unwrap_uri("file:///etc/passwd") is None
    assert unwrap_uri("fairlead://server") is None
    assert unwrap_uri("fairlead:///x") is None


def test_what_a_uri_may_be_a_part_of():
    assert containers("db://users/7") == ["db://users/7", "db://users/", "db://users", "db://", "db:/", "db:"]
    assert containers("x") == ["x"]
    assert "a://b" in containers("a://b?c=d")
    assert "a://b" in containers("a://b#c")
    assert "a://b" not in containers("a://bc/d")
    assert len(containers("/" * 8000)) < 200
    monster = "x://" + "a" * 2**20 + "/b" * 64
    assert containers(monster) == [monster], "its parts would be 128 MiB"
