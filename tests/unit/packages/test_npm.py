import json

import pytest

from fairlead.model.errors import ProblemError
from fairlead.model.package_ref import parse_package
from fairlead.packages.closure import NpmPackage
from fairlead.packages.commands import Finished
from fairlead.packages.npm import closure_of, commands_of, is_javascript, npm_problem, package_lock

REFERENCE = parse_package("npm:@x/server@1.0.0")
SHA512 = "sha512-" + "A" * 86 + "=="


def closure_from(**packages):
    content = {
        "packages": {"": {"name": "x"}, **{f"node_modules/{name}": entry for name, entry in packages.items()}}
    }
    return closure_of(REFERENCE, json.dumps(content).encode())


def failed(code="", summary="it failed", detail="", **other):
    answer = json.dumps({"error": {"code": code, "summary": summary, "detail": detail}})
    return Finished(**{"code": 1, "output": answer, "errors": ""} | other)


def test_of_a_package_lock_stays_what_npm_ci_needs():
    entry = {
        "version": "1.0.0", "integrity": SHA512, "license": "MIT", "funding": {"url": "x"},
        "engines": {"node": "*"}, "bin": {"a": "a.js"}, "hasInstallScript": True, "deprecated": "yes",
        "dependencies": {"b": "1"}, "os": ["linux"], "peerDependenciesMeta": {"b": {"optional": True}},
    }  # fmt: skip
    assert closure_from(a=entry) == {
        "node_modules/a": NpmPackage(
            version="1.0.0",
            integrity=SHA512,
            dependencies={"b": "1"},
            os=["linux"],
            peer_dependencies_meta={"b": {"optional": True}},
        )
    }


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"version": "1.0.0"}, "no integrity"),
        ({"version": "1.0.0", "integrity": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="}, "no integrity"),
        (
            {"resolved": "git+ssh://git@host/x.git#1", "version": "1.0.0"},
            r"\*\*\*@host/x.git#1 and not from a registry",
        ),
        ({"resolved": "../x", "link": True}, "not from a registry"),
        ({"integrity": SHA512}, "missing required field"),
    ],
)
def test_what_cannot_be_pinned_is_refused(entry, says):
    with pytest.raises(ProblemError, match=f"node_modules/a.*{says}") as caught:
        closure_from(a=entry)
    assert caught.value.problem.code == "package-unsupported"


def test_the_package_lock_that_is_installed_from_names_no_host():
    closure = {"node_modules/@x/server": NpmPackage(version="1.0.0", integrity=SHA512)}
    assert json.loads(package_lock(REFERENCE, closure)) == {
        "name": "fairlead",
        "lockfileVersion": 3,
        "requires": True,
        "packages": {
            "": {"name": "fairlead", "dependencies": {"@x/server": "1.0.0"}},
            "node_modules/@x/server": {"version": "1.0.0", "integrity": SHA512},
        },
    }


@pytest.mark.parametrize("content", ["{", "[]", '{"bin": 1}', '{"bin": ["x.js"]}', "{}", '{"bin": null}'])
def test_a_strange_package_json_has_no_commands(tmp_path, content):
    home = tmp_path / "node_modules/@x/server"
    home.mkdir(parents=True)
    (home / "package.json").write_text(content)
    assert commands_of(REFERENCE, tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.js", "", True),
        ("a.mjs", "", True),
        ("a.cjs", "", True),
        ("a", "#!/usr/bin/env node\n", True),
        ("a", "#!/usr/bin/env -S node --x\n", True),
        ("a", "#!/bin/sh\nnode x\n", False),
        ("a", "\x7fELF node", False),
        ("a", "", False),
        ("a.ts", "", False),
    ],
)
def test_javascript_is_told_by_ending_or_first_line(tmp_path, name, content, expected):
    file = tmp_path / name
    file.write_text(content)
    assert is_javascript(file) is expected


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("E404", "package-not-found"),
        ("ETARGET", "version-not-found"),
        ("EINTEGRITY", "integrity-mismatch"),
        ("E401", "registry-unreachable"),
        ("E403", "registry-unreachable"),
        ("ENEEDAUTH", "registry-unreachable"),
        ("ECONNREFUSED", "registry-unreachable"),
        ("ENOTFOUND", "registry-unreachable"),
        ("EAI_AGAIN", "registry-unreachable"),
        ("ETIMEDOUT", "registry-unreachable"),
        ("ERR_SOCKET_TIMEOUT", "registry-unreachable"),
        ("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "registry-unreachable"),
        ("SELF_SIGNED_CERT_IN_CHAIN", "registry-unreachable"),
        ("E503", "registry-unreachable"),
        ("E429", "registry-unreachable"),
        ("EALLOWGIT", "package-unsupported"),
        ("ENOSPC", "install-failed"),
        ("ERESOLVE", "install-failed"),
        ("None", "install-failed"),
    ],
)
def test_what_npms_answers_mean(code, problem):
    found = npm_problem(REFERENCE, failed(code, summary="the summary")).problem
    assert found.code == problem
    assert "npm:@x/server@1.0.0" in found.detail
    assert "the summary" in found.detail
    assert (found.retry_after is not None) == (problem == "registry-unreachable")


def test_a_mismatch_names_the_package():
    closure = {
        "node_modules/@x/server": NpmPackage(version="1.0.0", integrity=SHA512.replace("A", "B")),
        "node_modules/a": NpmPackage(version="2.0.0", integrity=SHA512),
        "node_modules/a/node_modules/b": NpmPackage(version="3.0.0", in_bundle=True),
    }
    found = npm_problem(
        REFERENCE, failed("EINTEGRITY", summary=f"wanted {SHA512} but got else"), closure
    ).problem
    assert "a@2.0.0 is not what is pinned" in found.detail.replace("what the registry has of ", "")
    assert "b@" not in found.detail


@pytest.mark.parametrize("output", ["", "not json", "[]", '{"error": "x"}', "{}", '{"error": null}'])
def test_output_that_is_no_answer_is_shown_as_it_is(output):
    found = npm_problem(REFERENCE, failed(output=output, errors="node: out of memory")).problem
    assert found.code == "install-failed"
    assert "node: out of memory" in found.detail
    assert "exited with -9" in npm_problem(REFERENCE, Finished(-9, "", "")).problem.detail
