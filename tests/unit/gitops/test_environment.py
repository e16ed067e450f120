from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from fairlead.core.rules import Rules
from fairlead.gitops import environment as environment_module
from fairlead.gitops.environment import MAX_AGE, MISFIT_AGE, Environment, drift_rows, printed
from fairlead.model.gitops import Application, DriftKind, PathRule, Policy, Severity


def application(name: str = "a", **tools: Any) -> Application:
    return Application.model_validate({"name": name, "target": {"files": {"root": "/x"}}, "tools": tools})


class Host:
    """Answers by the first words of a command, and counts what is asked."""

    def __init__(self, answers: Mapping[str, str | None]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.now = 0.0

    async def run(self, argv: Sequence[str]) -> str | None:
        self.asked.append(" ".join(argv[:2]))
        await asyncio.sleep(0)
        return self.answers.get(" ".join(argv[:2]))

    def environment(self) -> Environment:
        return Environment(self.run, now=lambda: self.now)


async def found(answers: Mapping[str, str | None], **tools: Any) -> dict[str, tuple[str | None, str]]:
    reports = await Host(answers).environment().reports(application(**tools))
    return {each.tool: (each.installed, each.message) for each in reports}


async def test_what_was_mended_is_seen_soon() -> None:
    host = Host({"node --version": "v20.19.0"})
    environment = host.environment()
    declares = application(node=">=22")
    assert not (await environment.reports(declares))[0].fits
    host.answers = {"node --version": "v24.1.0"}
    host.now += MISFIT_AGE + 1
    assert (await environment.reports(declares))[0].fits
    host.now += MISFIT_AGE + 1
    await environment.reports(declares)
    assert len(host.asked) == 2, "what fits is not asked as often"


async def test_tools_are_asked_by_their_own_commands() -> None:
    answers = {
        "node --version": "v20.19.0\n",
        "python --version": "Python 3.12.1\n",
        "claude --version": "2.1.4 (Claude Code)\n",
        "SuperClaude --version": "SuperClaude 4.3.0\n",
    }
    assert await found(answers, node=">=22", python=">=3.11", claude=">=2.1", superclaude="~=4.3") == {
        "node": ("20.19.0", "20.19.0 is installed, >=22 is wanted"),
        "python": ("3.12.1", ""),
        "claude": ("2.1.4", ""),
        "superclaude": ("4.3.0", ""),
    }


async def test_what_is_not_there_or_says_nothing() -> None:
    assert await found(
        {"claude --version": "", "python3 --version": "pythonic"}, node=">=1", claude=">=2", python=">=3"
    ) == {
        "node": (None, "it is not installed"),
        "python": ("pythonic", "its version 'pythonic' cannot be compared"),
        "claude": ("unknown", "its version 'unknown' cannot be compared"),
    }


async def test_packages_of_both_registries() -> None:
    npm = {"dependencies": {"@a/b": {"version": "1.2.3"}, "broken": {"missing": True}}}
    answers = {
        "npm ls": json.dumps(npm),
        "python3 -c": json.dumps({"Some.Package": "1.0", "other": None}),
        "uv tool": "superclaude v4.3.0\n- superclaude\nruff v0.17.1\n",
        "pipx list": "black 25.1.0\n",
    }
    packages = {
        "npm:@a/b": "==1.2.3",
        "npm:broken": ">=1",
        "pypi:some_package": ">=2",
        "pypi:SuperClaude": "~=4.3",
        "pypi:black": ">=25",
        "pypi:none": ">=1",
    }
    assert await found(answers, packages=packages) == {
        "npm:@a/b": ("1.2.3", ""),
        "npm:broken": (None, "it is not installed"),
        "pypi:some_package": ("1.0", "1.0 is installed, >=2 is wanted"),
        "pypi:SuperClaude": ("4.3.0", ""),
        "pypi:black": ("25.1.0", ""),
        "pypi:none": (None, "it is not installed"),
    }


@pytest.mark.parametrize(
    "nonsense", [None, "", "{", "[]", '{"dependencies": [1]}', '{"dependencies": {"x": 1}}']
)
async def test_nonsense_of_npm_and_python_is_nothing(nonsense: str | None) -> None:
    answers = {"npm ls": nonsense, "python3 -c": nonsense}
    for installed, _ in (await found(answers, packages={"npm:x": ">=1", "pypi:x": ">=1"})).values():
        assert installed is None


async def test_a_range_that_is_none_is_told() -> None:
    assert (await found({"node --version": "v1.0.0"}, node="latest"))["node"][1].startswith(
        "'latest' is no range"
    )


async def test_each_command_is_run_once_for_all_who_ask() -> None:
    host = Host({"node --version": "v24.1.0", "npm ls": '{"dependencies": {"x": {"version": "1"}}}'})
    environment = host.environment()
    wanted = [application(name, node=">=22", packages={"npm:x": ">=1"}) for name in "abc"]
    reports = await asyncio.gather(*(environment.reports(each) for each in wanted))
    assert [each[0].application for each in reports] == ["a", "b", "c"]
    assert sorted(host.asked) == ["node --version", "npm ls"]
    host.now = MAX_AGE
    await environment.reports(wanted[0])
    assert len(host.asked) == 2
    host.now += 1
    await environment.reports(wanted[0])
    assert len(host.asked) == 4
    await environment.reports(wanted[0], fresh=True)
    assert len(host.asked) == 6
    assert repr(environment) == "Environment(2 commands)"


async def test_a_caller_that_goes_away_does_not_spoil_it_for_others() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def run(_: Sequence[str]) -> str | None:
        started.set()
        await go_on.wait()
        return "v24.1.0"

    environment = Environment(run)
    first = asyncio.ensure_future(environment.reports(application(node=">=22")))
    await started.wait()
    second = asyncio.ensure_future(environment.reports(application(node=">=22")))
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    assert (await second)[0].fits
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_does_not_fit_is_drift() -> None:
    host = Host({"node --version": "v20.0.0", "claude --version": "2.1.0"})
    wanted = application(node=">=22", claude=">=2", packages={"npm:@a/b": ">=1"})
    rules = Rules.parse(
        (PathRule(path="environment#node", severity=Severity.HIGH),), Policy.MANUAL, fleet=False
    )
    node, package = drift_rows(wanted, await host.environment().reports(wanted), [rules], 5.0)
    assert (node.object, node.key, node.kind, node.severity) == (
        "environment",
        "node",
        DriftKind.ENVIRONMENT,
        Severity.HIGH,
    )
    assert (node.live, node.desired, node.since) == ('"20.0.0"', '">=22"', 5.0)
    assert node.message == "node: 20.0.0 is installed, >=22 is wanted"
    assert (package.key, package.live, package.severity) == ('"npm:@a/b"', None, Severity.MEDIUM)


# -- real commands --------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> dict[str, str]:
    scripts = {
        "good": "echo v1.2.3; echo noise >&2",
        "failing": "echo v1.2.3; exit 3",
        "npm": "echo '{}'; exit 1",
        "asking": "read line; echo got:$line",
        "telling": "echo $HOME:$FAIRLEAD_TOKEN:$LC_ALL",
        "flooding": "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
        "hanging": f"sleep 100 & echo $! > {tmp_path}/pid; wait",
    }
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "HOME": "/h", "FAIRLEAD_TOKEN": "hidden"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("good", "v1.2.3\n"),
        ("failing", None),
        ("npm", "{}\n"),
        ("asking", "got:\n"),
        ("telling", "/h::C.UTF-8\n"),
        ("flooding", None),
        ("no-such-program", None),
    ],
)
async def test_a_command_is_run_within_bounds(path: dict[str, str], name: str, text: str | None) -> None:
    assert await printed([name], path) == text


async def test_one_that_hangs_is_ended_with_all_of_its_group(
    path: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_module, "PATIENCE", 1.0)
    assert await printed(["hanging"], path) is None
    below = int((tmp_path / "pid").read_text())
    async with asyncio.timeout(10):
        while psutil.pid_exists(below) and psutil.Process(below).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


async def test_one_that_cannot_be_started_is_none(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("#!/no/such/interpreter\n")
    (tmp_path / "bad").chmod(0o755)
    assert await printed(["bad"], {"PATH": str(tmp_path)}) is None


async def test_the_python_of_this_machine() -> None:
    report, other = await Environment().reports(
        application(python=">=3.0", packages={"pypi:no-such-thing": ">=1"})
    )
    assert report.installed is not None
    assert report.fits
    assert other.installed is None
    assert sys.version_info >= (3, 11)
