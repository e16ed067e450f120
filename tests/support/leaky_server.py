"""An MCP server over stdio that tells its secrets wherever it can: on stderr, in errors, in its last words.

It speaks 2025-11-25 with two tools: `boom` answers with an error that has the whole environment in it, `die`
ends the process after saying it once more. Standard library only.
"""

import json
import os
import sys

ALL = json.dumps(dict(os.environ)) + " " + " ".join(sys.argv)
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("boom", "die", "echo")]


def answer(message):
    match message["method"]:
        case "initialize":
            about = {"name": "leaky", "version": "1"}
            return {
                "result": {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}},
                    "serverInfo": about,
                }
            }
        case "ping":
            return {"result": {}}
        case "tools/list":
            return {"result": {"tools": TOOLS}}
        case "tools/call" if message["params"]["name"] == "echo":
            return {"result": {"content": [{"type": "text", "text": "ok"}]}}
        case "tools/call" if message["params"]["name"] == "die":
            print("dying with", ALL, file=sys.stderr, flush=True)
            sys.exit(7)
        case "tools/call":
            return {"error": {"code": -32001, "message": f"no luck with {ALL}", "data": {"all": ALL}}}
    return {"error": {"code": -32601, "message": "Method not found"}}


print("began with", ALL, file=sys.stderr, flush=True)
if os.environ.get("DIES"):
    sys.exit(3)
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        reply = {"jsonrpc": "2.0", "id": message["id"], **answer(message)}
        print(json.dumps(reply), flush=True)
