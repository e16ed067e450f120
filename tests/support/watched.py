"""Scripted servers whose resources can be watched, and what they know by what they were sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from support.scripted import INFO, Script, ScriptedLink, answer, legacy, refuse

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CHANGING = {"listChanged": True}
WATCHED = {"tools": CHANGING, "resources": {"subscribe": True, **CHANGING}}


def watched(era: str, capabilities: dict[str, Any] | None = None) -> Script:
    """It refuses to be asked about URIs that have `refused` in them."""
    return (_modern if era == "modern" else _legacy)(WATCHED if capabilities is None else capabilities)


def _legacy(capabilities: dict[str, Any]) -> Script:
    usual = legacy()

    def script(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        method = message.get("method")
        if method == "initialize":
            about = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": INFO}
            return [answer(message, **about)]
        if method == "resources/subscribe" and "refused" in message["params"]["uri"]:
            return [refuse(message, -32602, "there is no such resource")]
        if method in ("resources/subscribe", "resources/unsubscribe"):
            return [answer(message)]
        return usual(message)

    return script


def _modern(capabilities: dict[str, Any]) -> Script:
    usual = legacy()

    def script(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        method = message.get("method")
        if method == "server/discover":
            return [answer(message, supportedVersions=["2026-07-28"], capabilities=capabilities)]
        if method == "subscriptions/listen":
            return [acknowledgement(message)]
        return [] if method == "initialize" else usual(message)

    return script


def acknowledgement(message: dict[str, Any]) -> dict[str, Any]:
    honoured = dict(message["params"]["notifications"])
    uris = [uri for uri in honoured.pop("resourceSubscriptions", []) if "refused" not in uri]
    if uris:
        honoured["resourceSubscriptions"] = uris
    params = {"notifications": honoured, "_meta": {SUBSCRIPTION: message["id"]}}
    return {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}


def listens(link: ScriptedLink) -> dict[int, dict[str, Any]]:
    """The filters of the subscriptions that are open there, by their ids."""
    found = {m["id"]: m["params"]["notifications"] for m in asked(link, "subscriptions/listen")}
    for message in asked(link, "notifications/cancelled"):
        found.pop(message["params"]["requestId"], None)
    return found


def knows(link: ScriptedLink) -> list[str]:
    """What the server was asked to tell of, once for each time that it would."""
    found = [uri for each in listens(link).values() for uri in each.get("resourceSubscriptions", [])]
    for message in link.sent:
        if message.get("method") == "resources/subscribe":
            found.append(message["params"]["uri"])
        elif message.get("method") == "resources/unsubscribe" and message["params"]["uri"] in found:
            found.remove(message["params"]["uri"])
    return sorted(uri for uri in found if "refused" not in uri)


def asked(link: ScriptedLink, method: str) -> list[dict[str, Any]]:
    return [message for message in link.sent if message.get("method") == method]


def touch(link: ScriptedLink, uri: str) -> None:
    """The resource changes: the server tells whoever asked."""
    for number, each in listens(link).items():
        if uri in each.get("resourceSubscriptions", []) and "refused" not in uri:
            say(link, "notifications/resources/updated", uri=uri, _meta={SUBSCRIPTION: number})
    if not listens(link) and uri in knows(link):
        say(link, "notifications/resources/updated", uri=uri)


def say(link: ScriptedLink, method: str, **params: Any) -> None:
    link.say({"jsonrpc": "2.0", "method": method, "params": params})
