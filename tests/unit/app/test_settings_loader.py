from pathlib import Path

import pytest

from fairlead.app.settings_loader import LoadedSettings, load_settings
from fairlead.model.errors import ProblemError

HOME = {"XDG_STATE_HOME": "/xdg"}
TOKEN = "0123456789abcdef"


def load(folder: Path, /, file: Path | None = None, **sources: dict[str, object]) -> LoadedSettings:
    environment = {**HOME, **{name: str(value) for name, value in sources.get("environment", {}).items()}}
    return load_settings(sources.get("options", {}), environment=environment, folder=folder, file=file)


def refusal(folder: Path, /, file: Path | None = None, **sources: dict[str, object]) -> list[str]:
    with pytest.raises(ProblemError) as caught:
        load(folder, file, **sources)
    assert caught.value.problem.status == 400
    return caught.value.problem.detail.splitlines()


def test_nothing_given_means_the_defaults_of_this_folder_and_environment(tmp_path: Path):
    loaded = load(tmp_path)
    assert loaded.settings.config == tmp_path / "config" / "mcp-servers.yml"
    assert loaded.settings.state_dir == Path("/xdg/fairlead")
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.warnings == ()


def test_later_sources_win_and_say_so(tmp_path: Path):
    (tmp_path / "fairlead.toml").write_text("port = 1\ngitops_port = 2\n[edge]\nbody_timeout = 3\n")
    environment = {"FAIRLEAD_GITOPS_PORT": 20, "FAIRLEAD_HOST": "::1", "FAIRLEAD_EDGE_MAX_CONNECTIONS": 7}
    loaded = load(tmp_path, environment=environment, options={"host": "127.0.0.2", "config": None})
    settings, origins = loaded.settings, loaded.origins
    assert (settings.port, origins["port"]) == (1, str(tmp_path / "fairlead.toml"))
    assert (settings.gitops_port, origins["gitops_port"]) == (20, "FAIRLEAD_GITOPS_PORT")
    assert (settings.host, origins["host"]) == ("127.0.0.2", "--host")
    assert (settings.edge.body_timeout, origins["edge.body_timeout"]) == (
        3.0,
        str(tmp_path / "fairlead.toml"),
    )
    assert settings.edge.max_connections == 7
    assert settings.edge.header_timeout == 10
    assert origins["edge.header_timeout"] == origins["config"] == "default"


def test_relative_paths_start_where_they_were_written(tmp_path: Path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "s.toml").write_text('workspace = "w"\nconfig = "/abs.yml"\n')
    environment = {"FAIRLEAD_STATE_DIR": "state"}
    settings = load(tmp_path, tmp_path / "etc" / "s.toml", environment=environment).settings
    assert settings.workspace == tmp_path / "etc" / "w"
    assert settings.config == Path("/abs.yml")
    assert settings.state_dir == tmp_path / "state"
    settings = load(tmp_path, options={"config": Path("../other.yml")}).settings
    assert settings.config == tmp_path.parent / "other.yml"


def test_the_file_is_named_by_option_then_variable_then_custom(tmp_path: Path):
    for name, port in (("fairlead.toml", 1), ("variable.toml", 2), ("option.toml", 3)):
        (tmp_path / name).write_text(f"port = {port}")
    variable = {"FAIRLEAD_SETTINGS": "variable.toml"}
    assert load(tmp_path).settings.port == 1
    assert load(tmp_path, environment=variable).settings.port == 2
    assert load(tmp_path, Path("option.toml"), environment=variable).settings.port == 3


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path):
    assert refusal(tmp_path, Path("x.toml")) == [
        f"--settings names {tmp_path / 'x.toml'}: there is no such file"
    ]
    (line,) = refusal(tmp_path, environment={"FAIRLEAD_SETTINGS": "x.toml"})
    assert line.startswith("FAIRLEAD_SETTINGS names ")


