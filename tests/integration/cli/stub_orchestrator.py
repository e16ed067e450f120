"""Stands in for `fairlead orchestrator`: the real state folder, lock and tokens, three invented servers.

    stub_orchestrator.py STATE_DIR [--stop-with-stdin] [--slow S] [--die S] [--deaf] [--never]

The server `slow` gets ready after S seconds; `--die` ends the process with code 3 after S seconds; `--deaf`
ignores SIGTERM; `--never` leaves `slow` starting for ever; `--late` and `--linger` make the time between
taking the lock and listening, and between closing and giving the lock back, longer.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore, digest


def server(name: str, state: str, message: str, *, tools: int = 0) -> dict[str, object]:
    return {
        "id": name, "state": state, "message": message, "tools": tools, "resources": 0, "prompts": 0,
        "conditions": [], "instances": [], "source": f"npm:{name}@1.0.0", "sharing": "shared",
        "capabilities": [], "weight": 1.0, "restarts": 0,
    }  # fmt: skip


class Fleet:
    def __init__(self, ready_after: float, *, never: bool) -> None:
        self.began = time.monotonic()
        self.ready_after = ready_after
        self.never = never

    def servers(self) -> list[dict[str, object]]:
        ready = not self.never and time.monotonic() - self.began > self.ready_after
        slow = (
            server("slow", "ready", "2 tools", tools=2) if ready else server("slow", "starting", "handshake")
        )
        return [
            server("filesystem", "ready", "14 tools", tools=14),
            slow,
            server("magic", "blocked", "needs A_KEY"),
        ]


def handler(fleet: Fleet, tokens: TokenStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            allowed = digest(token) in tokens.digests()
            body = {"servers": fleet.servers()} if allowed else {"title": "no valid token", "detail": ""}
            content = json.dumps(body).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("--stop-with-stdin", action="store_true")
    parser.add_argument("--slow", type=float, default=0.3)
    parser.add_argument("--die", type=float)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--never", action="store_true")
    parser.add_argument("--late", type=float, default=0.0)
    parser.add_argument("--linger", type=float, default=0.0)
    options = parser.parse_args()
    over = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.deaf else lambda *_: over.set())
    state = StateFolder(options.state_dir)
    state.prepare()
    tokens = TokenStore(state, environment_token=os.environ.get("FAIRLEAD_TOKEN"))
    tokens.ensure_local()
    with state.lock():
        service = ThreadingHTTPServer(
            ("127.0.0.1", 0), handler(Fleet(options.slow, never=options.never), tokens)
        )
        threading.Thread(target=service.serve_forever, daemon=True).start()
        time.sleep(options.late)
        state.write_run({"orchestrator": f"http://127.0.0.1:{service.server_port}"}, "0")
        print(json.dumps({"level": "info", "event": "listening"}), flush=True)
        print(json.dumps({"level": "warning", "event": "watch out", "server": "magic"}), flush=True)
        if options.stop_with_stdin:
            threading.Thread(target=lambda: (os.read(0, 1), over.set()), daemon=True).start()
        if options.die is not None and not over.wait(options.die):
            print("error: it all went wrong", file=sys.stderr, flush=True)
            os._exit(3)
        while not over.wait(0.2):
            print(
                json.dumps({"event": "server state", "server": "slow", "state": "failed", "message": "x"}),
                flush=True,
            )
        service.shutdown()
        service.server_close()
        time.sleep(options.linger)
        state.clear_run()


if __name__ == "__main__":
    main()
