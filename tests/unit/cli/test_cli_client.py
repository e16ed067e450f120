import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from fairlead.app.settings import Settings
from fairlead.cli.client import Client, cli_token, connect, server_path
from fairlead.model.errors import ProblemError
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore
from support.rest_service import RestService
from unit.cli.fleet_service import FleetService


def settings(state: StateFolder, **more: object) -> Settings:
    return Settings.model_validate({"state_dir": state.root, **more})


def failure(call) -> object:
    with pytest.raises(ProblemError) as caught:
        call()
    return caught.value.problem


def test_it_speaks_json_with_the_local_token(service: RestService, state: StateFolder):
    service.answers = {"GET /a": (200, {"x": "ü"}), "POST /b": (200, [1]), "POST /c": (204, b"")}
    client = connect(settings(state))
    assert client.get("/a") == {"x": "ü"}
    assert client.post("/b", {"y": "한"}) == [1]
    assert client.post("/c") is None
    local = TokenStore(state).local()
    assert [(r.method, r.path, r.token, r.body) for r in service.received] == [
        ("GET", "/a", local, None),
        ("POST", "/b", local, {"y": "한"}),
        ("POST", "/c", local, None),
    ]
    assert repr(client) == f"Client({service.address!r})"


def test_it_replaces_what_it_has_seen_and_deletes(fleet: FleetService, state: StateFolder):
    client = connect(settings(state))
    body, tag = client.get_tagged("/api/fleet")
    assert (body["generation"], tag) == (7, '"n0nce-37"')
    assert client.put("/api/fleet?dryRun=false&origin=live", body["spec"], if_match=tag)["generation"] == 8
    stale = failure(lambda: client.put("/api/fleet?dryRun=false", body["spec"], if_match=tag))
    assert stale.status == 412
    fleet.answers = {"DELETE /a": (200, {"x": 1})}
    assert client.delete("/a") == {"x": 1}
    assert [request.if_match for request in fleet.received] == [None, '"n0nce-37"', '"n0nce-37"', None]


def test_without_a_tag_nothing_is_replaced(service: RestService, state: StateFolder):
    service.answers = {"GET /a": (200, {})}
    assert connect(settings(state)).get_tagged("/a") == ({}, "")  # no `*`, which would match anything


def test_the_environments_token_goes_first(service: RestService, state: StateFolder):
    service.answers = {"GET /a": (200, {})}
    connect(settings(state, token=SecretStr("from-the-environment"))).get("/a")
    assert service.received[0].token == "from-the-environment"


def test_a_problem_is_raised_as_such(service: RestService, state: StateFolder):
    document = {
        "type": "urn:fairlead:problem:unknown-server",
        "title": "There is no such server",
        "detail": "x",
    }
    service.answers = {"GET /a": (404, document)}
    problem = failure(lambda: connect(settings(state)).get("/a"))
    assert (problem.code, problem.title, problem.detail) == ("unknown-server", "There is no such server", "x")
    assert problem.status == 404


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b'"x"'])
def test_an_error_that_is_no_problem_document_is_told_by_its_status(
    service: RestService, state: StateFolder, body: bytes
):
    service.answers = {"GET /a": (502, body)}
    problem = failure(lambda: connect(settings(state)).get("/a"))
    assert (problem.code, problem.title) == ("http-502", "Bad Gateway")


def test_a_refused_token_says_so(service: RestService, state: StateFolder):
    service.answers = {"GET /a": (401, {"title": "No valid token", "detail": "send one"})}
    problem = failure(lambda: connect(settings(state)).get("/a"))
    assert "send one\nthe token of this command" in problem.detail


def test_nothing_runs(state: StateFolder):
    problem = failure(lambda: connect(settings(state)))
    assert problem.title == "Fairlead does not run"
    for part in (str(state.root), "fairlead up", "--state-dir"):
        assert part in problem.detail


def test_no_token(service: RestService, state: StateFolder):
    TokenStore(state).remove_local()
    problem = failure(lambda: cli_token(settings(state)))
    assert "fairlead token add local" in problem.detail


def test_nobody_listens_or_nobody_answers(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        problem = failure(lambda: Client(address, "t", timeout=0.05).get("/a"))
        assert problem.code == "not-reachable"
        assert address in problem.detail
    problem = failure(lambda: Client(address, "t").get("/a"))
    assert problem.code == "not-reachable"
    assert "refused" in problem.detail


def test_an_answer_that_is_no_http():
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        problem = failure(lambda: Client(f"http://127.0.0.1:{server.getsockname()[1]}", "t").get("/a"))
        thread.join()
    assert problem.code == "not-reachable"


def test_a_servers_name_is_one_path_segment():
    assert server_path("a/../b c") == "/api/servers/a%2F..%2Fb%20c"
