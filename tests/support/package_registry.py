"""An npm registry and a Python package index on loopback, with packages made on the spot."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class PackageRegistry:
    """Set `token` to ask for one, clear `gate` to hold archives back, change `archives` to tamper."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[str] = []
        self.token: str | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.archives: dict[str, bytes] = {}
        self._npm: dict[str, dict[str, Any]] = {}
        self._pypi: dict[str, dict[str, str]] = {}

    @property
    def downloads(self) -> list[str]:
        return [path for path in self.requests if path in self.archives]

    def environ(self, home: object) -> dict[str, str]:
        """The environment of somebody who uses this registry and nothing else."""
        return {
            "HOME": str(home),
            "npm_config_registry": self.url,
            "npm_config_fetch_retries": "0",
            "UV_DEFAULT_INDEX": f"{self.url}/simple/",
            "UV_HTTP_RETRIES": "0",
        }

    def integrity(self, name: str, version: str) -> str:
        return str(self._npm[name]["versions"][version]["dist"]["integrity"])

    def npm(
        self, name: str, version: str = "1.0.0", files: Mapping[str, str] | None = None, **manifest: Any
    ) -> None:
        """Publish an npm package; `manifest` goes into its package.json."""
        manifest = {"name": name, "version": version, **manifest}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path, text in {**(files or {}), "package.json": json.dumps(manifest)}.items():
                entry = tarfile.TarInfo(f"package/{path}")
                entry.size = len(text.encode())
                entry.mode = 0o755
                archive.addfile(entry, io.BytesIO(text.encode()))
        path = f"/{name}/-/{version}.tgz"
        self.archives[path] = packed.getvalue()
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()
        document = self._npm.setdefault(name, {"name": name, "dist-tags": {}, "versions": {}})
        document["dist-tags"]["latest"] = version
        document["versions"][version] = manifest | {
            "dist": {"tarball": self.url + path, "integrity": integrity}
        }

    def pypi(
        self,
        name: str,
        version: str = "1.0.0",
        *,
        files: Mapping[str, str] | None = None,
        scripts: Mapping[str, str] | None = None,
        requires: tuple[str, ...] = (),
        wheel: bool = True,
    ) -> None:
        """Publish a wheel (or, with `wheel=False`, something that claims to be a source distribution)."""
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += "".join(f"Requires-Dist: {item}\n" for item in requires)
        console = "".join(f"{script} = {target}\n" for script, target in (scripts or {}).items())
        content = {
            **(files or {f"{module}.py": "def main():\n    print('hello')\n"}),
            f"{info}/METADATA": metadata,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": f"[console_scripts]\n{console}",
        }
        record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path, text in {**content, f"{info}/RECORD": record}.items():
                archive.writestr(zipfile.ZipInfo(path), text)
        file = f"{module}-{version}-py3-none-any.whl" if wheel else f"{module}-{version}.tar.gz"
        path = f"/files/{file}"
        self.archives[path] = packed.getvalue()
        self._pypi.setdefault(name, {})[file] = hashlib.sha256(packed.getvalue()).hexdigest()

    def answer(self, path: str, authorization: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        self.requests.append(path)
        if self.token is not None and self.token not in authorization:
            return 401, "application/json", b'{"error": "who are you?"}'
        if path in self.archives:
            self.gate.wait(60)
            return 200, "application/octet-stream", self.archives[path]
        if path.startswith("/simple/"):
            files = self._pypi.get(path.split("/")[2], {})
            links = "".join(
                f'<a href="{self.url}/files/{file}#sha256={digest}">{file}</a>\n'
                for file, digest in files.items()
            )
            page = f"<!DOCTYPE html><html><body>{links}</body></html>"
            return (200 if files else 404), "text/html", page.encode()
        document = self._npm.get(path.removeprefix("/"))
        return (
            (404, "application/json", b"{}")
            if document is None
            else (200, "application/json", json.dumps(document).encode())
        )


@contextmanager
def package_registry() -> Iterator[PackageRegistry]:
    registry: PackageRegistry

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            authorization = self.headers.get("authorization", "")
            status, kind, body = registry.answer(unquote(self.path), authorization)
            try:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)
            except ConnectionError:  # the client was killed
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class has it
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    registry = PackageRegistry(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
