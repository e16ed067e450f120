"""Secrets with distinctive values, planted wherever a secret can come from, and looked for everywhere else.

The service runs as a process of its own, over a server that tells its environment on stderr and in errors,
and over remote servers with secret headers and URLs. Then there are calls, failing calls, changes, refused
requests and wrong configurations that hold the values; and then everything that the service wrote, answered,
logged or started is searched for them, in plain text and in the usual encodings.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import sqlite3
import sys
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from support.authorization_server import RESOURCE, AuthorizationServer, ec
from support.service_process import META, Service
from support.stack import ACCEPT, LEGACY, MODERN, free_port, light
from support.who_server import WhoServer

LEAKY = Path(__file__).parents[1] / "support" / "leaky_server.py"
NAMES = (
    "environment", "file", "vault", "argument", "token", "key", "header", "query", "bus", "database",
    "credential-header", "client-secret", "refresh-token", "access-token", "literal", "dead", "broken",
)  # fmt: skip
COMMAND = 120.0  # s that one command may take at most
CLI = (
    "status", "status leaky", "status dead", "status far", "logs leaky", "events --limit 500",
    "audit --since 1h", "config show", "overrides", "breakers", "toolsets", "key list", "principal list",
    "token list", "secrets list", "validate fleet.yml", "call leaky boom {}", "call far whoami {}",
    "strategy", "restart dead", "restart far",
)  # fmt: skip


@dataclass
class Canaries:
    """The planted values by name, and what was searched. `add` plants one that the service made."""

    values: dict[str, str] = field(default_factory=dict)
    heard: dict[str, bytes] = field(default_factory=dict)  # where -> what stood there

    def __post_init__(self) -> None:
        self.values |= {name: f"Canary.{name}.{os.urandom(12).hex()}" for name in NAMES}

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def hear(self, where: str, what: str | bytes) -> None:
        self.heard[where] = self.heard.get(where, b"") + (what.encode() if isinstance(what, str) else what)

    def found(self) -> list[str]:
        """Where which value stands, in what form."""
        forms = {name: list(_forms(value.encode())) for name, value in self.values.items()}
        return [
            f"{name} in {where}: ...{what[max(0, at - 120) : at + 60].decode(errors='replace')}..."
            for where, what in self.heard.items()
            for name, those in forms.items()
            if (at := max(what.find(form) for form in those)) >= 0
        ]


def _forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield quote(value, safe="").encode()
    yield value.hex().encode()
    for shift in range(3):  # whatever stands before it
        encoded = base64.b64encode(b"\0" * shift + value)[4 if shift else 0 : -4]
        yield encoded
        yield encoded.replace(b"+", b"-").replace(b"/", b"_")


def leaky(**server: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-S", "-E", str(LEAKY)], **server}


@dataclass
class Rig:
    """The service with everything planted."""

    service: Service
    canaries: Canaries
    variables: dict[str, str]
    fleet: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.service.folder

    async def cli(self, *arguments: str, stdin: str = "", **variables: str) -> tuple[int | None, str]:
        """What a command said on both its outputs; it is searched, too."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fairlead.cli.main", *arguments),
            env=_plain() | {"FAIRLEAD_STATE_DIR": str(self.service.state)} | self.variables | variables,
            cwd=self.folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND):
                told, _ = await process.communicate(stdin.encode())
        except TimeoutError:
            process.kill()
            said, _ = await process.communicate()
            raise AssertionError(f"fairlead {' '.join(arguments)} hangs: {said.decode()[-2000:]}") from None
        self.canaries.hear(f"$ fairlead {' '.join(arguments)}", told)
        return process.returncode, told.decode()

    async def ask(self, method: str, path: str, *, quiet: bool = False, **request: Any) -> httpx.Response:
        """A REST request; what it answers, head and body, is searched unless it is `quiet`."""
        answer = await self.service.http.request(method, path, **request)
        if not quiet:
            self.canaries.hear(f"{method} {path}", f"{answer.status_code} {answer.headers} {answer.text}")
        return answer


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}


