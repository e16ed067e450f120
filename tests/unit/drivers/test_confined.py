"""What is said of an instance's bounds, by what the machine can do."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from fairlead.drivers import sandbox_host
from fairlead.drivers.cgroups import Cgroups, Mounted
from fairlead.drivers.confined import Confined, _limits, confinement_of
from fairlead.drivers.sandbox import Bubblewrap
from fairlead.drivers.sandbox_host import SandboxHost, examine
from fairlead.model.launch import ProcessLaunch, Sandbox

BWRAP = Bubblewrap("/usr/bin/bwrap", root=False)
NO_NETWORK = Bubblewrap("/usr/bin/bwrap", root=False, network=False)
TREES = {"memory": Mounted(Path("/c"), 2), "pids": Mounted(Path("/c"), 2)}
CGROUPS = Cgroups("owner", TREES)
NO_CGROUPS = Cgroups("owner", {}, {"memory": "not ours", "pids": "not ours"})


def launch(**more) -> ProcessLaunch:
    options = {"memory_limit": 2**20, "process_limit": 9} | more
    return ProcessLaunch("x-1", ("x",), {}, Path("/"), Path("/log"), **options)


@pytest.mark.parametrize(
    ("host", "sandbox", "by", "missing"),
    [
        (
            SandboxHost(BWRAP, cgroups=CGROUPS),
            Sandbox(),
            "bubblewrap, memory by cgroup, processes by cgroup",
            (),
        ),
        (
            SandboxHost(BWRAP, cgroups=NO_CGROUPS, counts_apart=True),
            Sandbox(network=False),
            "bubblewrap, memory by rlimit, processes by rlimit",
            (),
        ),
        (
            SandboxHost(BWRAP, cgroups=NO_CGROUPS),
            Sandbox(),
            "bubblewrap, memory by rlimit",
            ("its processes are counted about once a second only: not ours",),
        ),
        (
            SandboxHost(NO_NETWORK, cgroups=CGROUPS),
            Sandbox(network=False),
            "bubblewrap, memory by cgroup, processes by cgroup",
            ("it has the network: this system does not let bubblewrap take that away",),
        ),
        (
            SandboxHost(NO_NETWORK, cgroups=CGROUPS),
            Sandbox(),
            "bubblewrap, memory by cgroup, processes by cgroup",
            (),
        ),
        (
            SandboxHost(problem="no bwrap", cgroups=NO_CGROUPS, counts_apart=True),
            Sandbox(),
            "memory by rlimit",
            (
                "files, network and other processes are within its reach: no bwrap",
                "its processes are counted about once a second only: not ours",
            ),
        ),
    ],
)
def test_what_holds_and_what_is_missing(host, sandbox, by, missing):
    confinement = confinement_of(launch(), sandbox, host)
    assert (confinement.by, confinement.missing) == (by, missing)


def test_without_a_limit_on_processes_nothing_of_it_is_missing():
    host = SandboxHost(BWRAP, cgroups=NO_CGROUPS)
    assert confinement_of(launch(process_limit=None), Sandbox(), host).missing == ()


def test_resource_limits_stand_in_for_groups():
    apart = SandboxHost(BWRAP, cgroups=NO_CGROUPS, counts_apart=True)
    assert dict(_limits(launch(), apart)) == {resource.RLIMIT_DATA: 2**20 + 2**32, resource.RLIMIT_NPROC: 9}
    together = SandboxHost(BWRAP, cgroups=NO_CGROUPS)
    assert dict(_limits(launch(), together)) == {resource.RLIMIT_DATA: 2**20 + 2**32}
    assert _limits(launch(), SandboxHost(BWRAP, cgroups=CGROUPS, counts_apart=True)) == []
    assert _limits(launch(memory_limit=None, process_limit=None), apart) == []


def test_without_bounds_nothing_is_done():
    nothing = Confined()
    assert nothing.enter(1)
    assert (nothing.prefix, nothing.descriptors, nothing.memory_ran_out()) == ((), (), False)
    nothing.remove()


def test_a_system_that_has_no_bubblewrap_says_so(monkeypatch):
    monkeypatch.setattr(sandbox_host.shutil, "which", lambda _: None)
    assert "install the package `bubblewrap`" in examine("owner").problem
    monkeypatch.setattr(sandbox_host.sys, "platform", "darwin")
    assert "for Linux" in examine("owner").problem


def fake_bwrap(folder: Path, script: str) -> None:
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "network", "sized"),
    [
        ("exit 0", True, True),
        ('case "$*" in *--size*) echo "bwrap: Unknown option --size" >&2; exit 1;; esac', True, False),
        (
            'case "$*" in *--unshare-net*) echo "bwrap: loopback: not permitted" >&2; exit 1;; esac',
            False,
            True,
        ),
        ('case "$*" in *--unshare-net*|*--size*) exit 1;; esac', False, False),
    ],
)
def test_what_it_can_do_is_tried_out(tmp_path, monkeypatch, script, network, sized):
    fake_bwrap(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = examine("owner").bubblewrap
    assert (found.network, found.sized) == (network, sized)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ('echo "bwrap: No permissions to create new namespace" >&2; exit 1', "No permissions to create"),
        ("exit 3", "it exits with code 3"),
    ],
)
def test_a_bubblewrap_that_does_not_work_says_why(tmp_path, monkeypatch, script, problem):
    fake_bwrap(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    host = examine("owner")
    assert host.bubblewrap is None
    assert problem in host.problem
