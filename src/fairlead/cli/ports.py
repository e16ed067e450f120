"""Whether a service can listen where it is told to, asked before it is started."""

from __future__ import annotations

import errno
import socket
import sys

import psutil

from fairlead.cli.output import problem
from fairlead.model.errors import ProblemError

AIRPLAY_PORTS = (5000, 7000)


def check_port(host: str, port: int, *, key: str = "port") -> None:
    """Raises `ProblemError` with the way out when nothing can listen on `host`:`port` now.

    `key` is the setting that gives the port: `port` or `gitops_port`.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise explain(error, host, port, key=key) from error


def explain(error: OSError, host: str, port: int, *, key: str = "port") -> ProblemError:
    """The problem that a failed `bind` stands for."""
    option, variable = "--" + key.replace("_", "-"), "FAIRLEAD_" + key.upper()
    way_out = f"choose another port with {option} or {variable}, or any free one with {option} 0"
    if error.errno == errno.EADDRINUSE:
        return problem("port-taken", f"port {port} is taken", f"{_holder(port)}; {way_out}")
    if error.errno == errno.EACCES:
        return problem(
            "port-privileged",
            f"port {port} needs privileges",
            f"ports below 1024 are the system's; {way_out}",
        )
    return problem(
        "bad-address",
        f"cannot listen on {host}",
        f"{error.strerror or error}: give an address of this machine with --host or FAIRLEAD_HOST",
    )


def _holder(port: int) -> str:
    """Who listens there, as far as this user may know."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()}) listens on it"
    except psutil.Error:  # other users' processes are not shown (macOS: not even one's own)
        pass
    if sys.platform == "darwin" and port in AIRPLAY_PORTS:
        return (
            "macOS's AirPlay receiver has it, as a rule (System Settings, General, AirDrop & Handoff, "
            "AirPlay Receiver)"
        )
    return f"another program listens on it (`lsof -i :{port}` may tell which)"
