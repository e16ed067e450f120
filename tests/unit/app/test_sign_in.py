from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fairlead.app.settings import Settings
from fairlead.app.sign_in import open_oauth, pages_address, sign_in

ONE = {"orchestrator": "http://127.0.0.1:3002", "mcp": "http://127.0.0.1:3002"}
TWO = {"orchestrator": "http://127.0.0.1:3003", "mcp": "http://127.0.0.1:3002"}
ISSUER = "https://login.example/tenant"


def settings(**given: Any) -> Settings:
    return Settings.model_validate(given)


def test_without_an_issuer_there_are_no_access_tokens():
    assert open_oauth(settings(), ONE) is None
    signing_in = sign_in(settings(), ONE)
    assert (signing_in.resource, signing_in.issuer, signing_in.scope) == ("", "", "")
    assert signing_in.cookie == "fairlead_session_3002"


def test_the_resource_is_the_public_url_or_where_mcp_is_served():
    given = {"oauth": {"issuer": ISSUER}}
    assert sign_in(settings(**given), TWO).resource == TWO["mcp"]
    public = settings(**given, public_url="https://Fleet.example/")
    assert sign_in(public, ONE).resource == "https://fleet.example"
    assert "fleet.example" in public.own_hosts
    assert open_oauth(public, ONE) is not None


def test_a_scope_is_asked_for_only_where_scopes_say_something():
    assert sign_in(settings(oauth={"issuer": ISSUER}), ONE).scope == "fairlead:developer"
    assert sign_in(settings(oauth={"issuer": ISSUER, "role_claim": "roles"}), ONE).scope == ""
    assert sign_in(settings(oauth={"issuer": ISSUER, "default_role": "developer"}), ONE).scope == ""


def test_pages_are_where_people_reach_them():
    public = settings(public_url="https://fleet.example")
    assert pages_address(public, ONE) == "https://fleet.example"
    assert pages_address(public, TWO) == TWO["orchestrator"]  # the public URL is MCP's there
    assert sign_in(public, ONE).cookie == "__Host-fairlead_session_3002"
    assert sign_in(public, TWO).cookie == "fairlead_session_3003"


@pytest.mark.parametrize(
    "given",
    [
        {"public_url": "fleet.example"},
        {"public_url": "https://fleet.example/path"},
        {"public_url": "https://u:p@fleet.example"},
        {"public_url": "ftp://fleet.example"},
        {"public_url": "https://fleet.example?x"},
        {"public_url": ""},
        {"oauth": {"issuer": "http://login.example"}},
        {"oauth": {"issuer": "login.example"}},
        {"oauth": {"issuer": "https://login.example#x"}},
        {"oauth": {"issuer": ISSUER, "jwks": "http://login.example/keys"}},
        {"oauth": {"issuer": ISSUER, "jwks": "file:///etc/passwd"}},
        {"oauth": {"issuer": ISSUER, "default_role": "root"}},
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any]):
    with pytest.raises(ValidationError):
        settings(**given)


def test_a_list_in_a_variable():
    assert settings(oauth={"issuer": ISSUER, "audience": "api://a, api://b"}).oauth.audience == (
        "api://a",
        "api://b",
    )
