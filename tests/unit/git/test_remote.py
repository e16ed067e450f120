"""Where a repository may be, and how its credentials travel."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.git.failures import GitFailedError
from fairlead.git.remote import Remote, opened, remote_of
from fairlead.model.gitops import Source
from fairlead.model.reconciling import Reason


def source(url: str, **more: object) -> Source:
    return Source.model_validate({"url": url, **more})


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("https://git.example/team/config.git", "https"),
        ("https://git.example:8443/team/config.git", "https"),
        ("http://127.0.0.1:3000/config.git", "http"),
        ("http://localhost/config.git", "http"),
        ("ssh://git@git.example:22/config.git", "ssh"),
        ("git@git.example:team/config.git", "ssh"),
        ("git.example:team/config.git", "ssh"),
    ],
)
def test_addresses_on_the_network(url, protocol):
    assert remote_of(source(url)) == Remote(url, protocol)


@pytest.mark.parametrize("url", ["/srv/my config", "file:///srv/my%20config"])
def test_paths(url):
    path = Path("/srv/my config")
    assert remote_of(source(url)) == Remote(str(path), "file", path)


def test_paths_from_a_base_and_from_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert remote_of(source("config"), Path("/srv")).path == Path("/srv/config")
    assert remote_of(source("./config"), Path("/srv")).path == Path("/srv/config")
    assert remote_of(source("~/config")).path == Path("/home/ada/config")
    assert remote_of(source("~nobody-9/config"), Path("/srv")).path == Path("/srv/~nobody-9/config")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-oProxyCommand=touch x",
        "--upload-pack=x",
        "ext::sh -c x",
        "https://git.example/a b",
        "https://git.example/a\nb",
        "https://ada:pw@git.example/x",
        "https://ada@git.example/x",
        "ssh://ada:pw@git.example/x",
        "http://git.example/x",
        "git://git.example/x",
        "ftp://git.example/x",
        "https://",
        "https:///x",
        "-x:y",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(GitFailedError) as caught:
        remote_of(source(url))
    assert caught.value.reason is Reason.SOURCE_REFUSED
    assert not caught.value.temporary
    assert "pw" not in caught.value.message


@given(st.text(max_size=60))
def test_nothing_else_than_four_protocols(url):
    try:
        remote = remote_of(source(url), Path("/srv"))
    except GitFailedError:
        return
    assert remote.protocol in {"https", "http", "ssh", "file"}
    assert not remote.url.startswith("-")
    assert (remote.path is not None) == (remote.protocol == "file")


SECRETS = {"${TOKEN}": "s3cr3t", "${KEY}": "-----BEGIN KEY-----\nabc\n-----END KEY-----"}


def opened_for(tmp_path: Path, url: str, **more: object):
    spec = source(url, **more)
    return opened(spec, remote_of(spec), SECRETS.__getitem__, private=tmp_path / "private")


def test_a_token_is_in_the_environment_only(tmp_path):
    with opened_for(tmp_path, "https://git.example:8443/x", username="ada", token="${TOKEN}") as access:
        assert not any("s3cr3t" in setting for setting in access.settings)
        assert "s3cr3t" not in repr(access)
        assert access.environment["FAIRLEAD_GIT_PASSWORD"] == "s3cr3t"
        assert access.hidden == ("s3cr3t",)
        assert access.protocols == ("https",)
        helpers = [
            setting.partition("=")[0] for setting in access.settings if "helper" in setting.partition("=")[0]
        ]
        assert helpers == ["credential.helper", "credential.https://git.example:8443.helper"]


def test_without_a_token_the_users_own_helpers_are_asked(tmp_path):
    with opened_for(tmp_path, "https://git.example/x") as access:
        assert access.settings == ()


def test_a_key_is_a_private_file_for_a_while(tmp_path):
    with opened_for(
        tmp_path, "git@git.example:x", ssh_key="${KEY}", known_hosts="/etc/known hosts"
    ) as access:
        command = access.environment["GIT_SSH_COMMAND"]
        (key,) = (tmp_path / "private").iterdir()
        assert key.read_text() == SECRETS["${KEY}"] + "\n"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
        assert f"-i {key}" in command
        assert "IdentitiesOnly=yes" in command
        assert "'-oUserKnownHostsFile=/etc/known hosts'" in command
        assert "StrictHostKeyChecking=yes" in command
        assert "BatchMode=yes" in command
        assert "abc" not in command
    assert list((tmp_path / "private").iterdir()) == []


def test_without_a_key_the_users_own_are_used(tmp_path):
    with opened_for(tmp_path, "git@git.example:x") as access:
        assert " -i " not in access.environment["GIT_SSH_COMMAND"]
    assert not (tmp_path / "private").exists()
