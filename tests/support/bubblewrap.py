"""bubblewrap for the tests: the machine's, or the one of its Debian package, unpacked below `build`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from fairlead.drivers.sandbox_host import SandboxHost, examine

BUILD = Path(__file__).parents[2] / "build" / "bubblewrap"


@cache
def sandbox_host() -> SandboxHost:
    """What this machine can do, once there is a bubblewrap in PATH. Skips the test where it cannot be had."""
    if shutil.which("bwrap") is None:
        _unpack()
        os.environ["PATH"] = f"{BUILD / 'usr/bin'}:{os.environ.get('PATH', os.defpath)}"
    host = examine("probe")
    if host.bubblewrap is None:
        pytest.skip(f"no sandbox on this machine: {host.problem}")
    return host


def _unpack() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if (BUILD / "usr/bin/bwrap").exists():
            return
        try:
            subprocess.run(["apt-get", "download", "bubblewrap"], cwd=BUILD, check=True, capture_output=True)
            (package,) = BUILD.glob("bubblewrap_*.deb")
            subprocess.run(["dpkg-deb", "-x", package, BUILD], check=True, capture_output=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no bwrap here, and no Debian package of it to be had: {error}")
