"""Which processes belong to which instance, on disk: what a killed orchestrator leaves for the next one."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from fairlead.drivers.process_table import Identity, boot_id

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Record:
    """One started instance. `known` are all its processes as last seen (by the reaper, who sets it).

    `marker` is unique to this start; `pid`, the main process's, also names its group and its session.
    """

    marker: str
    pid: int
    known: frozenset[Identity]


class Registry:
    """The records of all running instances, and the small file that holds them, handled in `files`.

    A file that cannot be written is reported, not raised: the marker in each process's environment still
    finds what was left.
    """

    def __init__(self, path: Path, files: Executor) -> None:
        self._path = path
        self._files = files
        self._records: dict[str, Record] = {}
        self._written: dict[str, frozenset[Identity]] | None = None  # what stands in the file

    def add(self, record: Record) -> None:
        self._records[record.marker] = record

    def remove(self, record: Record) -> None:
        self._records.pop(record.marker, None)

    def save(self) -> asyncio.Future[None]:
        """Write what is known now, if it has changed. Done in the order of the calls, awaited or not."""
        known = {marker: record.known for marker, record in self._records.items()}
        return asyncio.get_running_loop().run_in_executor(self._files, self._write, known)

    async def load(self) -> dict[str, frozenset[Identity]]:
        """The processes that the file names, by marker; none if it is missing, damaged or of another boot."""
        return await asyncio.get_running_loop().run_in_executor(self._files, self._read)

    def _read(self) -> dict[str, frozenset[Identity]]:
        try:
            content = json.loads(self._path.read_bytes())
            if content["boot"] != boot_id():
                return {}
            return {
                str(marker): frozenset((int(pid), float(started)) for pid, started in known)
                for marker, known in content["instances"].items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("cannot read which instances ran before", file=str(self._path), error=repr(error))
            return {}

    def _write(self, known: dict[str, frozenset[Identity]]) -> None:
        if known == self._written:
            return
        content = {"boot": boot_id(), "instances": {marker: sorted(each) for marker, each in known.items()}}
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file)
            temporary.replace(self._path)
            self._written = known
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            _log.warning("cannot note which instances run", file=str(self._path), error=repr(error))
