"""Whatever closures there are: the lock file gives them back, and its text depends on nothing else."""

import contextlib
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairlead.mcp.contracts import PARTS
from fairlead.model.package_ref import PackageRef
from fairlead.packages.closure import NpmPackage, PypiPackage
from fairlead.packages.lock import decode, decode_contracts, encode

names = st.sampled_from(["a", "b", "json-stream", "jsonstream", "x.y_z", "9", "node_modules"])
scoped = st.one_of(names, st.builds("@{}/{}".format, names, names))
versions = st.builds("{}.{}.{}".format, *[st.integers(0, 99)] * 3)
ranges = st.dictionaries(scoped, st.text(max_size=10), max_size=3)
hashes = st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex())
npm_packages = st.builds(
    NpmPackage,
    version=versions,
    integrity=st.just("sha512-" + "A" * 86 + "=="),
    optional=st.booleans(),
    has_shrinkwrap=st.booleans(),
    os=st.lists(st.sampled_from(["linux", "darwin", "!win32"]), max_size=2),
    dependencies=ranges,
    peer_dependencies_meta=st.dictionaries(scoped, st.just({"optional": True}), max_size=2),
)
npm_paths = st.lists(scoped, min_size=1, max_size=3).map(
    lambda parts: "/".join(f"node_modules/{part}" for part in parts)
)
pypi_packages = st.builds(
    PypiPackage,
    hashes=st.lists(hashes, min_size=1, max_size=3).map(tuple),
    marker=st.sampled_from(["", "os_name == 'nt'", "python_full_version >= '3.12' and extra != \"x\""]),
)
closures = st.one_of(
    st.tuples(
        st.builds(PackageRef, st.just("npm"), scoped, versions),
        st.dictionaries(npm_paths, npm_packages, max_size=4),
    ),
    st.tuples(
        st.builds(PackageRef, st.just("pypi"), names, versions),
        st.dictionaries(st.builds("{}=={}".format, names, versions), pypi_packages, max_size=4),
    ),
)


@given(st.lists(closures, max_size=5).map(dict), st.randoms(use_true_random=False))
def test_round_trip(closures, rng: random.Random):
    text = encode(closures)
    assert decode(text) == closures
    shuffled = list(closures.items())
    rng.shuffle(shuffled)
    assert encode(dict(shuffled)) == text
    packages = sum(len(closure) for closure in closures.values())
    assert len(text.splitlines()) <= 6 + 2 * 2 + 2 * len(closures) + packages


parts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
tools = st.dictionaries(
    st.text(max_size=8), st.dictionaries(st.sampled_from([part for part in PARTS if part != "name"]), parts)
).map(lambda found: {name: {"name": name, **rest} for name, rest in found.items()})


@given(st.dictionaries(st.sampled_from(["one", "two"]), tools))
def test_contracts_make_the_round_trip_on_lines_in_which_all_is_seen(contracts):
    text = encode({}, contracts)
    assert decode_contracts(text) == contracts
    lines = text.decode().splitlines()
    assert all(line.isprintable() for line in lines)
    assert len(lines) <= 8 + 2 * len(contracts) + sum(map(len, contracts.values()))


def decode_or_refuse(content: bytes):
    for reader in (decode, decode_contracts):
        with contextlib.suppress(ValueError):  # anything else fails the test
            reader(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_lock_file_or_a_clear_error(content):
    decode_or_refuse(content)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=10,
    )
)
def test_any_json_in_place_of_a_closure_is_told_as_a_value_error(value):
    content = {"format": 1, "npm": {"npm:a@1.0.0": value}, "pypi": {"pypi:a==1": value}}
    decode_or_refuse(msgspec.json.encode(content))
    for contracts in (value, {"a": value}, {"a": {"b": value}}):
        decode_or_refuse(msgspec.json.encode({"format": 2, "contracts": contracts}))
