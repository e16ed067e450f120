from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from fairlead.app.settings import KEYS, Settings, base_url, default_state_dir, show
from fairlead.model.errors import ProblemError

TOKEN = "0123456789abcdef"


def test_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.config == tmp_path / "config" / "mcp-servers.yml"
    assert settings.lock_file == tmp_path / "config" / "mcp-servers.lock"
    assert settings.state_dir == Path("/home/ada/.local/state/fairlead")
    assert settings.workspace == Path("/home/ada/.local/state/fairlead/workspace")
    assert (settings.host, settings.port, settings.gitops_port) == ("127.0.0.1", 3002, 5000)
    assert settings.token is None
    assert settings.edge.header_timeout == 10
    assert settings.edge.body_timeout == 30
    assert settings.edge.keep_alive_timeout == 75
    assert settings.edge.shutdown_timeout == 4
    assert settings.sessions.idle_expiry == 3600


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("/xdg", "/xdg/fairlead"),
        ("relative", "/home/ada/.local/state/fairlead"),  # the XDG specification: ignore it
        ("", "/home/ada/.local/state/fairlead"),
    ],
)
def test_the_state_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, base: str, expected: str):
    monkeypatch.setenv("HOME", "/home/ada")
    assert default_state_dir({"XDG_STATE_HOME": base}) == Path(expected)


def test_the_workspace_lies_in_the_state_folder_unless_it_is_given(tmp_path: Path):
    assert Settings(state_dir=tmp_path).workspace == tmp_path / "workspace"
    assert Settings(state_dir=tmp_path, workspace=tmp_path / "w").workspace == tmp_path / "w"


def test_settings_are_frozen_and_few():
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
    assert len(KEYS) <= 80
    assert len({key.variable for key in KEYS}) == len(KEYS)
    for key in KEYS:
        assert key.doc.endswith("."), key
        assert key.default, key
        assert key.unit or not isinstance(key.value(Settings()), float), key


def test_what_is_secret():
    assert {key.path for key in KEYS if key.secret} >= {"token", "secrets.identity"}


def test_a_secret_is_never_shown():
    settings = Settings(token=SecretStr(TOKEN))
    assert TOKEN not in repr(settings)
    assert TOKEN not in show(settings.token)
    with pytest.raises(ValidationError) as caught:
        Settings(token=SecretStr("tiny-secret"))
    assert "tiny-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 65536},
        {"port": -1},
        {"host": ""},
        {"host": "http://x"},
        {"host": "x:80"},
        {"host": "a b"},
        {"token": "short"},
        {"token": "with spaces in the middle"},
        {"token": "ünïcödé-ünïcödé-ünïcödé"},
        {"allowed_hosts": ["a/b"]},
        {"edge": {"body_timeout": 0}},
        {"edge": {"body_timeout": "inf"}},
        {"edge": {"body_timeout": "nan"}},
        {"edge": {"max_connections": 0}},
        {"log": {"level": "loud"}},
        {"unknown": 1},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]):
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "a-b.example"])
def test_hosts_that_can_be(host: str):
    assert Settings(host=host).host == host


def test_the_home_of_nobody_is_an_error():
    with pytest.raises(ValidationError, match=r"~nobody-9 is nobody's home"):
        Settings(workspace=Path("~nobody-9/w"))


def test_a_home_is_expanded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert Settings(workspace=Path("~/w")).workspace == Path("/home/ada/w")


def test_the_fleet_file_must_be_there(tmp_path: Path):
    with pytest.raises(ProblemError) as caught:
        Settings(config=tmp_path / "none.yml").require_config()
    problem = caught.value.problem
    assert problem.status == 400
    for part in (str(tmp_path / "none.yml"), "no such file", "--config", "FAIRLEAD_CONFIG"):
        assert part in problem.detail
    with pytest.raises(ProblemError, match="not a file"):
        Settings(config=tmp_path).require_config()
    (tmp_path / "fleet.yml").touch()
    assert Settings(config=tmp_path / "fleet.yml").require_config() == tmp_path / "fleet.yml"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("box.example", "http://box.example:80"),
    ],
)
def test_the_url_is_one_that_can_be_reached_from_here(host: str, url: str):
    assert base_url(host, 80) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss@db.example:5432/name?sslmode=require",
        "postgres:///name?host=/run/postgresql",
        "postgresql://one:5432,[::1]:5433,two/name",
        "postgresql://",
    ],
)
def test_a_database(url: str):
    settings = Settings(database=SecretStr(url))
    assert settings.database is not None
    assert settings.database.get_secret_value() == url
    assert show(settings.database) == "********"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite:///x.db",
        "mysql://u:canary@h/n",
        "postgresql://u:can/ary@h/n",
        "postgresql://u:can#ary@h/n",
        "postgresql://u:can?ary@h/n",
        "postgresql://u@h:canary/n",
    ],
)
def test_a_database_that_cannot_be(url: str):
    with pytest.raises(ValidationError, match="postgresql://user:password@host:5432/name") as caught:
        Settings(database=SecretStr(url))
    assert "canary" not in str(caught.value)
    assert "ary" not in str(caught.value).replace("binary", "")
