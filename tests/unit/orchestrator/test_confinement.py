"""From what a spec says and names to the paths of a sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from fairlead.model.errors import ProblemError
from fairlead.model.fleet import ServerSecurity, ServerSpec, resolve_server
from fairlead.orchestrator.confinement import Reach, sandbox_of

HOME = Path("/state/homes/s")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    return tmp_path / "me"


def sandbox(security=None, names=None, **spec):
    given = {"command": "x"} | spec
    server = ServerSpec(id="s", security=ServerSecurity(**(security or {})), **given)
    resolved = resolve_server(server, (names or {}).get)
    return sandbox_of(server, resolved, Reach(HOME, (Path("/p/npm/x"),), (Path("/state"),)))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").touch()
    return tmp_path / "data"


def test_it_may_write_in_its_home_and_in_the_folders_that_it_is_given(data):
    made = sandbox(
        args=(str(data), str(data / "file"), f"--folder={data.parent}", "relative", "/not/there", "--flag"),
        environment={"CA": str(data / "file"), "KEY": "sk-1"},
    )
    assert made.writable == (HOME, data, data.parent)
    assert data / "file" in made.readable
    assert Path("/not/there") not in made.readable
    assert made.hidden == (Path("/state"),)
    assert (made.network, made.required) == (True, False)


def test_to_name_what_is_hidden_does_not_open_it(data):
    (data / "link").symlink_to(data / "file")
    assert data / "file" not in sandbox({"denied_paths": (str(data),)}, args=(str(data / "file"),)).readable
    assert data not in sandbox({"denied_paths": (str(data),)}, args=(str(data),)).writable
    reach = Reach(HOME, hidden=(data.parent,), workspace=data)
    spec = ServerSpec(
        id="s", command="x", args=(str(data), str(data.parent)), environment={"F": str(data / "link")}
    )
    made = sandbox_of(spec, resolve_server(spec, {}.get), reach)
    assert (made.writable, set(made.readable)) == ((HOME, data), {data, data / "link"})
    elsewhere = Reach(HOME, hidden=(data.parent,), workspace=data.parent / "other")
    assert sandbox_of(spec, resolve_server(spec, {}.get), elsewhere).readable == ()


def test_the_working_directory_and_folders_of_the_environment_count_too(data):
    made = sandbox(working_directory="${D}", environment={"E": str(data.parent)}, names={"D": str(data)})
    assert set(made.writable) == {HOME, data, data.parent}


def test_with_allowed_paths_it_may_write_nowhere_else(data, home):
    made = sandbox({"allowed_paths": ("${WORK}", "~/x")}, {"WORK": "/work"}, args=(str(data),))
    assert made.writable == (HOME, Path("/work"), home / "x")
    assert data in made.readable
    assert sandbox({"allowed_paths": ()}, args=(str(data),)).writable == (HOME,)


def test_read_only_is_all_but_its_home(data):
    made = sandbox({"read_only": True, "allowed_paths": (str(data),)})
    assert made.writable == (HOME,)
    assert data in made.readable
    assert sandbox({"read_only": True}, args=(str(data),)).writable == (HOME,)


def test_denied_paths_are_hidden(home):
    assert sandbox({"denied_paths": ("~", "/etc")}).hidden == (Path("/state"), home, Path("/etc"))


def test_homes_are_hidden_from_packages_and_keys_from_commands(home):
    package = sandbox(command=None, package="npm:x@1.0.0")
    assert {home, Path("/home"), Path("/root"), home / ".ssh"} <= set(package.veiled)
    assert Path("/p/npm/x") in package.readable
    command = sandbox()
    assert home / ".ssh" in command.veiled
    assert home / ".claude.json" in command.veiled
    assert home not in command.veiled


def test_a_service_without_a_home_hides_nothing_of_the_root(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert Path("/") not in sandbox(command=None, package="npm:x@1.0.0").veiled


def test_off_is_none_and_required_is_said():
    assert sandbox({"sandbox": "off"}) is None
    assert sandbox({"sandbox": "required", "network": "none"}).required
    assert not sandbox({"sandbox": "required", "network": "none"}).network


def test_a_path_that_is_not_absolute_once_it_is_filled_in_is_refused():
    with pytest.raises(ProblemError) as refused:
        sandbox({"allowed_paths": ("${WORK}",)}, {"WORK": "here"})
    assert refused.value.problem.code == "not-launchable"
    assert "here under `security`" in refused.value.problem.detail


@pytest.mark.parametrize("path", ["relative", "", "./x", "~other/x", "${secret:X}/y", "${"])
def test_paths_are_absolute_and_hold_no_secrets(path):
    with pytest.raises(ValidationError):
        ServerSecurity(denied_paths=(path,))
