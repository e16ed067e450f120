"""The fixtures: client programs in their environments, and the system that they talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import environments
from e2e.matrix import FAILED, Matrix
from e2e.programs import FLAVOURS, Connect, Connection, Flavour, Program
from e2e.system import System, edited

pytest.register_assert_rewrite("e2e.features")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("e2e")
            item.add_marker(pytest.mark.timeout(300))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The matrix of clients and servers, if any of it was run; also as a file."""
    matrix = config.stash.get(Matrix.KEPT, None)
    if matrix is None:
        return
    lines = matrix.lines()
    (environments.BUILD.parent / "matrix.txt").write_text("\n".join(lines) + "\n")
    terminalreporter.section("real clients and real servers")
    for line in lines:
        terminalreporter.write_line(line, red=FAILED in line)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The servers' packages, downloaded once in a run of the tests."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[System]:
    """A system that all tests share which leave it as they found it."""
    yield from _system(tmp_path_factory.mktemp("shared"), packages)


@pytest.fixture(scope="session")
def frail_fleet(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[System]:
    """A system that tests may break, as long as it has mended itself when they end."""
    yield from _system(tmp_path_factory.mktemp("frail"), packages, prepared=_keep_its_size)


def _keep_its_size(system: System) -> None:
    """No server grows or shrinks by load: tests count its processes."""
    with edited(system.config) as spec:
        for server in spec["servers"].values():
            if server.get("sharing") != "session":
                server["scaling"] = {"enabled": False}


def _system(
    folder: Path, packages: Path, prepared: Callable[[System], object] = lambda _: None
) -> Iterator[System]:
    system = System(folder)
    system.prepare(packages)
    prepared(system)
    try:
        system.up()
        yield system
        system.down()
    finally:
        system.end()


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Program]]:
    """The client programs, each a process for the whole run."""
    logs = tmp_path_factory.mktemp("programs")
    running = {name: Program(argv, logs / f"{name}.log") for name, argv in environments.programs().items()}
    yield running
    for program in running.values():
        program.end()


@pytest.fixture
def connect(programs: dict[str, Program]) -> Iterator[Connect]:
    """Opens connections of a flavour to a system, by default to all servers with the flavour's own token."""
    opened: list[Connection] = []

    def open_connection(
        flavour: Flavour,
        system: System,
        *,
        path: str = "/mcp",
        token: str | None = None,
        answers_as: str | None = None,
    ) -> Connection:
        connection = Connection(
            programs[flavour.program],
            url=system.url + path,
            token=token or system.token(str(flavour)),
            mode=flavour.mode,
            answers_as=answers_as,
        )
        opened.append(connection)
        return connection

    yield open_connection
    for connection in opened:
        connection.close()


@pytest.fixture(params=FLAVOURS, ids=str)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return request.param


@pytest.fixture
def client(connect: Connect, flavour: Flavour, fleet: System) -> Connection:
    """A connection of every official SDK, in every mode that it has, to the merged endpoint."""
    return connect(flavour, fleet)
