"""The state folder: what a Fairlead on this machine keeps between starts, and who runs on it now.

Each service has a lock of its own, which it holds (flock) for as long as it lives; its content names the
holder. Whoever
only wants to know who runs asks `holder()`: it looks at the content and at the process, and takes no lock,
so that looking never makes a start fail. `run.json` says where the running one answers.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from fairlead.model.errors import ProblemError
from fairlead.stores import files
from fairlead.stores.files import state_problem

FOLDER_MODE = 0o700
ORCHESTRATOR = "orchestrator"
GITOPS = "gitops"
KEY_BYTES = 32
# A process's start time as read by two processes differs when the clock was stepped in between.
START_TOLERANCE = 2.0  # s


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a service's lock. `started` is the process's own start, Unix time, s."""

    pid: int
    started: float

    @classmethod
    def this_process(cls) -> Holder:
        return cls(pid=os.getpid(), started=psutil.Process().create_time())

    def alive(self) -> bool:
        """Whether this very process still runs (a recycled pid or a zombie does not count)."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) > START_TOLERANCE:
                return False
            return process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True, slots=True)
class Run:
    """Where a running service answers; the content of its run file.

    `addresses` maps the service (`orchestrator`) to its base URL; `since` is Unix time, s.
    """

    pid: int
    started: float
    addresses: dict[str, str]
    version: str
    since: float

    @property
    def mcp_address(self) -> str:
        return self.addresses.get("mcp", self.addresses["orchestrator"])


class StateFolder:
    """Paths and small files of the state folder, as one service has it: `orchestrator`, or `gitops`.

    Making one touches nothing; `prepare` does.
    """

    def __init__(self, root: Path, service: str = ORCHESTRATOR) -> None:
        self.root = root
        self.service = service

    def __repr__(self) -> str:
        return f"StateFolder({str(self.root)!r}, {self.service!r})"

    def of(self, service: str) -> StateFolder:
        """The same folder, as another service has it."""
        return StateFolder(self.root, service)

    @property
    def lock_file(self) -> Path:
        return self.root / ("lock" if self.service == ORCHESTRATOR else f"{self.service}.lock")

    @property
    def run_file(self) -> Path:
        return self.root / ("run.json" if self.service == ORCHESTRATOR else f"run-{self.service}.json")

    @property
    def ownership_file(self) -> Path:
        """Whether Git is in charge of the checkout that one stands in."""
        return self.root / "gitops.json"

    @property
    def mirrors(self) -> Path:
        """Copies of the repositories that applications come from."""
        return self.root / "git"

    @property
    def tokens_file(self) -> Path:
        return self.root / "tokens.json"

    @property
    def local_token_file(self) -> Path:
        return self.root / "local-token"

    @property
    def instances_file(self) -> Path:
        return self.root / "instances.json"

    def database(self, service: str) -> Path:
        """A service's own (`orchestrator`), unless a PostgreSQL has it."""
        return self.root / f"{service}.db"

    @property
    def overrides_file(self) -> Path:
        """Live edits of the fleet spec, and whose the spec is."""
        return self.root / "overrides.json"

    @property
    def packages(self) -> Path:
        return self.root / "packages"

    @property
    def packages_lock(self) -> Path:
        """What is pinned on this machine only, beside what the fleet's own lock file says."""
        return self.root / "packages.lock"

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def log(self) -> Path:
        """The service's own."""
        return self.logs / f"{self.service}.log"

    @property
    def server_logs(self) -> Path:
        return self.logs / "servers"

    def server_log(self, server: str) -> Path:
        return self.server_logs / f"{server}.log"

    def prepare(self) -> list[str]:
        """Make the folder and its parts, private to this user. Returns what had to be mended, a line each.

        Raises `ProblemError` when it is another user's, no folder, or cannot be written.
        """
        mended = []
        try:
            self.root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            status = self.root.stat()
            if status.st_uid != os.geteuid():
                raise state_problem(
                    "state-folder",
                    "the state folder belongs to another user",
                    f"{self.root} belongs to user id {status.st_uid}, this process runs as {os.geteuid()}: "
                    "run as that user, or give another folder with --state-dir or FAIRLEAD_STATE_DIR",
                )
            if (mode := stat.S_IMODE(status.st_mode)) != FOLDER_MODE:
                self.root.chmod(FOLDER_MODE)
                mended.append(f"{self.root} had mode {mode:04o}; it is {FOLDER_MODE:04o} now")
            for folder in (self.logs, self.server_logs, self.packages, self.workspace):
                folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise state_problem(
                "state-folder",
                f"cannot use the state folder ({error.strerror})",
                f"{error.filename or self.root}: make it writable for you, or give another folder with "
                "--state-dir or FAIRLEAD_STATE_DIR",
            ) from error
        files.create_once(self.root / "id", secrets.token_hex(8).encode() + b"\n")
        files.create_once(self.root / "key", secrets.token_bytes(KEY_BYTES))
        return mended

    def id(self) -> str:
        """This state folder's own random name, 16 hexadecimal digits; the same for ever."""
        return (files.read(self.root / "id") or b"").decode("ascii", "replace").strip()

    def key(self) -> bytes:
        """32 secret bytes, from which keys for sealing are derived."""
        key = files.read(self.root / "key") or b""
        if len(key) != KEY_BYTES:
            raise state_problem(
                "state-file",
                "the key of the state folder is damaged",
                f"{self.root / 'key'} has {len(key)} bytes instead of {KEY_BYTES}: remove it and start again "
                "(open sessions end, nothing else is lost)",
            )
        return key

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process. Raises `ProblemError` that says who has it."""
        with files.opened_lock(self.lock_file) as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._held() from None
            record = json.dumps(asdict(Holder.this_process())).encode()
            os.pwrite(descriptor, record, 0)
            os.ftruncate(descriptor, len(record))
            yield
            os.ftruncate(descriptor, 0)

    def _held(self) -> ProblemError:
        holder, run = self.holder(), self.read_run()
        who = f"process {holder.pid}" if holder else "a process that cannot be seen from here"
        where = f", which answers at {run.addresses.get(self.service)}" if run else ""
        what = "Fairlead" if self.service == ORCHESTRATOR else f"Fairlead's service {self.service}"
        return state_problem(
            "already-running",
            f"{what} already runs with this state folder",
            f"{self.root} is held by {who}{where}. Use that one, stop it with `fairlead down`, "
            "or give another folder with --state-dir",
        )

    def holder(self) -> Holder | None:
        """The living process that holds the folder, or None."""
        record = _object(files.read(self.lock_file))
        try:
            holder = Holder(pid=int(record["pid"]), started=float(record["started"]))
        except (KeyError, TypeError, ValueError):
            return None
        return holder if holder.alive() else None

    def write_run(self, addresses: dict[str, str], version: str) -> Run:
        """Say where this process answers. Call it when the sockets listen."""
        this = Holder.this_process()
        run = Run(this.pid, this.started, addresses, version, since=time.time())
        files.write(self.run_file, json.dumps(asdict(run), indent=2).encode() + b"\n")
        return run

    def read_run(self) -> Run | None:
        """Where the running service answers; None when it does not run or does not listen yet."""
        record = _object(files.read(self.run_file))
        try:
            run = Run(**record)
        except TypeError:
            return None
        return run if Holder(run.pid, run.started).alive() else None

    def clear_run(self) -> None:
        files.remove(self.run_file)


def _object(content: bytes | None) -> dict[str, Any]:
    """The JSON object in `content`, or an empty one: these files describe a process, not lasting state."""
    try:
        value = json.loads(content or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
