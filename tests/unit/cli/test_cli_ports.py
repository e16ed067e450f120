import errno
import os
import socket
import sys

import psutil
import pytest

from fairlead.cli.ports import check_port, explain
from fairlead.model.errors import Problem, ProblemError


def refusal(host: str, port: int, **more: str) -> Problem:
    with pytest.raises(ProblemError) as caught:
        check_port(host, port, **more)
    return caught.value.problem


def test_a_free_port_is_fine():
    check_port("127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    check_port("127.0.0.1", port)
    check_port("localhost", port)


def test_a_taken_port_is_told_with_its_holder_and_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        problem = refusal("127.0.0.1", port)
    assert problem.title == f"port {port} is taken"
    assert f"process {os.getpid()} (" in problem.detail
    for way in ("--port", "FAIRLEAD_PORT", "--port 0"):
        assert way in problem.detail
    assert problem.status == 500  # the port is at fault, not the input


def test_the_other_ports_setting_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        problem = refusal("127.0.0.1", server.getsockname()[1], key="gitops_port")
    assert "--gitops-port or FAIRLEAD_GITOPS_PORT" in problem.detail


def test_airplay_is_named_on_macos(monkeypatch: pytest.MonkeyPatch):
    def denied(**_: object) -> list[object]:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    taken = OSError(errno.EADDRINUSE, "Address already in use")
    assert "lsof -i :5000" in explain(taken, "127.0.0.1", 5000).problem.detail
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "AirPlay" in explain(taken, "127.0.0.1", 5000).problem.detail
    assert "lsof -i :3002" in explain(taken, "127.0.0.1", 3002).problem.detail


def test_a_privileged_port_is_told():
    error = OSError(errno.EACCES, "Permission denied")
    problem = explain(error, "127.0.0.1", 80).problem
    assert "needs privileges" in problem.title
    assert "--port" in problem.detail


@pytest.mark.parametrize("host", ["203.0.113.7", "nonesuch.invalid"])
def test_an_address_that_is_not_ours_is_told(host: str):
    problem = refusal(host, 0)
    assert problem.title == f"cannot listen on {host}"
    assert "--host" in problem.detail
