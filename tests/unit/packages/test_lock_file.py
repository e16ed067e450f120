import json
import os

import pytest

from fairlead.model.errors import Fault, ProblemError
from fairlead.model.package_ref import parse_package
from fairlead.packages.closure import NpmPackage, PypiPackage
from fairlead.packages.lock import FORMAT, LockFiles, decode, encode

SHA512 = "sha512-" + "A" * 86 + "=="
OTHER_SHA512 = "sha512-" + "B" * 86 + "=="
SHA256 = "sha256:" + "0" * 64
LEFT = parse_package("npm:@x/left@1.0.0")
RIGHT = parse_package("pypi:right==2.0")
LEFT_CLOSURE = {
    "node_modules/@x/left": NpmPackage(version="1.0.0", integrity=SHA512, dependencies={"z": "1", "a": "2"}),
    "node_modules/a": NpmPackage(version="2.0.0", integrity=SHA512, os=["darwin"], optional=True),
}
RIGHT_CLOSURE = {"right==2.0": PypiPackage(hashes=(SHA256,), marker="os_name == 'posix'")}


@pytest.fixture
def files(tmp_path):
    return LockFiles(committed=tmp_path / "config/fleet.lock", local=tmp_path / "state/fleet.lock")


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def test_the_text_has_a_line_for_each_package_and_says_what_it_is():
    text = encode({RIGHT: RIGHT_CLOSURE, LEFT: LEFT_CLOSURE}).decode()
    assert (
        text
        == f"""{{
  "about": "Every package that the servers need, by exact version and content. Written by `fairlead lock`.",
  "format": 1,
  "npm": {{
    "npm:@x/left@1.0.0": {{
      "node_modules/@x/left": {{"dependencies":{{"a":"2","z":"1"}},"integrity":"{SHA512}","version":"1.0.0"}},
      "node_modules/a": {{"integrity":"{SHA512}","optional":true,"os":["darwin"],"version":"2.0.0"}}
    }}
  }},
  "pypi": {{
    "pypi:right==2.0": {{
      "right==2.0": {{"hashes":["{SHA256}"],"marker":"os_name == 'posix'"}}
    }}
  }}
}}
"""
    )


def test_an_empty_lock_file_is_a_lock_file():
    assert decode(encode({})) == {}


async def test_the_committed_file_holds_before_the_local_one(files):
    assert files.find(LEFT) is None
    await files.remember(LEFT, LEFT_CLOSURE)
    assert files.find(LEFT) == LEFT_CLOSURE
    other = {"node_modules/@x/left": NpmPackage(version="1.0.0", integrity=OTHER_SHA512)}
    files.commit({LEFT: other})
    assert files.find(LEFT) == other


async def test_remembering_keeps_what_was_there_and_leaves_the_committed_file_alone(files):
    await files.remember(LEFT, LEFT_CLOSURE)
    await files.remember(RIGHT, RIGHT_CLOSURE)
    assert files.read_local() == {LEFT: LEFT_CLOSURE, RIGHT: RIGHT_CLOSURE}
    assert not files.committed.exists()


def test_committing_the_same_again_does_not_touch_the_file(files):
    files.commit({LEFT: LEFT_CLOSURE})
    os.utime(files.committed, (1, 1))
    files.commit({LEFT: LEFT_CLOSURE})
    assert files.committed.stat().st_mtime == 1
    files.commit({})
    assert files.read_committed() == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{\n<<<<<<< ours\n"format": 1}', "marks of a merge conflict"),
        (b"<<<<<<< ours\n{}", "marks of a merge conflict"),
        ({"format": "1"}, r"Expected `int`.*\$\.format"),
        ({"npm": {}}, "missing required field `format`"),
        ({"format": FORMAT, "resolved": {}}, "unknown field `resolved`"),
        ({"format": FORMAT + 1, "quite": "new"}, "newer Fairlead.*update"),
        ({"format": FORMAT, "npm": {"npm:a": {}}}, "npm:a has no version"),
        ({"format": FORMAT, "npm": {"pypi:a==1": {}}}, "stands among the npm packages"),
        (
            {"format": FORMAT, "npm": {"npm:a@1.0.0": {"node_modules/a": {"version": "1.0.0"}}}},
            "no integrity",
        ),
        (
            {
                "format": FORMAT,
                "npm": {"npm:a@1.0.0": {"node_modules/../a": {"version": "1", "integrity": SHA512}}},
            },
            "is not a path",
        ),
        (
            {"format": FORMAT, "npm": {"npm:a@1.0.0": {"node_modules/a": {"version": "1", "resolved": "x"}}}},
            "unknown field `resolved`",
        ),
        ({"format": FORMAT, "pypi": {"pypi:a==1": {"a==1": {"hashes": []}}}}, "no hashes"),
        (b'{"format":1,"npm":' + b"[" * 100_000, "."),
        (b'{"format": 1, "about": "\xff"}', "."),
    ],
)
def test_a_bad_file_is_told_with_its_path_and_the_way_out(files, content, says):
    write(files.committed, content)
    with pytest.raises(ProblemError, match=rf"(?s){files.committed}: .*{says}") as caught:
        files.find(LEFT)
    assert caught.value.problem.code == "lock-invalid"
    assert caught.value.problem.fault is Fault.UPSTREAM


def test_a_corrupt_local_file_is_told_too(files):
    write(files.local, b"nonsense")
    with pytest.raises(ProblemError, match=r"delete it and run `fairlead lock`"):
        files.find(LEFT)


def test_a_file_that_cannot_be_read_is_told(files):
    files.committed.mkdir(parents=True)
    with pytest.raises(ProblemError, match="Is a directory"):
        files.find(LEFT)


def test_the_representation_names_both_files(files):
    assert repr(files) == f"LockFiles(committed={str(files.committed)!r}, local={str(files.local)!r})"
