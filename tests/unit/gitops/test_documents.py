from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gitops.documents import (
    ApplicationReader,
    Declared,
    is_error,
    read_application,
    read_applications,
    read_gitops,
    together,
)
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Environment, Mode, Policy, Severity, Source
from support.snapshots import FakeSnapshot

GOOD = """\
name: fleet
target:
  fleet: {url: "https://host:3002", token: "${secret:TOKEN}"}
"""
FILES = """\
name: files
target:
  files: {root: "${HOME}"}
"""


def complaints(text: str | bytes) -> list[str]:
    read = read_application(text, "a.yml")
    assert (read.value is None) == bool(read.problems)
    return [str(problem) for problem in read.problems]


def test_a_document_is_an_application() -> None:
    text = (
        GOOD
        + """\
environment: staging
path: apps/mcp
layers: {team: platform}
rules:
  - {path: "servers.*.args", policy: local, severity: high}
sync:
  mode: observe
  prune: {grace: 10m}
  windows: [{schedule: "0 2 * * *", duration: 2h, timezone: Europe/Berlin}]
  health: {timeout: 90s, stableFor: 0s}
tools: {node: ">=22", packages: {"npm:@a/b": "~=1.2"}}
"""
    )
    read = read_application(text, "a.yml")
    assert read.problems == ()
    assert read.value is not None
    found = read.value
    assert (found.name, found.environment, found.path) == ("fleet", Environment.STAGING, "apps/mcp")
    assert (found.sync.mode, found.sync.prune.grace, found.sync.health.timeout) == (Mode.OBSERVE, 600.0, 90.0)
    assert found.rules[0].severity is Severity.HIGH
    assert found.default_policy is Policy.REMOTE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a.yml:1:1: error: the file is empty; write `name:` and `target:`"),
        ("[a]", "a.yml:1:1: error: a mapping is wanted here, not a list"),
        ("a: [", "a.yml:1:5: error: a[0]: not YAML"),
        (b"\xff", "a.yml:1:1: error: the byte 0xff is not UTF-8"),
        ("name: x\n", "a.yml:1:1: error: target: is missing; add `target:`"),
        (GOOD + "nmae: y\n", "a.yml:4:1: error: nmae: unknown key; did you mean 'name'?"),
        (GOOD + "suspend: true\n", "use `fairlead gitops suspend NAME`"),
        (GOOD + "spec: {}\n", "its parts stand at the top"),
        (GOOD + "version: '2'\n", "a.yml:4:10: error: version: '2' is not known here; write 1"),
        (GOOD + "environment: prod\n", "'prod' is not known here; write development or staging"),
        ("name: A B\ntarget: {fleet: {}}", "a.yml:1:7: error: name: "),
        ("name: a\ntarget: {}", "a.yml:2:1: error: target: a target is either `fleet` or `files`"),
        ("name: a\ntarget: {fleet: {}, files: {root: /x}}", "a target is either `fleet` or `files`"),
        (GOOD + "path: ../other\n", "a.yml:4:7: error: path: '../other' does not stay in the repository"),
        (GOOD + "render: .\n", "a.yml:4:9: error: render: nothing is taken from the layers"),
        (
            GOOD + "rules:\n  - path: ''\n    wave: 1\n",
            "a.yml:5:11: error: rules[0].path: '' is not a pattern",
        ),
        (GOOD + "rules:\n  - path: a.b\n", "a.yml:5:5: error: rules[0]: the rule says nothing"),
        (
            GOOD + "rules: [{path: a, policy: merged}]",
            "rules[0].policy: 'merged' is not known here; write merge",
        ),
        (
            GOOD + "sync:\n  windows:\n    - {schedule: nightly, duration: 1h}\n",
            "a.yml:6:7: error: sync.windows[0]: ",
        ),
        (
            GOOD + "sync: {windows: [{schedule: '0 1 * * *', duration: 1h, timezone: Mars}]}",
            "'Mars' is not a known time zone",
        ),
        (GOOD + "sync: {health: {timeout: soon}}", "'soon' is not a duration; write it like 500ms"),
        (GOOD + "tools: {node: latest}", "tools.node: 'latest' is no range of versions"),
        (GOOD + "tools: {packages: {left-pad: '>=1'}}", "'left-pad' is no package; write npm:NAME"),
        (GOOD + "tools: {packages: {'npm:x': x}}", "'x' is no range of versions"),
        (GOOD.replace("${secret:TOKEN}", "hunter22"), "target.fleet.token: a secret must not stand in Git"),
        (GOOD.replace("${secret:TOKEN}", "${TOKEN"), "the placeholder at character 1 is malformed"),
        (GOOD.replace("https://host:3002", "host:3002"), "target.fleet.url: it is no base URL"),
        (GOOD.replace("https://host", "https://u:p@host"), "the URL holds credentials"),
        (FILES.replace("${HOME}", "relative/path"), "target.files.root: 'relative/path' is no absolute path"),
        (FILES.replace("${HOME}", "/srv/../etc"), "is no absolute path"),
        (FILES.replace("${HOME}", "${HOME}ly"), "is no absolute path"),
        (FILES.replace("${HOME}", ""), "is no absolute path"),
    ],
)
def test_an_error_says_where_what_and_how_to_mend_it(text: str | bytes, expected: str) -> None:
    found = complaints(text)
    assert any(expected in error for error in found), "\n".join(found)
    assert not any("hunter22" in error or "u:p@" in error for error in found)


