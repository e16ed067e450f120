"""Contracts of tools in the lock file."""

import json
import os

import pytest

from fairlead.mcp.contracts import contract_of, digest_of
from fairlead.model.errors import ProblemError
from fairlead.model.package_ref import parse_package
from fairlead.packages.closure import NpmPackage
from fairlead.packages.lock import FORMAT, LockFiles, decode, decode_contracts, encode

PACKAGE = parse_package("npm:left@1.0.0")
CLOSURE = {"node_modules/left": NpmPackage(version="1.0.0", integrity="sha512-" + "A" * 86 + "==")}
SEARCH = {
    "name": "search",
    "description": "Finds things,\n不多不少\u200b",
    "inputSchema": {"type": "object", "properties": {"q": {}, "b": {"maximum": 10**30}}},
    "annotations": None,
}
CONTRACTS = {"one": {"search": SEARCH, "a": {"name": "a"}}, "two": {}}


@pytest.fixture
def files(tmp_path):
    return LockFiles(committed=tmp_path / "fleet.lock", local=tmp_path / "state.lock")


def test_the_text_has_a_line_for_each_tool_in_which_nothing_hides():
    text = encode({PACKAGE: CLOSURE}, {"one": CONTRACTS["one"]}).decode()
    bare, digest = digest_of({"name": "a"}), digest_of(SEARCH)
    assert text.splitlines()[1:9] == [
        '  "about": "Every package that the servers need, by exact version and content. Written by `fairlead '
        'lock`. And what each tool was when `fairlead lock --update` looked at it last.",',
        '  "contracts": {',
        '    "one": {',
        f'      "a": {{"digest":"{bare}"}},',
        '      "search": {"annotations":null,"description":"Finds things,\\n不多不少\\u200b",'
        f'"digest":"{digest}","inputSchema":{{"properties":{{"b":{{"maximum":{10**30}}},"q":{{}}}},'
        '"type":"object"}}',
        "    }",
        "  },",
        f'  "format": {FORMAT},',
    ]


def test_what_is_written_is_read_again():
    content = encode({PACKAGE: CLOSURE}, CONTRACTS)
    assert decode_contracts(content) == CONTRACTS
    assert decode(content) == {PACKAGE: CLOSURE}
    assert encode(decode(content), decode_contracts(content)) == content


def test_a_file_without_contracts_is_one_that_older_versions_read():
    content = json.loads(encode({PACKAGE: CLOSURE}))
    assert content["format"] == 1
    assert "contracts" not in content
    assert decode_contracts(encode({PACKAGE: CLOSURE})) == {}


def test_a_name_may_hold_anything():
    tool = contract_of(b'{"name":"a\\u200b\\" \\ud83d\\ude00"}')
    content = encode({}, {"one": {tool["name"]: tool}})
    assert "\\u200b" in content.decode()
    assert decode_contracts(content) == {"one": {tool["name"]: tool}}


def test_packages_and_contracts_are_written_apart(files):
    files.commit_contracts(CONTRACTS)
    files.commit({PACKAGE: CLOSURE})
    assert (files.read_committed(), files.read_contracts()) == ({PACKAGE: CLOSURE}, CONTRACTS)
    files.commit_contracts({})
    assert (files.read_committed(), files.read_contracts()) == ({PACKAGE: CLOSURE}, {})
    files.commit({})
    assert json.loads(files.committed.read_text())["format"] == 1


def test_writing_the_same_again_does_not_touch_the_file(files):
    files.commit_contracts(CONTRACTS)
    os.utime(files.committed, (1, 1))
    files.commit_contracts(CONTRACTS)
    files.commit({})
    assert files.committed.stat().st_mtime == 1


def test_no_file_has_no_contracts(files):
    assert files.read_contracts() == {}


def edited(change):
    content = json.loads(encode({PACKAGE: CLOSURE}, CONTRACTS))
    change(content["contracts"])
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["one"]["search"].update(description="other"), "contracts.one.search: its digest is not"),
        (lambda c: c["one"]["a"].update(digest="0" * 64), "contracts.one.a: its digest is not"),
        (lambda c: c["one"]["a"].pop("digest"), "contracts.one.a: its digest is not"),
        (lambda c: c["one"]["a"].update(name="b"), "contracts.one.a: unknown field `name`"),
        (lambda c: c["one"].update(b=c["one"]["a"]), "contracts.one.b: its digest is not"),
        (lambda c: c.update(three=[]), "its part `contracts`: Expected `object`"),
        (lambda c: c["two"].update(x=7), "its part `contracts`: Expected `object`"),
    ],
)
def test_bad_contracts_are_told_and_packages_are_found_all_the_same(files, change, says):
    files.committed.write_bytes(edited(change))
    mend = "take `contracts` out of it and run `fairlead lock --update`"
    with pytest.raises(ProblemError) as caught:
        files.read_contracts()
    assert caught.value.problem.code == "lock-invalid"
    assert f"{files.committed}: {says}" in caught.value.problem.detail
    assert caught.value.problem.detail.endswith(mend)
    assert files.find(PACKAGE) == CLOSURE


def test_bad_contracts_are_not_overwritten_unseen(files):
    content = edited(lambda contracts: contracts["one"]["a"].pop("digest"))
    files.committed.write_bytes(content)
    with pytest.raises(ProblemError, match="digest"):
        files.commit({})
    assert files.committed.read_bytes() == content
