"""What the client programs answer when a server asks for something: always the same, and with their own name
in it, so that an answer that came from another client would show. Parameters and results are wire shapes, for
every SDK to take in its own types. The TypeScript programs answer alike (`ts/answers.mjs`).
"""

from typing import Any


def sampled(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of `sampling/createMessage`: the last message's words, by a model of the client's name."""
    content = params["messages"][-1]["content"]
    (block,) = content if isinstance(content, list) else [content]
    return {
        "role": "assistant",
        "content": {"type": "text", "text": f"{name} heard: {block['text']}"},
        "model": name,
        "stopReason": "endTurn",
    }


def elicited(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of `elicitation/create`. A URL is opened unless it ends in "decline"."""
    if params.get("mode") == "url":
        return {"action": "decline" if params["url"].endswith("decline") else "accept"}
    return {"action": "accept", "content": {"name": name, "check": True, "integer": 7}}


def rooted(name: str) -> dict[str, Any]:
    """The result of `roots/list`."""
    return {"roots": [{"uri": f"file:///roots/{name}", "name": name}]}