@contextlib.asynccontextmanager
async def planted(tmp_path: Path, far: WhoServer, issuer: AuthorizationServer) -> AsyncIterator[Rig]:
    canaries = Canaries()
    (tmp_path / "secret.txt").write_text(canaries["file"] + "\n")
    environment = {
        "BY_ENVIRONMENT": "${CANARY_ENVIRONMENT}",
        "BY_FILE": f"${{file:{tmp_path / 'secret.txt'}}}",
        "BY_VAULT": "${secret:CANARY_VAULT}",
    }
    servers = {
        "s": light(),
        "leaky": leaky(environment=environment),
        "dead": leaky(environment={"DIES": "1", "SECRET": "${CANARY_DEAD}"}),
        "far": {
            "url": far.url + "?key=${CANARY_QUERY}",
            "headers": {"Authorization": "Bearer ${CANARY_HEADER}"},
            "credentials": "principal",
        },
        "nowhere": {
            "url": f"http://127.0.0.1:{free_port()}/mcp?key=${{CANARY_QUERY}}",
            "headers": {"X-Key": "${CANARY_HEADER}"},
        },
    }
    variables = {
        "CANARY_ENVIRONMENT": canaries["environment"],
        "CANARY_DEAD": canaries["dead"],
        "CANARY_QUERY": canaries["query"],
        "CANARY_HEADER": canaries["header"],
        "FAIRLEAD_TOKEN": canaries["token"],
        "FAIRLEAD_KEY": canaries["key"],
        "FAIRLEAD_BUS": f"redis://:{canaries['bus']}@127.0.0.1:{free_port()}/0",
        "FAIRLEAD_OAUTH_ISSUER": issuer.issuer,
        "FAIRLEAD_OAUTH_JWKS": issuer.jwks,
        "FAIRLEAD_PUBLIC_URL": RESOURCE,
        "FAIRLEAD_AUDIT_ARGUMENTS": "redacted",
        "FAIRLEAD_LOG_LEVEL": "debug",
    }
    service = Service(tmp_path / "service", variables)
    fleet = json.loads((service.folder / "fleet.yml").read_text()) | {"servers": servers}
    (service.folder / "fleet.yml").write_text(json.dumps(fleet))
    (service.folder / "fairlead.toml").write_text(f'config = "{service.folder / "fleet.yml"}"\n')
    rig = Rig(service, canaries, variables, fleet)
    assert (await rig.cli("secrets", "init"))[0] == 0
    assert (await rig.cli("secrets", "set", "CANARY_VAULT", stdin=canaries["vault"]))[0] == 0
    async with service.running():
        await until_ready(rig, "leaky", "far")
        yield rig
        await look_around(rig)
    canaries.hear("log", (service.folder / "log").read_bytes())
    look_at_files(rig)


async def until_ready(rig: Rig, *servers: str) -> None:
    async with asyncio.timeout(60):
        for server in servers:
            while (await rig.ask("GET", f"/api/servers/{server}")).json()["state"] != "ready":
                await asyncio.sleep(0.1)


async def look_around(rig: Rig) -> None:
    """What can be seen of the running service: processes, REST, the commands."""
    mine: dict[str, set[str]] = {"leaky_server": {"environment", "file", "vault", "dead"}}
    service = str(rig.service.process.pid) if rig.service.process else ""
    for process in _processes():
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes()
            rig.canaries.hear(f"{process}/cmdline", line)
            own = next((names for mark, names in mine.items() if mark.encode() in line), set())
            content = (process / "environ").read_bytes()
            for name in own:
                content = content.replace(rig.canaries[name].encode(), b"")
            if process.name not in (service, str(os.getpid())):
                rig.canaries.hear(f"{process}/environ", content)
    document = (await rig.ask("GET", "/openapi.json")).json()
    for path, operations in document["paths"].items():
        for server in ("leaky", "dead", "far", "nowhere"):
            there = path.replace("{id}", server).replace("{server}", server).replace("{name}", "ada")
            if "get" in operations and (server == "leaky" or there != path):
                await rig.ask("GET", there, headers={"Accept": "application/json"})
    for path in (
        "/api/events?limit=1000&since=0",
        "/api/audit?limit=1000",
        "/api/keys?principal=ada",
        "/nowhere",
    ):
        await rig.ask("GET", path, headers={"Accept": "application/json"})
    at_once = asyncio.Semaphore(4)

    async def both(command: str) -> None:
        async with at_once:
            await rig.cli(*command.split())
            await rig.cli(*command.split(), "--json")

    await asyncio.gather(*map(both, CLI))
    code, told = await rig.cli("backup", str(rig.folder / "all.backup"))
    assert code == 0, told


def _processes() -> list[Path]:
    return list(Path("/proc").glob("[0-9]*"))