def test_all_errors_are_told_at_once() -> None:
    found = complaints("name: a\ntarget: {fleet: {url: x}}\npath: /a\nrules: [{path: b}]\n")
    assert [error.split(" ")[2] for error in found] == ["target.fleet.url:", "path:", "rules[0]:"]


def test_a_number_without_its_unit_is_a_warning() -> None:
    read = read_application(GOOD + "sync: {prune: {grace: 500}}\n", "a.yml")
    assert read.value is not None
    assert "500 has no unit and is taken as milliseconds; write 500ms" in str(read.problems[0])


def test_files_may_be_below_home_or_anywhere() -> None:
    for root in ("${HOME}", "${HOME}/.config", "/srv/tools", "/"):
        assert read_application(FILES.replace("${HOME}", root), "a.yml").problems == ()


def declared(**texts: str) -> Declared:
    return together({f"{name}.yml": read_application(text, f"{name}.yml") for name, text in texts.items()})


STAGING = "name: staging\nenvironment: staging\ntarget: {fleet: {url: 'https://s'}}\npromotedFrom: fleet\n"


def test_applications_may_take_each_others_commits() -> None:
    found = declared(a=GOOD, b=STAGING, c=FILES)
    assert found.problems == {}
    assert found.files == {"fleet": "a.yml", "staging": "b.yml", "files": "c.yml"}
    assert found.broken == frozenset()


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (GOOD, "b.yml:1:7: error: name: a.yml has an application 'fleet' already"),
        (STAGING.replace("From: fleet", "From: flet"), "b.yml:4:15: error: promotedFrom: there is no such"),
        (STAGING.replace("environment: staging\n", ""), "development does not come after development"),
        (
            GOOD.replace("name: fleet", "name: other"),
            "b.yml:2:1: error: target: 'fleet' writes to this fleet",
        ),
    ],
)
def test_what_is_wrong_between_documents_is_told(other: str, expected: str) -> None:
    found = declared(a=GOOD, b=other)
    (problem,) = found.problems["b.yml"]
    assert expected in str(problem)
    assert list(found.applications) == ["fleet"]
    assert found.broken == {"b.yml"}


def test_two_may_look_at_one_fleet() -> None:
    other = GOOD.replace("name: fleet", "name: other") + "sync: {mode: observe}\n"
    assert declared(a=GOOD, b=other).problems == {}


async def test_a_wrong_document_hinders_no_other() -> None:
    snapshot = FakeSnapshot(
        {"apps/a.yml": GOOD, "apps/deep/b.yaml": "name: [", "apps/README.md": "x", "else/c.yml": FILES},
        problems={"apps/link.yml": "it is a symbolic link"},
    )
    found = await read_applications(snapshot, "apps")
    assert found.files == {"fleet": "apps/a.yml"}
    assert found.broken == {"apps/deep/b.yaml", "apps/link.yml"}
    assert "symbolic link" in str(found.problems["apps/link.yml"][0])


