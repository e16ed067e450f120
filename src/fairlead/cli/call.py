"""`fairlead call`: one call of one tool, through the running fleet."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from fairlead.cli.client import connect
from fairlead.cli.options import ServerName, json_option, load, state_options
from fairlead.cli.output import plain, print_json


@click.command("call")
@click.argument("server", type=ServerName())
@click.argument("tool")
@click.argument("arguments", default="{}", metavar="[JSON]")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds. [the server's own]")
@json_option
@state_options
def call_command(
    server: str, tool: str, arguments: str, *, timeout: float | None, as_json: bool, **given: Any
) -> None:
    """Call TOOL of SERVER with the arguments JSON (an object; `-` reads it from stdin) and print its text.

    TOOL is the server's own name for it, without the prefix. Exits with 1 when the tool reports an error.
    """
    request: dict[str, Any] = {
        "server": server,
        "method": "tools/call",
        "params": {"name": tool, "arguments": _arguments(arguments)},
    }
    if timeout is not None:
        request["timeout"] = timeout
    result = connect(load(**given).settings).post("/api/request", request)["result"]
    failed = bool(result.get("isError"))
    if as_json:
        print_json(result)
    else:
        for text in _texts(result):
            click.echo(plain(text) if sys.stdout.isatty() else text, err=failed)
    if failed:
        raise click.exceptions.Exit(1)


def _arguments(text: str) -> dict[str, Any]:
    content = sys.stdin.read() if text == "-" else text
    try:
        value = json.loads(content)
    except ValueError as error:
        msg = f"the arguments are not JSON: {error}"
        raise click.BadParameter(msg, param_hint="JSON") from error
    if not isinstance(value, dict):
        msg = 'the arguments must be a JSON object, such as {"path": "notes.txt"}'
        raise click.BadParameter(msg, param_hint="JSON")
    return value


def _texts(result: dict[str, Any]) -> list[str]:
    """What of a result can be read as text; the rest is named."""
    content = result.get("content") or []
    if not content and "structuredContent" in result:
        return [json.dumps(result["structuredContent"], ensure_ascii=False, indent=2)]
    return [_text(block) for block in content]


def _text(block: dict[str, Any]) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": "resource", "resource": {"uri": uri}} | {"type": "resource_link", "uri": uri}:
            return f"[{uri}]"
        case {"type": kind, "mimeType": media, "data": str(data)}:
            return f"[{kind}, {media}, {len(data) * 3 // 4} bytes: --json shows it]"
        case _:
            return f"[{block.get('type', 'unknown content')}: --json shows it]"
