"""A backup as a file: a zip archive of parts, and a manifest that says what is in each.

A part is a table, a row a line of JSON (bytes as base64), or a file as it was. The manifest has each part's
SHA-256 and comes last: a backup that was cut short has none. Who reads one verifies all of it first. It is
written beside its place and takes its name when it is whole and on the disk. None that is there is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import msgspec

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.stores.files import PRIVATE, sync_folder

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
_CHUNK: Final = 1 << 20  # bytes
_MAX_MANIFEST: Final = 1 << 20  # bytes
_DAMAGED: Final = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, msgspec.MsgspecError)


class Part(msgspec.Struct, frozen=True):
    name: str
    size: int  # bytes
    sha256: str
    rows: int  # lines


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`services` maps a service to the revision of its tables; `taken` is Unix time, s."""

    format: int
    version: str  # Fairlead's
    taken: float
    services: Mapping[str, str]
    parts: tuple[Part, ...] = ()

    def of(self, folder: str) -> list[Part]:
        return [part for part in self.parts if part.name.startswith(f"{folder}/")]


class BackupWriter:
    """Made by `writing`. `manifest` grows with each part."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self._archive = archive
        self.manifest = manifest

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[PartWriter]:
        with _on_disk():
            file = self._archive.open(name, "w", force_zip64=True)
        writer = PartWriter(file)
        try:
            yield writer
        except BaseException:
            with contextlib.suppress(OSError):  # of a full disk, which has been told
                file.close()
            raise
        with _on_disk():
            file.close()
        part = Part(name, writer.size, writer.digest.hexdigest(), writer.rows)
        self.manifest = msgspec.structs.replace(self.manifest, parts=(*self.manifest.parts, part))


class PartWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0
        self.rows = 0

    def write(self, lines: bytes) -> None:
        """Raises ProblemError."""
        with _on_disk():
            self._file.write(lines)
        self.digest.update(lines)
        self.size += len(lines)
        self.rows += lines.count(b"\n")


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    """While the database is read an OSError would be taken for its own."""
    try:
        yield
    except OSError as error:
        raise _unwritable(error) from None


@contextlib.contextmanager
def writing(path: Path, manifest: Manifest) -> Iterator[BackupWriter]:
    """The file stands at `path`, private, when the block has ended without an error. Raises ProblemError."""
    if os.path.lexists(path):
        raise _problem("backup-exists", "the file is there already", f"{path}: name another one")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, PRIVATE), "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                writer = BackupWriter(archive, manifest)
                yield writer
                archive.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(writer.manifest)))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(error) from None
    finally:
        temporary.unlink(missing_ok=True)


class Backup:
    """A verified backup, open for reading. Made by `reading`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self.manifest = self._read_manifest()

    def open(self, name: str) -> IO[bytes]:
        """A part, as it was written."""
        return self._archive.open(name)

    def verify(self) -> None:
        """Every part is what the manifest says, and there is no other. Raises ProblemError."""
        names = self._archive.namelist()
        expected = {MANIFEST, *(part.name for part in self.manifest.parts)}
        if len(names) != len(set(names)) or set(names) != expected:
            raise self._damaged("its parts are not those that its manifest names")
        for part in self.manifest.parts:
            with self.open(part.name) as file:
                digest = hashlib.sha256()
                while piece := file.read(_CHUNK):
                    digest.update(piece)
            if digest.hexdigest() != part.sha256:
                raise self._damaged(f"{part.name} is not what it was")

    def _read_manifest(self) -> Manifest:
        info = self._archive.getinfo(MANIFEST)
        if info.file_size > _MAX_MANIFEST:
            raise self._damaged("its manifest is too large")
        content = self._archive.read(info)
        if (found := msgspec.json.decode(content, type=_Header).format) > FORMAT:
            detail = f"{self._path} has the format {found}; this version knows {FORMAT}: use a newer Fairlead"
            raise _problem("newer-backup", "the backup is of a newer version of Fairlead", detail)
        return msgspec.json.decode(content, type=Manifest)

    def _damaged(self, why: str) -> ProblemError:
        detail = f"{self._path}: {why}. Nothing was changed; take another backup"
        return _problem("damaged-backup", "the backup is damaged", detail)


class _Header(msgspec.Struct):
    format: int


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Backup]:
    """The backup at `path`, all of it verified. Raises ProblemError."""
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED:
        detail = f"{path}: it is none, or was cut short. Nothing was changed"
        raise _problem("damaged-backup", "not a whole backup", detail) from None
    except OSError as error:
        raise _problem("no-backup", "cannot read the backup", f"{path}: {error.strerror}") from None
    with archive:
        try:
            backup = Backup(path, archive)
            backup.verify()
        except (*_DAMAGED, OSError) as error:
            detail = f"{path}: {error}. Nothing was changed; take another backup"
            raise _problem("damaged-backup", "the backup is damaged", detail) from None
        yield backup


def _problem(code: str, title: str, detail: str) -> ProblemError:
    return ProblemError(Problem(code=code, title=title, detail=detail, status=422, fault=Fault.CLIENT))


def _unwritable(error: OSError) -> ProblemError:
    detail = f"{error.filename or 'the backup'}: {error.strerror}"
    return ProblemError(Problem("backup", "cannot write the backup", detail, 500, Fault.GATEWAY))