@pytest.mark.parametrize("content", [b"port = ", b"\xff", b"port = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_told_with_its_place(tmp_path: Path, content: bytes):
    (tmp_path / "fairlead.toml").write_bytes(content)
    (line,) = refusal(tmp_path)
    assert line.startswith(str(tmp_path / "fairlead.toml"))


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path):
    file = tmp_path / "fairlead.toml"
    file.write_text(
        'prt = 1\ntoken = "x"\nlog = 3\n[edge]\nbody_timeot = 4\n[sessions]\nmax_sessions = 0\n'
        '[secrets]\nidentity = "AGE-SECRET-KEY-1"\n'
    )
    environment = {"FAIRLEAD_PORT": "many", "FAIRLEAD_LOG_LEVEL": "loud"}
    lines = refusal(tmp_path, environment=environment)
    assert f"{file}: prt: unknown key; did you mean port?" in lines
    assert f"{file}: token: a secret does not belong here; set FAIRLEAD_TOKEN" in lines
    assert f"{file}: secrets.identity: a secret does not belong here; set FAIRLEAD_SECRETS_IDENTITY" in lines
    assert f"{file}: log: this is a table; its keys are log.level, log.format" in lines
    assert f"{file}: edge.body_timeot: unknown key; did you mean edge.body_timeout?" in lines
    assert f"{file}: sessions.max_sessions: should be greater than or equal to 1" in lines
    assert any(line.startswith("FAIRLEAD_PORT: should be a valid integer") for line in lines)
    assert any(line.startswith("FAIRLEAD_LOG_LEVEL: should be 'debug', 'info'") for line in lines)
    assert len(lines) == 8


def test_an_error_of_a_path_brings_no_further_ones(tmp_path: Path):
    (tmp_path / "fairlead.toml").write_text("state_dir = 3")
    (line,) = refusal(tmp_path)
    assert "state_dir" in line


def test_an_unknown_variable_is_told_with_the_nearest_known(tmp_path: Path):
    environment = {"FAIRLEAD_PROT": 1, "FAIRLEAD_XYZZY_PLUGH": 1, "FAIRLEAD_INSTANCE": "a", "OTHER": 1}
    warnings = load(tmp_path, environment=environment).warnings
    assert warnings == (
        "FAIRLEAD_PROT: unknown variable, it has no effect; did you mean FAIRLEAD_PORT?",
        "FAIRLEAD_XYZZY_PLUGH: unknown variable, it has no effect",
    )


def test_an_empty_variable_is_not_set(tmp_path: Path):
    loaded = load(tmp_path, environment={"FAIRLEAD_PORT": "", "FAIRLEAD_SETTINGS": "", "FAIRLEAD_TOKEN": ""})
    assert loaded.settings.port == 3002
    assert loaded.settings.token is None


def test_kubernetes_service_variables_are_explained(tmp_path: Path):
    (line,) = refusal(tmp_path, environment={"FAIRLEAD_PORT": "tcp://10.0.0.7:3002"})
    assert "enableServiceLinks: false" in line


def test_hosts_are_given_with_commas_or_as_a_list(tmp_path: Path):
    environment = {"FAIRLEAD_ALLOWED_HOSTS": "a.example, b.example,"}
    assert load(tmp_path, environment=environment).settings.allowed_hosts == ("a.example", "b.example")
    (tmp_path / "fairlead.toml").write_text('allowed_hosts = ["c.example"]')
    assert load(tmp_path).settings.allowed_hosts == ("c.example",)
    (line,) = refusal(tmp_path, environment={"FAIRLEAD_ALLOWED_HOSTS": "ok,http://no"})
    assert line.startswith("FAIRLEAD_ALLOWED_HOSTS: give a name or an address alone")


def test_the_token_is_taken_and_never_shown(tmp_path: Path):
    loaded = load(tmp_path, environment={"FAIRLEAD_TOKEN": TOKEN})
    assert loaded.settings.token is not None
    assert loaded.settings.token.get_secret_value() == TOKEN
    assert TOKEN not in str(loaded.rows()) + repr(loaded)
    lines = refusal(tmp_path, environment={"FAIRLEAD_TOKEN": "too-short"})
    assert "too-short" not in str(lines)
    assert lines[0].startswith("FAIRLEAD_TOKEN: use 16 or more")


def test_rows_name_every_key_with_origin_unit_and_doc(tmp_path: Path):
    rows = {row["key"]: row for row in load(tmp_path, options={"port": 0}).rows()}
    assert rows["port"] == {
        "key": "port",
        "value": "0",
        "unit": "",
        "origin": "--port",
        "variable": "FAIRLEAD_PORT",
        "doc": "The orchestrator's port; 0 takes any free one.",
    }
    assert rows["edge.body_timeout"]["value"] == "30"
    assert rows["edge.body_timeout"]["unit"] == "s"
    assert rows["token"]["value"] == "not set"
    assert rows["allowed_hosts"]["value"] == "none"
