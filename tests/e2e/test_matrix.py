"""Every real client does what it can with every real server, through the gateway; the outcome is a matrix."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e import environments
from e2e.features import FEATURES, Case
from e2e.inspector import Inspector
from e2e.matrix import CLIENTS, NOT_APPLICABLE, NOT_RUN, Matrix, excuse
from e2e.programs import Connect, Flavour, Steps
from e2e.system import System, listens, wait_until
from support.stack import free_port

FLEET = environments.HERE / "matrix-servers.yml"
ENTRY = "node_modules/@modelcontextprotocol/server-everything/dist/index.js"


def scratch_repository(folder: Path) -> Path:
    """A repository with one commit on `main`, and a file that is not in it."""
    folder.mkdir()
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org")
    for command in (
        ("init", "-q", "-b", "main"),
        ("commit", "-q", "--allow-empty", "-m", "The first commit"),
    ):
        subprocess.run(["git", *who, *command], cwd=folder, env={**os.environ, **nobody}, check=True)
    (folder / "untracked.txt").touch()
    return folder


@pytest.fixture(scope="session")
def matrix_fleet(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[System]:
    """The real servers; those with a URL are processes of this test."""
    folder = tmp_path_factory.mktemp("matrix")
    http, sse = free_port(), free_port()
    system = System(folder, fleet=FLEET)
    system.environment |= {
        "EVERYTHING_HTTP": f"http://127.0.0.1:{http}/mcp",
        "EVERYTHING_SSE": f"http://127.0.0.1:{sse}/sse",
        "SCRATCH_REPOSITORY": str(scratch_repository(folder / "repository")),
    }
    system.prepare(packages)
    with contextlib.ExitStack() as stack:
        stack.callback(system.end)
        system.up("everything")  # and so its package is installed
        stack.enter_context(elsewhere(packages, folder / "http.log", "streamableHttp", http))
        stack.enter_context(elsewhere(packages, folder / "sse.log", "sse", sse))
        system.wait_ready(*FEATURES)
        yield system
        system.down()


@contextlib.contextmanager
def elsewhere(packages: Path, log: Path, transport: str, port: int) -> Iterator[None]:
    """The server that has one of everything, as a process of its own that serves a port."""
    (entry,) = packages.glob(f"**/{ENTRY}")
    argv = [str(environments.node().node), str(entry), transport]
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, env={**os.environ, "PORT": str(port)}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: listens(port), log.read_text)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest) -> Matrix:
    """Shown when the run ends (`conftest.py`)."""
    return request.config.stash.setdefault(Matrix.KEPT, Matrix(FEATURES))


@pytest.fixture(params=CLIENTS, ids=str)
def client(request: pytest.FixtureRequest) -> Flavour:
    return request.param


@pytest.fixture(params=FEATURES)
def case(
    request: pytest.FixtureRequest,
    client: Flavour,
    matrix_fleet: System,
    connect: Connect,
    tmp_path: Path,
) -> Case:
    token = matrix_fleet.token(str(client))

    def open_connection(*, path: str, answers_as: str | None) -> Steps:
        if client.program != "inspector":
            return connect(client, matrix_fleet, path=path, answers_as=answers_as)
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        url = matrix_fleet.url + path
        return Inspector(folder, url=url, token=token, era=client.mode, answers_as=answers_as or "nobody")

    return Case(client, request.param, matrix_fleet, open_connection)


def test_a_client_and_a_server(case: Case, matrix: Matrix, subtests: pytest.Subtests):
    """Feature by feature; those of Inspector, whose every step is a process, in pairs."""
    client = str(case.client)
    steps = {name: step for name, step in FEATURES[case.server].items() if not excuse(client, name)}
    with ThreadPoolExecutor(2 if case.client.program == "inspector" else 1) as pool:
        outcomes = {name: pool.submit(step, case) for name, step in steps.items()}
        for name, outcome in outcomes.items():
            with subtests.test(name), matrix.cell(client, case.server, name):
                outcome.result()


def test_what_cannot_be_would_be_a_cell():
    """No entry is dead: each one is the first that covers some cell."""
    used = {
        excuse(str(client), feature)
        for client in CLIENTS
        for features in FEATURES.values()
        for feature in features
    }
    assert set(NOT_APPLICABLE) <= used


def test_every_cell_has_its_place_in_print():
    matrix = Matrix({"here": ["call", "ping"]})
    with matrix.cell("python-2-legacy", "here", "call"):
        pass
    with pytest.raises(ZeroDivisionError), matrix.cell("inspector-auto", "here", "call"):
        raise ZeroDivisionError
    programs, modes, call, ping, *rest = matrix.lines()
    assert programs.split() == ["python-1.30", "python-2", "typescript-1", "typescript-2", "inspector"]
    assert modes.split()[2:] == [str(one).removeprefix(f"{one.program}-") for one in CLIENTS]
    assert modes.index("legacy") == programs.index("python-1.30")
    assert call.split()[2:] == [NOT_RUN, "pass", *[NOT_RUN] * 7, "FAIL", NOT_RUN]
    assert ping.split().count("n/a") == len([one for one in CLIENTS if one.modern]) + 1
    assert rest[-1] == "1 cells passed, 1 failed"
    assert all(entry.reason in "\n".join(rest) for entry in NOT_APPLICABLE)
