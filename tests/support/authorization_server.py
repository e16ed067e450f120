"""A little OAuth authorization server on loopback: keys that rotate, and how such a server fails."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from support.threaded_http import ThreadedHttp

RESOURCE = "https://fairlead.example"
Failure = Literal[
    "", "slow", "drip", "huge", "huge-head", "html", "list", "empty", "cut", "500", "redirect", "not-http"
]


def rsa(kid: str, bits: int = 2048) -> RSAKey:
    return RSAKey.generate_key(bits, {"kid": kid, "use": "sig"})


def ec(kid: str, curve: Any = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": kid})


def ed(kid: str) -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": kid})


@dataclass
class AuthorizationServer(ThreadedHttp):
    """`keys` are published, `failure` says how it fails, `asked` counts the requests by path."""

    keys: list[Key] = field(default_factory=lambda: [ec("k1")])
    failure: Failure = ""
    elsewhere: str = ""  # where `redirect` leads
    cache_control: str = ""
    issuer_said: str | None = None  # instead of the true one
    asked: list[str] = field(default_factory=list)
    extra_keys: list[Any] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)  # what the token endpoint was sent
    grants: dict[str, tuple[int, Any]] = field(default_factory=dict)  # grant_type -> (status, answer)
    released: threading.Event = field(default_factory=threading.Event)

    def __exit__(self, *error: object) -> None:
        self.released.set()
        super().__exit__(*error)

    @property
    def issuer(self) -> str:
        return self.address + "/tenant"

    @property
    def jwks(self) -> str:
        return self.address + "/keys"

    def token(self, key: Key | None = None, *, header: dict[str, Any] | None = None, **claims: Any) -> bytes:
        """A good token, but for what is said; a claim of None is left out."""
        key = key or self.keys[0]
        whole = {
            "iss": self.issuer,
            "aud": RESOURCE,
            "sub": "ada",
            "scope": "fairlead:developer",
            "exp": int(time.time()) + 600,
        } | claims
        return sign(key, {k: v for k, v in whole.items() if v is not None}, header)

    def _metadata(self) -> dict[str, Any]:
        return {"issuer": self.issuer_said or self.issuer, "jwks_uri": self.jwks}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append(self.path)
                with contextlib.suppress(OSError):  # the client has had enough
                    self._fail() if server.failure else self._answer()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                authorization = self.headers.get("Authorization", "")
                if authorization.startswith("Basic "):
                    form["basic"] = base64.b64decode(authorization[6:]).decode()
                server.forms.append(form)
                status, answer = server.grants.get(
                    form.get("grant_type", ""), (400, {"error": "invalid_grant"})
                )
                if callable(answer):
                    answer = answer(form)
                self._send(json.dumps(answer).encode(), status=status)

            def _answer(self) -> None:
                if self.path == "/keys":
                    rows = KeySet(list(server.keys)).as_dict(private=False)["keys"] if server.keys else []
                    self._send(json.dumps({"keys": [*server.extra_keys, *rows]}).encode())
                elif self.path == "/.well-known/oauth-authorization-server/tenant":
                    self._send(json.dumps(server._metadata()).encode())
                else:
                    self._send(b"{}", status=404)

            def _fail(self) -> None:
                match server.failure:
                    case "slow":
                        server.released.wait(60)
                    case "drip":  # a byte now and then: no single read takes long
                        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                        while not server.released.wait(0.02):
                            self.wfile.write(b" ")
                    case "huge":
                        self._send(b'{"keys": [' + b" " * 400_000 + b"]}")
                    case "huge-head":
                        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 60_000 + b"\r\n")
                        self.wfile.write(b"X-B: " + b"a" * 60_000 + b"\r\n\r\n{}")
                    case "html":
                        self._send(b"<html>please log in</html>")
                    case "list":
                        self._send(b"[1, 2]")
                    case "empty":
                        self._send(b'{"keys": []}')
                    case "cut":
                        self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"keys": [')
                    case "500":
                        self._send(b"{}", status=500)
                    case "redirect":
                        self._send(b"", status=302, location=server.elsewhere)
                    case "not-http":
                        self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
                self.close_connection = True

            def _send(self, body: bytes, *, status: int = 200, location: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if server.cache_control:
                    self.send_header("Cache-Control", server.cache_control)
                if location:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def sign(key: Key, claims: dict[str, Any], header: dict[str, Any] | None = None) -> bytes:
    """A JWT; the header's algorithm is the key's usual one unless it is given."""
    usual = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519"}.get(key.key_type, "HS256")
    whole = {"alg": usual, "kid": key.kid, "typ": "at+jwt"} | (header or {})
    whole = {name: value for name, value in whole.items() if value is not None}
    registry = JWSRegistry(algorithms=[whole["alg"]], strict_check_header=False)
    return jwt.encode(whole, claims, key, registry=registry).encode()


def part(value: bytes) -> bytes:
    """base64url, as the parts of a token are."""
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def sign_raw(key: Key, header: bytes, payload: bytes, algorithm: str = "ES256") -> bytes:
    """A token over these very bytes, whatever is in them."""
    signed = part(header) + b"." + part(payload)
    return signed + b"." + part(JWSRegistry.algorithms[algorithm].sign(signed, key))
