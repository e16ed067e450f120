"""How people sign in, by the settings: OAuth's access tokens, and browsers' cookies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead.app.settings import Settings
from fairlead.core.admission import SignIn
from fairlead.core.challenge import SCOPE
from fairlead.model.access import Role

if TYPE_CHECKING:
    from fairlead.access.jwks import SigningKeys
    from fairlead.access.jwt import JwtVerifier


@dataclass(frozen=True, slots=True)
class OAuth:
    """What checks access tokens, and the keys that it checks them with; those must `run`."""

    verifier: JwtVerifier
    keys: SigningKeys


def open_oauth(settings: Settings, addresses: Mapping[str, str]) -> OAuth | None:
    """None without an issuer. `addresses` are the base URLs of what is served, see `app.listening`."""
    oauth = settings.oauth
    if oauth.issuer is None:
        return None
    from fairlead.access.jwks import SigningKeys  # noqa: PLC0415 - memory that few need
    from fairlead.access.jwt import JwtVerifier, TokenRules  # noqa: PLC0415

    rules = TokenRules(
        oauth.issuer,
        settings.public_url or addresses["mcp"],
        oauth.audience,
        principal_claim=oauth.principal_claim,
        role_claim=oauth.role_claim,
        default_role=Role[oauth.default_role.upper()] if oauth.default_role else None,
    )
    keys = SigningKeys(oauth.issuer, oauth.jwks)
    return OAuth(JwtVerifier(rules, keys), keys)


def pages_address(settings: Settings, addresses: Mapping[str, str]) -> str:
    """The base URL under which people reach the pages. `public_url` is MCP's where that is apart."""
    if settings.public_url is not None and addresses["mcp"] == addresses["orchestrator"]:
        return settings.public_url
    return addresses["orchestrator"]


def sign_in(settings: Settings, addresses: Mapping[str, str]) -> SignIn:
    """What the door says and looks for.

    The cookie's name holds the port, since cookies are not kept apart by ports; with TLS it is one that no
    other host, and nobody on the way, can set.
    """
    pages = pages_address(settings, addresses)
    cookie = f"fairlead_session_{addresses['orchestrator'].rpartition(':')[2]}"
    oauth = settings.oauth
    taken = oauth.issuer is not None
    return SignIn(
        resource=(settings.public_url or addresses["mcp"]) if taken else "",
        issuer=oauth.issuer or "",
        scope=SCOPE if taken and oauth.role_claim is None and oauth.default_role is None else "",
        cookie="__Host-" + cookie if pages.startswith("https:") else cookie,
    )
