"""Stands in for `fairlead gitops`: the real state folder and lock, two invented applications.

    stub_gitops.py STATE_DIR [--stop-with-stdin] [--die] [--die-once FILE] [--deaf] [--mute] [--order FILE]

`--die` ends the process with code 3 at once, `--die-once` only if FILE is not there, and makes it; `--deaf`
ignores SIGTERM; `--mute` has no answer but 503; `--order` has it note in FILE whether the orchestrator still
ran when it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fairlead.stores.state import GITOPS, StateFolder

APPLICATIONS = [
    {"name": name, "mode": "observe", "conditions": [{"type": "Ready", "status": ready}]}
    for name, ready in (("fleet", True), ("files", False))
]


def handler(*, mute: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps({"applications": APPLICATIONS}).encode()
            self.send_response(503 if mute else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    return Handler


def end_badly() -> None:
    print("error: it all went wrong", file=sys.stderr, flush=True)
    os._exit(3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("--stop-with-stdin", action="store_true")
    parser.add_argument("--die", action="store_true")
    parser.add_argument("--die-once", type=Path)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--mute", action="store_true")
    parser.add_argument("--order", type=Path)
    options = parser.parse_args()
    over = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.deaf else lambda *_: over.set())
    if options.die:
        end_badly()
    if options.die_once is not None and not options.die_once.exists():
        options.die_once.touch()
        end_badly()
    orchestrator = StateFolder(options.state_dir)
    state = orchestrator.of(GITOPS)
    with state.lock():
        service = ThreadingHTTPServer(("127.0.0.1", 0), handler(mute=options.mute))
        threading.Thread(target=service.serve_forever, daemon=True).start()
        state.write_run({GITOPS: f"http://127.0.0.1:{service.server_port}"}, "0")
        print(json.dumps({"level": "warning", "event": "look here", "source": "config"}), flush=True)
        if options.stop_with_stdin:
            threading.Thread(target=lambda: (os.read(0, 1), over.set()), daemon=True).start()
        over.wait()
        if options.order is not None:
            options.order.write_text("orchestrator runs" if orchestrator.holder() else "it is gone")
        state.clear_run()
        service.shutdown()
        service.server_close()


if __name__ == "__main__":
    main()