async def test_only_documents_that_changed_are_read_again() -> None:
    texts = {"apps/a.yml": GOOD, "apps/b.yml": STAGING, "else/x": "1"}
    reader = ApplicationReader()
    first = await reader.read(FakeSnapshot(texts), "apps")
    same = FakeSnapshot(texts | {"else/x": "2"})
    assert await reader.read(same, "apps") is first
    changed = FakeSnapshot(
        texts | {"apps/b.yml": STAGING.replace("https://s", "https://t"), "apps/c.yml": FILES}
    )
    second = await reader.read(changed, "apps")
    assert len(changed.reads) == 2
    assert second.applications["fleet"] is first.applications["fleet"]
    assert set(second.files.values()) == {"apps/a.yml", "apps/b.yml", "apps/c.yml"}
    gone = await reader.read(FakeSnapshot({"apps/b.yml": STAGING}), "apps")
    assert gone.broken == {"apps/b.yml"}  # what it is promoted from has gone
    assert repr(reader) == "ApplicationReader(1 documents)"


async def test_no_folder_has_no_applications() -> None:
    assert await read_applications(FakeSnapshot({}), "applications") == Declared()


GITOPS = """\
sources:
  config:
    url: https://git.example.org/config.git
    token: ${secret:GIT_TOKEN}
    forge: {kind: gitea, url: "https://git.example.org", project: a/b, token: "${FORGE}"}
notifications:
  - url: mailto://${MAIL}
severities:
  - {path: "**.args", severity: critical}
"""


def test_the_controllers_file() -> None:
    read = read_gitops(GITOPS, "g.yml")
    assert read.problems == ()
    assert read.value is not None
    assert read.value.sources["config"].poll == 60.0


def _refuse(source: Source) -> None:
    raise SpecError(f"no {source.url}", "mend it")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            GITOPS.replace("${secret:GIT_TOKEN}", "ghp_x"),
            "g.yml:4:12: error: sources.config.token: a secret must",
        ),
        (GITOPS.replace("${FORGE}", "x"), "sources.config.forge.token: a secret must not stand in Git"),
        (GITOPS.replace("kind: gitea", "kind: github2"), "'github2' is not known here; write github"),
        (GITOPS.replace('"https://git.example.org"', "git"), "sources.config.forge.url: it is no base URL"),
        (GITOPS + "  - {path: x}\n", "severities[1]: the rule says nothing"),
        (
            GITOPS.replace("mailto://${MAIL}", "x\n    quiet: {start: '25:00', end: '07:00'}"),
            "notifications[0]",
        ),
        ("sources: {a: {url: x, applications: /abs}}", "'/abs' does not stay in the repository"),
        ("sources: {a: {}}", "sources.a.url: is missing"),
    ],
)
def test_what_is_wrong_in_the_controllers_file(text: str, expected: str) -> None:
    read = read_gitops(text, "g.yml")
    assert read.value is None
    assert any(expected in str(problem) for problem in read.problems), read.problems


def test_a_repositorys_address_is_checked_by_who_knows_git() -> None:
    read = read_gitops(GITOPS, "g.yml", _refuse)
    (problem,) = read.problems
    assert str(problem).startswith("g.yml:3:10: error: sources.config.url: no https://git")


def test_the_example_of_the_template_is_one() -> None:
    template = Path(__file__).parents[3] / "src/fairlead/cli/templates/repository/README.md"
    blocks = template.read_text(encoding="utf-8").split("```yaml\n")[1:]
    application, gitops = (block.partition("```")[0] for block in blocks)
    assert read_application(application, "a").problems == ()
    assert read_gitops(gitops, "g").problems == ()


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.sampled_from([GOOD, FILES, GITOPS]).flatmap(
        lambda text: st.integers(0, len(text)).map(lambda at: (text[:at] + "{" + text[at + 1 :]).encode())
    )
)
def test_whatever_stands_there_it_is_read_or_told(content: bytes) -> None:
    for read in (read_application(content, "f"), read_gitops(content, "f")):
        assert (read.value is None) == any(map(is_error, read.problems))