def look_at_files(rig: Rig) -> None:
    """Every file of the installation but those whose place a secret is; databases and archives are opened."""
    own = {"key", "local-token"}
    for path in sorted(each for each in rig.folder.rglob("*") if each.is_file()):
        if path.name in own:
            continue
        rig.canaries.hear(str(path), path.read_bytes())
        if path.suffix == ".db":
            for where, value in _cells(path):
                rig.canaries.hear(f"{path} {where}", value)
        if path.suffix == ".backup":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    content = archive.read(name)
                    rig.canaries.hear(f"{path} {name}", content)
                    for packed in _packed(content):
                        rig.canaries.hear(f"{path} {name} unpacked", packed)


def _cells(path: Path) -> Iterator[tuple[str, bytes]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in database.execute(f'select * from "{table}"'):
                for cell in row:
                    value = cell if isinstance(cell, bytes) else str(cell).encode()
                    yield table, value
                    for packed in _packed(value):
                        yield f"{table} unpacked", packed


def _packed(content: bytes) -> Iterator[bytes]:
    """What was compressed by zlib, wherever it stands in there."""
    for begin in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", content):
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj().decompress(content[begin.start() :])


async def call(rig: Rig, name: str, token: str, **arguments: Any) -> httpx.Response:
    """In the modern era; what it answers is the server's own, and not searched."""
    headers = {"Accept": ACCEPT, "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": name}
    params = {"name": name, "arguments": arguments, "_meta": META}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    bearer = {"Authorization": f"Bearer {token}"}
    return await rig.service.http.post("/mcp", headers=headers | bearer, json=message)


async def people(rig: Rig) -> str:
    """Principals, keys, a browser's session: what the service makes is planted as well. The key of `ada`."""
    values = rig.canaries.values
    assert (await rig.ask("PUT", "/api/principals/ada", json={"role": "developer"})).status_code == 200
    made = await rig.ask("POST", "/api/keys", quiet=True, json={"principal": "ada", "label": "x"})
    gone = await rig.ask("POST", "/api/keys", quiet=True, json={"principal": "ada"})
    values |= {"API key": made.json()["key"], "revoked key": gone.json()["key"]}
    await rig.ask("DELETE", f"/api/keys/{gone.json()['id']}")
    links = [await rig.ask("POST", "/api/login-links", quiet=True) for _ in range(2)]
    codes = [link.json()["url"].partition("code=")[2] for link in links]
    values |= {"used code": codes[0], "unused code": codes[1]}
    own = {"Origin": rig.service.url}
    async with httpx.AsyncClient(base_url=rig.service.url) as browser:
        logged_in = await browser.post("/login", data={"code": codes[0]}, headers=own)
        assert logged_in.status_code == 303, logged_in.text
        cookie = logged_in.headers["set-cookie"].partition(";")[0]
        values["cookie"] = cookie.partition("=")[2]
        session = (await browser.get("/api/session", headers={"Cookie": cookie})).json()
        values["CSRF token"] = session["csrfToken"]
        refused = await browser.post("/login", data={"code": codes[0]}, headers=own)
        rig.canaries.hear("POST /login", refused.text + str(refused.headers))
        for token in ("", "wrong"):
            headers = {"Cookie": cookie, "X-CSRF-Token": token}
            refused = await browser.post("/api/config/reload", headers=headers)
            assert refused.status_code == 403
            rig.canaries.hear("a change without its token", refused.text + str(refused.headers))
    return str(made.json()["key"])


async def credentials(rig: Rig, issuer: AuthorizationServer, key: str) -> None:
    """What `ada` gives for the remote server: headers, then an OAuth client; and what is refused of it."""
    bearer = {"Authorization": f"Bearer {key}"}
    canaries = rig.canaries
    for body in (
        {"headers": {"Authorization": f"Bearer {canaries['credential-header']}"}},
        {"headers": {"Authorization": f"Bearer {canaries['credential-header']}\n"}},
        {"headers": {"Content-Length": canaries["credential-header"]}, "oauth": None, "x": 1},
        {"headers": canaries["credential-header"]},
        {"oauth": {"tokenUrl": canaries["client-secret"], "clientId": "c"}},
        {"oauth": {"tokenUrl": f"http://x.example/?k={canaries['client-secret']}", "clientId": "c"}},
        {
            "oauth": {
                "tokenUrl": canaries["client-secret"],
                "clientSecret": canaries["client-secret"],
                "clientId": 7,
            }
        },
        {
            "oauth": {
                "tokenUrl": f"{issuer.address}/token",
                "clientId": "c",
                "clientSecret": canaries["client-secret"],
                "refreshToken": canaries["refresh-token"],
            }
        },
    ):
        await rig.ask("PUT", "/api/credentials/far", json=body, headers=bearer)
        await call(rig, "far__whoami", key)
        await rig.ask("GET", "/api/credentials/far", headers=bearer)
    issuer.grants["refresh_token"] = (
        400,
        {"error": canaries["refresh-token"], "error_description": canaries["client-secret"]},
    )
    far = {"server": "far", "method": "tools/call", "params": {"name": "whoami"}}
    await rig.ask("POST", "/api/request", json=far)


async def changes(rig: Rig) -> None:
    """Fleet specs that are tried, refused and put in force, with values written out in them."""
    literal, broken = rig.canaries["literal"], rig.canaries["broken"]
    any_spec = {"If-Match": "*"}
    known = rig.fleet["servers"]
    tries: list[Any] = [
        {
            **known,
            "new": leaky(
                environment={"API_TOKEN": "${CANARY_ENVIRONMENT}", "PASSWORD": "${secret:CANARY_VAULT}"}
            ),
        },
        {**known, "new": leaky(environment={"API_TOKEN": "${secret:NOT_THERE}"})},
        {**known, "new": leaky(environment={"API_TOKEN": "${file:/not/there}"})},
        {
            **known,
            "new": leaky(environment={"API_TOKEN": "${CANARY_ENVIRONMENT}"}, timeout="${CANARY_ENVIRONMENT}"),
        },
        {**known, "new": {"url": "${CANARY_ENVIRONMENT}"}},
        {**known, "new": {"url": "http://127.0.0.1:1/mcp", "headers": {"A b": "${CANARY_HEADER}"}}},
        {**known, "new": {"command": "${CANARY_ENVIRONMENT}"}},
        {**known, "new": leaky(environment={"DIES": "1", "TOKEN": "${CANARY_DEAD}"})},
    ]
    for servers in tries:
        for query in ("?dryRun=true", ""):
            document = rig.fleet | {"servers": servers}
            await rig.ask("PUT", f"/api/fleet{query}", json=document, headers=any_spec)
    await rig.ask("GET", "/api/fleet")
    await rig.ask("GET", "/api/config")
    await rig.ask("PUT", "/api/fleet", json=rig.fleet, headers=any_spec)
    # What is written out in a document is in the spec that an operator reads; in errors it is not.
    for wrong in (
        rig.fleet | {"servers": {"new": leaky(environment={"API_TOKEN": literal}, bogus=1)}},
        rig.fleet | {"servers": {"new": {"url": f"http://user:{literal}@127.0.0.1/mcp"}}},
        rig.fleet
        | {"servers": {"new": {"url": "http://127.0.0.1/mcp", "headers": {"Authorization": [literal]}}}},
        rig.fleet | {"servers": {"new": leaky(environment={"API_TOKEN": {"deep": literal}})}},
    ):
        await rig.ask("PUT", "/api/fleet", json=wrong, headers=any_spec)
    fleet_file = rig.folder / "fleet.yml"
    good = fleet_file.read_text()
    fleet_file.write_text(f'version: "1"\nservers:\n  a:\n    environment:\n      TOKEN: "{broken}\n  b: [\n')
    await rig.ask("POST", "/api/config/reload")
    await rig.cli("validate", "fleet.yml")
    await rig.cli("validate", "fleet.yml", "--json")
    fleet_file.write_text(good)
    await rig.ask("POST", "/api/config/reload")


async def refusals(rig: Rig, issuer: AuthorizationServer, key: str) -> None:
    """Requests that are refused, with a value wherever one can stand."""
    jwt = issuer.token().decode()
    foreign = issuer.token(ec("k1")).decode()
    rig.canaries.values |= {"JWT": jwt.rpartition(".")[2], "foreign JWT": foreign.rpartition(".")[2]}
    async with asyncio.timeout(30):
        while (
            await rig.ask("GET", "/api/me", headers={"Authorization": f"Bearer {jwt}"})
        ).status_code == 503:
            await asyncio.sleep(0.1)
    secret = rig.canaries["token"]
    for value in (secret, key, rig.canaries["cookie"], jwt):
        for path in ("/api/servers", "/mcp", "/login", "/docs", "/nowhere"):
            await rig.ask("GET", f"{path}?access_token={value}", headers={"Authorization": ""})
    await rig.ask(
        "GET", f"/login?code={rig.canaries['unused code']}", quiet=True
    )  # the page has it for its button
    for token in (jwt, foreign, rig.canaries["revoked key"], secret + "x", key + "x"):
        bearer = {"Authorization": f"Bearer {token}"}
        for path in ("/api/servers", "/api/principals", "/mcp"):
            await rig.ask("GET", path, headers=bearer)
    for headers in (
        {"Authorization": secret},
        {"Authorization": f"Basic {secret}"},
        {"Origin": f"http://{secret}"},
    ):
        await rig.ask("GET", "/api/servers", headers=headers)
    for path in (
        "/api/keys",
        "/api/request",
        "/api/servers/s/scale",
        "/api/load-balancer/strategy",
        "/api/health/check",
    ):
        for body in (
            {"x": secret},
            {"label": {"x": secret}, "server": [secret], "instances": secret, "strategy": secret},
            secret,
        ):
            await rig.ask("POST", path, json=body, headers={"X-Api-Key": secret})
    for tool in ("boom", "die", "echo"):
        await call(
            rig, f"leaky__{tool}", key, password=secret, note=f"the token is {rig.canaries['environment']}"
        )
        routed = {
            "server": "leaky",
            "method": "tools/call",
            "params": {"name": tool, "arguments": {"token": secret}},
        }
        await rig.ask("POST", "/api/request", json=routed)
    await rig.ask(
        "POST",
        "/mcp",
        content=f'{{"jsonrpc": "2.0", "id": 1, "method": "{secret}"'.encode(),
        headers={"Accept": ACCEPT},
    )
    hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    await rig.ask("POST", "/mcp", json=message, headers={"Accept": ACCEPT, "Authorization": f"Bearer {key}"})


async def settings(rig: Rig) -> None:
    """Commands that are given settings which cannot be, each with a value in it."""
    database = rig.canaries["database"]
    wrong = {
        "FAIRLEAD_DATABASE": f"postgresql://fairlead:{database}@127.0.0.1:{free_port()}/nowhere",
        "FAIRLEAD_BUS": f"nonsense://{rig.canaries['bus']}",
        "FAIRLEAD_TOKEN": rig.canaries["token"] + " x",
        "FAIRLEAD_KEY": rig.canaries["key"] + "\u00e9",
        "FAIRLEAD_SECRETS_IDENTITY": rig.canaries["vault"] + "-and-more-so-that-it-is-long-enough",
    }
    for number, (name, value) in enumerate(
        [
            *wrong.items(),
            ("FAIRLEAD_DATABASE", f"mysql://x:{database}@y/z"),
            ("FAIRLEAD_DATABASE", f"postgresql://a:{database}#@y/z"),
        ]
    ):
        commands = ("config show", "validate fleet.yml", "secrets list", "key list")
        await asyncio.gather(
            started_with(rig, name, value, rig.folder.parent / f"other-state-{number}"),
            *(rig.cli(*command.split(), **{name: value}) for command in commands),
        )


async def started_with(rig: Rig, name: str, value: str, state: Path) -> None:
    """A service that ends at once, or is ended when it has had time to say what is wrong."""
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "fairlead.cli.main",
            "orchestrator",
            "--port",
            "0",
            "--state-dir",
            str(state),
        ),
        env=_plain() | rig.variables | {name: value},
        cwd=rig.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(6):
            await process.wait()
    except TimeoutError:
        process.terminate()
    finally:
        told, _ = await process.communicate()
        rig.canaries.hear(f"$ {name}=... orchestrator", told)


