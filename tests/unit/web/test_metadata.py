from __future__ import annotations

import hashlib

import pytest

from fairlead.core.admission import AdmissionPolicy, SignIn
from support.web_services import TOKEN, client, services

WELL_KNOWN = "/.well-known/oauth-protected-resource"
FLEET = "https://fleet.example"


def policy(sign_in: SignIn) -> AdmissionPolicy:
    return AdmissionPolicy.compile({hashlib.sha256(TOKEN.encode()).digest(): "ada"}, 3002, sign_in=sign_in)


@pytest.mark.parametrize(
    "endpoint", ["", "/mcp", "/servers/filesystem/mcp", "/servers/none/mcp", "/toolsets/t/mcp"]
)
async def test_each_endpoint_has_its_metadata(endpoint: str):
    signing_in = SignIn(FLEET, "https://login.example", "fairlead:developer")
    async with client(services(admits=policy(signing_in))) as http:
        answer = await http.get(WELL_KNOWN + endpoint)
        assert answer.status_code == 200
        document = answer.json()
        assert document["resource"] == FLEET + endpoint
        assert document["authorization_servers"] == ["https://login.example"]
        assert document["bearer_methods_supported"] == ["header"]
        assert document["scopes_supported"][-1] == ("fairlead:developer" if endpoint else "fairlead:admin")
        refused = await http.get(endpoint or "/api/servers")  # both lanes say the same, see test_oauth
        assert f'resource_metadata="{FLEET}{WELL_KNOWN}{endpoint}"' in refused.headers["www-authenticate"]


async def test_scopes_that_say_nothing_are_not_named():
    async with client(services(admits=policy(SignIn(FLEET, "https://login.example")))) as http:
        assert "scopes_supported" not in (await http.get(WELL_KNOWN)).json()
        assert "scope=" not in (await http.get("/mcp")).headers["www-authenticate"]


async def test_without_oauth_there_is_none():
    async with client(services(admits=policy(SignIn()))) as http:
        assert (await http.get(WELL_KNOWN)).status_code == 404
        assert (await http.get(WELL_KNOWN + "/mcp")).status_code == 404
        assert (await http.post(WELL_KNOWN)).status_code == 401
