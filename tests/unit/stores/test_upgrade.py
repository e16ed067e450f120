from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.model.errors import Fault, ProblemError
from fairlead.stores.fleet_file import load
from fairlead.stores.upgrade import upgrade

ORIGINAL = (Path(__file__).parent / "data" / "original.yml").read_text(encoding="utf-8")


def changed_lines(old: str, new: str) -> list[tuple[str, str]]:
    pairs = zip(old.splitlines(), new.splitlines(), strict=True)
    return [(before.strip(), after.strip()) for before, after in pairs if before != after]


def test_an_original_file_gets_todays_form_and_keeps_all_else() -> None:
    assert changed_lines(ORIGINAL, upgrade(ORIGINAL)) == [
        ("memory: 536870912  # 512 MB", "memory: 512MiB  # 512 MB"),
        ("cpu: 512           # half a core", "cpu: 0.5 cores           # half a core"),
        (
            "healthCheck: {enabled: true, path: /health, interval: 30000, timeout: 5000, retries: 3}",
            "healthCheck: {enabled: true, path: /health, interval: 30s, timeout: 5s, retries: 3}",
        ),
        ("id: context7-main  # the main one", "# id: context7-main  # the main one"),
        ("id: sequential-main", "# id: sequential-main"),
        ("healthCheckInterval: 10000   # ms", "healthCheckInterval: 10s   # ms"),
    ]


def test_the_meaning_stays_and_the_units_are_no_more_complained_of() -> None:
    new = upgrade(ORIGINAL)
    before, after = load(ORIGINAL, "old"), load(new, "new")
    assert after.spec is not None
    assert after.spec == before.spec
    assert not [problem for problem in after.problems if "no unit" in problem.message]
    assert upgrade(new) == new, "a file in today's form is left as it is"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "\ufeffservers:\r\n  a:\r\n    id: b\r\n    command: x\r\n",
            "\ufeffservers:\r\n  a:\r\n    # id: b\r\n    command: x\r\n",
        ),
        ("servers: {a: {id: b, command: x}}", "servers: {a: {id: b, command: x}}"),
        (
            "servers:\n  a:\n    command: x\n    id:\n      b\n",
            "servers:\n  a:\n    command: x\n    id:\n      b\n",
        ),
        (
            "servers: {a: {command: é, timeouts: {call: '500', stop: \"7\"}}}",
            "servers: {a: {command: é, timeouts: {call: '500ms', stop: \"7ms\"}}}",
        ),
        (
            "servers:\n  a:\n    id: &x b\n    command: *x\n",
            "servers:\n  a:\n    id: &x b\n    command: *x\n",
        ),
        (
            "defaults: &d {timeouts: {call: &t 500, stop: *t}}\nservers: {a: {<<: *d, command: x}}",
            "defaults: &d {timeouts: {call: &t 500ms, stop: *t}}\nservers: {a: {<<: *d, command: x}}",
        ),
    ],
)
def test_the_text_around_an_edit_is_left_alone(old: str, new: str) -> None:
    assert upgrade(old) == new
    assert not load(new, "f").errors


def test_a_file_with_errors_is_refused_with_all_of_them() -> None:
    with pytest.raises(ProblemError) as refused:
        upgrade("servers: {a: {comand: x}}\nsurplus: 1", "old.yml")
    problem = refused.value.problem
    assert (problem.code, problem.status, problem.fault) == ("fleet-file", 422, Fault.CLIENT)
    assert "old.yml:1:15: error: servers.a.comand: unknown key" in problem.detail
    assert "old.yml:2:1: error: surplus: unknown key" in problem.detail