@pytest.mark.timeout(1200)  # the commands alone are ninety processes
async def test_no_secret_stands_where_it_does_not_belong(tmp_path: Path) -> None:
    with WhoServer() as far, AuthorizationServer() as issuer:
        issuer.grants["refresh_token"] = (200, {"access_token": "", "token_type": "Bearer", "expires_in": 30})
        async with planted(tmp_path, far, issuer) as rig:
            granted = {
                "access_token": rig.canaries["access-token"],
                "token_type": "Bearer",
                "expires_in": 300,
            }
            issuer.grants["refresh_token"] = (200, granted)
            key = await people(rig)
            await credentials(rig, issuer, key)
            far.refused.add(f"Bearer {rig.canaries['access-token']}")
            await call(rig, "far__whoami", key)
            await refusals(rig, issuer, key)
            await changes(rig)
            await settings(rig)
        sent = [headers.get("authorization", "") for headers in far.seen]
        for name in ("header", "credential-header", "access-token"):  # they did reach where they belong
            assert f"Bearer {rig.canaries[name]}" in sent
        assert any(form.get("refresh_token") == rig.canaries["refresh-token"] for form in issuer.forms)
        assert len(rig.canaries.heard) > 100
        found = rig.canaries.found()
        assert not found, "\n\n".join([f"{len(found)} leaks", *found[:60]])
