"""Backups of real databases: between both kinds, while the service writes, damaged, refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import click.testing
import pytest
import sqlalchemy
from pydantic import SecretStr

from fairlead.app.backup import back_up, restore
from fairlead.app.persistence import database_url
from fairlead.app.settings import Settings
from fairlead.cli.main import cli
from fairlead.model.audit import AuditBatch, AuditFilter, AuditKind, AuditRecord
from fairlead.model.errors import ProblemError
from fairlead.model.events import Event, EventType
from fairlead.model.gitops import DriftKind, Environment, Severity
from fairlead.model.reconciling import (
    ApplicationState,
    Base,
    Blocked,
    Deployment,
    DeploymentReason,
    DeploymentState,
    DriftRow,
    DriftState,
    Hold,
    Intent,
    Live,
    Step,
    StepName,
)
from fairlead.ports import SavedSpec, Trend
from fairlead.stores.backup_file import FORMAT, MANIFEST, Backup, Part, reading
from fairlead.stores.sql import schema
from fairlead.stores.sql.applications import SqlApplicationStore
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.deployments import SqlDeploymentStore
from fairlead.stores.sql.events import SqlEventLog
from fairlead.stores.sql.runs import Runs
from fairlead.stores.sql.specs import SqlSpecStore
from fairlead.stores.sql.tables import CREDENTIALS, KEYS, METADATA, PRINCIPALS, RUNS, WEB_SESSIONS
from fairlead.stores.sql.trends import SqlTrendStore
from fairlead.stores.state import StateFolder
from support.servers import PostgresServer

Make = Callable[[str], Settings]
NEW = {  # tables of the second revision
    "applications", "bases", "intents", "drift", "live_versions", "holds", "leases", "deployments", "blocked",
}  # fmt: skip


@pytest.fixture
def make(tmp_path: Path, postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Make:
    """Settings of a system with a state folder of its own, and perhaps a PostgreSQL database."""
    folders = iter(range(99))

    def made(kind: str) -> Settings:
        state = StateFolder(tmp_path / f"state{next(folders)}")
        state.prepare()
        if kind == "sqlite":
            return Settings(state_dir=state.root)
        database = postgres_server.database()
        url = database.__enter__()
        request.addfinalizer(lambda: database.__exit__(None, None, None))
        return Settings(state_dir=state.root, database=SecretStr(url))

    return made


def state_of(settings: Settings) -> StateFolder:
    return StateFolder(settings.state_dir)


async def opened(settings: Settings, service: str = "orchestrator") -> Database:
    return await Database.open(database_url(settings, state_of(settings), service), service=service)


async def fill(settings: Settings, service: str = "orchestrator", *, events: int = 1200) -> None:
    database = await opened(settings, service)
    happened = [Event(EventType.SYNC_STARTED, service, "é\n", {"n": n}, n + 0.1) for n in range(events)]
    await SqlEventLog(database).append(happened)
    audit = SqlAuditLog(database)
    await audit.append([AuditBatch.of([AuditRecord(at=float(n), kind=AuditKind.CALL)]) for n in range(3)])
    await SqlSpecStore(database).save(
        SavedSpec(1, 1.0, "ann", "file", {"servers": {}}, [{"key": "x"}]), expected=0
    )
    await SqlTrendStore(database).add([Trend(60.0, 60, "n", "", {"calls": 1 / 3})])
    async with database.write() as connection:
        values = {"name": "ann", "role": "admin", "grants": "[]", "disabled": 0, "created": 1.0}
        await connection.execute(PRINCIPALS.insert().values(values))
        key = {"id": "k1", "principal": "ann", "digest": bytes(range(256)), "label": "", "created": 1.0}
        await connection.execute(KEYS.insert().values(key))
        sealed = {"principal": "ann", "server": "s", "sealed": b"\0\n\xff", "updated": 1.0}
        await connection.execute(CREDENTIALS.insert().values(sealed))
        session = {
            "id": "w",
            "kind": "session",
            "digest": b"d",
            "principal": "ann",
            "created": 0,
            "expires": 9,
        }
        await connection.execute(WEB_SESSIONS.insert().values(session))
    await fill_gitops(database)
    await database.close()


async def fill_gitops(database: Database) -> None:
    """Nine rows, one in each table."""
    applications, deployments = SqlApplicationStore(database), SqlDeploymentStore(database)
    base = Base("a/é\n", "c1", bytes(range(256)), {"a": [1, None, "é"]})
    await applications.finish(ApplicationState("app", seen="c1"), [base], [])
    await applications.plan([Intent("d1", "a", 1, b"\0\xff")])
    live = Live("a", "t1", b"\0\xff", {"": "\0"}, by={"a.b": "Ann"}, executable=True)
    await applications.keep_live("app", "d1", live)
    row = DriftRow(
        "app", "a", "b", DriftKind.CONFIGURATION, Severity.LOW, DriftState.OPEN, None, "1", '"\\u0000"', 1 / 3
    )
    await applications.set_drift("app", [row])
    await applications.put_hold(Hold("app", "servers.**", "ann", "why\0", 9.5))
    assert await applications.acquire("fleet", "one", 60) == 1
    step = Step(StepName.FETCH, 1.0, 2.0, "é")
    deployment = Deployment(
        "d1", "app", Environment.PRODUCTION, "c1", None, DeploymentReason.COMMIT, "ann",
        DeploymentState.RUNNING, 1.5, steps=(step,), difference="- \0", approved_by=("bob",),
    )  # fmt: skip
    await deployments.add(deployment)
    await deployments.block(Blocked("app", "c0", 1.0, "it failed"))


async def content(settings: Settings, service: str = "orchestrator") -> dict[str, list[tuple[object, ...]]]:
    """All rows that a backup is to bring back: all but the audit's of that itself."""
    database = await opened(settings, service)
    found = {}
    async with database.read() as connection:
        for table in METADATA.sorted_tables:
            columns = [column for column in table.columns if column is not table.autoincrement_column]
            rows = await connection.execute(sqlalchemy.select(*columns).order_by(*table.primary_key))
            if table not in (RUNS, WEB_SESSIONS):
                found[table.name] = [
                    tuple(row) for row in rows if row[0] != "probe" and '["change"]' not in row
                ]
    await database.close()
    return found


def ignore(_part: Part) -> None:
    pass


async def take(settings: Settings, path: Path, *, with_key: bool = False) -> Path:
    await back_up(settings, path, with_key=with_key, on_part=ignore)
    return path


async def put_back(settings: Settings, path: Path) -> None:
    with reading(path) as backup:
        await restore(settings, state_of(settings), backup, ignore)


def rows_of(backup: Backup, name: str) -> list[dict]:
    with backup.open(name) as lines:
        return [json.loads(line) for line in lines]


KINDS = ("sqlite", "postgresql")


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
async def test_from_either_kind_into_either(make: Make, tmp_path: Path, source: str, target: str) -> None:
    one, other = make(source), make(target)
    await fill(one)
    await fill(one, "gitops", events=3)
    path = await take(one, tmp_path / "backup.zip")
    await fill(other, events=7)  # is replaced
    await put_back(other, path)
    for service in ("orchestrator", "gitops"):
        assert await content(other, service) == await content(one, service)

    database = await opened(other)
    async with database.read() as connection:  # who was logged in is not any more
        assert (await connection.execute(sqlalchemy.select(WEB_SESSIONS))).all() == []
    log, audit = SqlEventLog(database), SqlAuditLog(database)
    (stored,) = await log.append([Event(EventType.SYNC_COMPLETED, "s", "")])
    assert stored.sequence == 1201
    await audit.append([AuditBatch.of([AuditRecord(at=9.0, kind=AuditKind.CALL)])])
    calls = await audit.search(AuditFilter(kind=AuditKind.CALL))
    assert [record.at for record in calls] == [9.0, 2.0, 1.0, 0.0]
    (restored,) = await audit.search(AuditFilter(kind=AuditKind.CHANGE))
    assert (restored.action, restored.principal) == ("command: restored", "local")
    await database.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_consistent_while_the_service_writes(make: Make, tmp_path: Path, kind: str) -> None:
    settings = make(kind)
    await fill(settings)
    database = await opened(settings)
    log = SqlEventLog(database)
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            await log.append([Event(EventType.SYNC_STARTED, "s", "") for _ in range(5)])

    writing = asyncio.get_running_loop().create_task(write())
    for number in range(3):
        path = await take(settings, tmp_path / f"{number}.zip")
        with reading(path) as backup:
            events = [row["sequence"] for row in rows_of(backup, "orchestrator/events.jsonl")]
            counters = rows_of(backup, "orchestrator/counters.jsonl")
        assert events == list(range(1, len(events) + 1))
        assert {"name": "events", "value": len(events)} in counters
    done.set()
    await writing
    await database.close()


async def test_the_key_is_in_it_only_on_demand(make: Make, tmp_path: Path) -> None:
    one, other = make("sqlite"), make("sqlite")
    await fill(one)
    state_of(one).local_token_file.write_text("canary-token")
    plain = await take(one, tmp_path / "plain.zip")
    with reading(plain) as backup:
        assert backup.manifest.of("state") == []
    full = await take(one, tmp_path / "full.zip", with_key=True)
    assert stat.S_IMODE(full.stat().st_mode) == 0o600
    own = state_of(other).key()
    await put_back(other, plain)
    assert state_of(other).key() == own
    await put_back(other, full)
    assert state_of(other).key() == state_of(one).key() != own
    assert state_of(other).local_token_file.read_text() == "canary-token"
    assert stat.S_IMODE((state_of(other).root / "key").stat().st_mode) == 0o600


async def test_whether_git_is_in_charge_is_in_it(make: Make, tmp_path: Path) -> None:
    one, other = make("sqlite"), make("sqlite")
    await fill(one)
    state_of(one).ownership_file.write_text('{"enabled": true}')
    await put_back(other, await take(one, tmp_path / "backup.zip"))
    assert state_of(other).ownership_file.read_text() == '{"enabled": true}'


async def test_nothing_is_replaced_or_left_over(make: Make, tmp_path: Path) -> None:
    settings = make("sqlite")
    with pytest.raises(ProblemError, match="no database yet"):
        await take(settings, tmp_path / "b" / "backup.zip")
    await fill(settings)
    folder = tmp_path / "b"
    with pytest.raises(ProblemError, match="cannot write the backup"):
        await take(settings, folder / "backup.zip")
    folder.mkdir()
    (folder / "backup.zip").write_text("mine")
    with pytest.raises(ProblemError, match="there already"):
        await take(settings, folder / "backup.zip")
    assert (folder / "backup.zip").read_text() == "mine"
    assert os.listdir(folder) == ["backup.zip"]  # noqa: PTH208
    assert not state_of(settings).database("gitops").exists()


@pytest.mark.parametrize("room", [50_000, 100_000, 400_000, 900_000])
async def test_a_disk_that_is_full(make: Make, tmp_path: Path, room: int) -> None:
    settings = make("sqlite")
    database = await opened(settings)
    noise = [Event(EventType.SYNC_STARTED, "", "", {"n": os.urandom(1000).hex()}) for _ in range(1200)]
    await SqlEventLog(database).append(noise)
    await database.close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(ProblemError, match="File too large") as full:
            await take(settings, tmp_path / "backup.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.value.problem.title == "cannot write the backup", "and not: the database is away"
    assert [name for name in os.listdir(tmp_path) if "backup" in name] == []  # noqa: PTH208


def rewritten(path: Path, **changes: bytes | None) -> Path:
    """A copy with some parts changed (or, for None, left out)."""
    copy = path.with_name("changed.zip")
    copy.unlink(missing_ok=True)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            new = changes.pop(name, source.read(name))
            if new is not None:
                target.writestr(name, new)
        for name, new in changes.items():
            target.writestr(name, new or b"")
    return copy


def outcome(path: Path, content: bytes) -> str:
    """What reading it comes to: its manifest, or the problem's code."""
    path.write_bytes(content)
    try:
        with reading(path) as backup:
            return repr(backup.manifest)
    except ProblemError as error:
        return error.problem.code


def test_every_kind_of_damage_is_found_before_anything_changes(make: Make, tmp_path: Path) -> None:
    settings = make("sqlite")
    asyncio.run(fill(settings))
    path = asyncio.run(take(settings, tmp_path / "backup.zip"))
    whole = path.read_bytes()
    whole_manifest = outcome(path, whole)
    events = "orchestrator/events.jsonl"
    changed = (
        {events: b""},
        {events: None},
        {"orchestrator/other.jsonl": b"{}"},
        {MANIFEST: None},
        {MANIFEST: b"{}"},
        {MANIFEST: b"x" * (2 << 20)},
    )
    cases = [rewritten(path, **changes).read_bytes() for changes in changed]
    cases += [b"", b"no archive", whole[: len(whole) // 2], whole[:-30]]
    cases += [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in range(0, len(whole), 997)]
    before = asyncio.run(content(settings))
    outcomes = [outcome(tmp_path / "broken.zip", case) for case in cases]
    assert set(outcomes) <= {"damaged-backup", "newer-backup", whole_manifest}
    # a changed bit may be in a date, which nobody needs
    assert sum(each == whole_manifest for each in outcomes) <= 0.2 * len(cases)
    assert asyncio.run(content(settings)) == before


@pytest.mark.parametrize("kind", KINDS)
async def test_rows_that_do_not_fit_change_nothing(make: Make, tmp_path: Path, kind: str) -> None:
    settings = make(kind)
    await fill(settings)
    path = await take(settings, tmp_path / "backup.zip")
    before = await content(settings)
    for name, lines in {
        "orchestrator/specs.jsonl": b'{"generation": 1, "new": 2}\n',
        "orchestrator/keys.jsonl": b'{"id": "k", "digest": "not base64!"}\n',
        "orchestrator/music.jsonl": b"{}\n",
        "orchestrator/facts.jsonl": b"[1]\n",
    }.items():
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(MANIFEST))
        parts = [part for part in manifest["parts"] if part["name"] != name]
        part = {"name": name, "size": len(lines), "rows": 1, "sha256": hashlib.sha256(lines).hexdigest()}
        manifest["parts"] = [*parts, part]
        changed = rewritten(path, **{name: lines, MANIFEST: json.dumps(manifest).encode()})
        with pytest.raises(ProblemError, match="does not fit") as caught:
            await put_back(settings, changed)
        assert name in caught.value.problem.detail
        assert await content(settings) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": FORMAT + 1}, "format 2"),
        ({"services": {"orchestrator": "9999"}}, "revision 9999"),
        ({"services": {"../../evil": "0001"}}, "evil"),
    ],
)
async def test_a_backup_from_the_future(make: Make, tmp_path: Path, changes: dict, words: str) -> None:
    settings = make("sqlite")
    await fill(settings)
    path = await take(settings, tmp_path / "backup.zip")
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read(MANIFEST)) | changes
    before = await content(settings)
    with pytest.raises(ProblemError, match="newer version") as caught:
        await put_back(settings, rewritten(path, **{MANIFEST: json.dumps(manifest).encode()}))
    assert words in caught.value.problem.detail
    assert await content(settings) == before


async def test_a_service_that_lives_somewhere_is_not_pulled_away(make: Make, tmp_path: Path) -> None:
    settings = make("postgresql")
    await fill(settings)
    path = await take(settings, tmp_path / "backup.zip")
    database = await opened(settings)
    runs = Runs(database)
    await runs.begin("r1", "other-node")
    with pytest.raises(ProblemError, match="runs on this database") as caught:
        await put_back(settings, path)
    assert "other-node" in caught.value.problem.detail
    await runs.end("r1")
    await database.close()
    await put_back(settings, path)


async def test_an_older_revision_is_brought_up_to_date(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup of today, restored by a version that has one revision more."""
    settings = make("sqlite")
    await fill(settings)
    path = await take(settings, tmp_path / "backup.zip")
    folder = tmp_path / "migrations"
    folder.mkdir()
    for revision in schema._FOLDER.glob("r*.py"):
        shutil.copy(revision, folder)
    (folder / "r0003.py").write_text(
        "import sqlalchemy as sa\nrevision, down_revision = '0003', '0002'\n"
        "def upgrade(*, op):\n"
        "    op.add_column('events', sa.Column('more', sa.Text, nullable=False, server_default='x'))\n"
    )
    monkeypatch.setattr(schema, "_FOLDER", folder)
    monkeypatch.setattr(schema, "HEAD", "0003")
    await put_back(settings, path)
    database = await opened(settings)
    async with database.read() as connection:
        more = await connection.exec_driver_sql("SELECT count(*) FROM events WHERE more = 'x'")
        assert more.scalar_one() == 1200
        revision = await connection.exec_driver_sql(f"SELECT version_num FROM {schema.VERSION_TABLE}")
        assert revision.scalar_one() == "0003"
    await database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_backup_from_before_the_controller_had_tables(make: Make, tmp_path: Path, kind: str) -> None:
    settings = make("sqlite")
    await fill(settings)
    path = await take(settings, tmp_path / "backup.zip")
    before = await content(settings)
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read(MANIFEST))
        counters = archive.read("orchestrator/counters.jsonl").splitlines(keepends=True)
    old = b"".join(line for line in counters if b"gitops" not in line)
    manifest["services"] = {"orchestrator": "0001"}
    manifest["parts"] = [
        part for part in manifest["parts"] if part["name"].split("/")[1].removesuffix(".jsonl") not in NEW
    ]
    for part in manifest["parts"]:
        if part["name"] == "orchestrator/counters.jsonl":
            part |= {"size": len(old), "rows": 3, "sha256": hashlib.sha256(old).hexdigest()}
    changed: dict[str, bytes | None] = {f"orchestrator/{name}.jsonl": None for name in NEW}
    changed |= {"orchestrator/counters.jsonl": old, MANIFEST: json.dumps(manifest).encode()}
    other = make(kind)
    await put_back(other, rewritten(path, **changed))
    after = await content(other)
    assert {name: after.pop(name) for name in sorted(NEW)} == {name: [] for name in sorted(NEW)}
    assert ("gitops", 0) in after.pop("counters")
    assert after == {name: rows for name, rows in before.items() if name in after}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_is_restored_is_another_history(make: Make, tmp_path: Path, kind: str) -> None:
    settings = make(kind)
    epochs = []
    for _ in range(2):
        database = await opened(settings)
        epochs.append(await SqlEventLog(database).epoch())
        await database.close()
        await put_back(settings, await take(settings, tmp_path / f"backup{len(epochs)}.zip"))
    assert len(set(epochs)) == 2


def run(settings: Settings, *arguments: str, **options: object) -> click.testing.Result:
    runner = click.testing.CliRunner()
    return runner.invoke(cli, [*arguments, "--state-dir", str(settings.state_dir)], **options)  # type: ignore[arg-type]


def test_the_commands(make: Make, tmp_path: Path) -> None:
    one, other = make("sqlite"), make("sqlite")
    asyncio.run(fill(one))
    file = tmp_path / "backup.zip"
    taken = run(one, "backup", str(file))
    assert taken.exit_code == 0, taken.output
    assert "orchestrator/events.jsonl: 1200 rows" in taken.stderr
    assert f"{file}: 1222 rows of orchestrator" in taken.stdout
    assert run(one, "backup", str(file)).exit_code == 2

    declined = run(other, "restore", str(file), input="n\n")
    assert declined.exit_code == 1
    assert str(other.state_dir) in declined.output
    assert not state_of(other).database("orchestrator").exists()
    restored = run(other, "restore", str(file), "--yes", "--json")
    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.stdout)["services"] == {"orchestrator": schema.head()}
    assert asyncio.run(content(other)) == asyncio.run(content(one))


def test_a_running_system_is_not_restored_into(make: Make, tmp_path: Path) -> None:
    settings = make("sqlite")
    asyncio.run(fill(settings))
    file = asyncio.run(take(settings, tmp_path / "backup.zip"))
    with state_of(settings).lock():
        refused = run(settings, "restore", str(file), "--yes")
        assert run(settings, "backup", str(tmp_path / "while.zip")).exit_code == 0
    assert refused.exit_code == 1
    assert "already runs" in refused.output


def test_what_is_no_backup(make: Make, tmp_path: Path) -> None:
    settings = make("sqlite")
    missing = run(settings, "restore", str(tmp_path / "none.zip"), "--yes")
    assert (missing.exit_code, "No such file" in missing.output) == (2, True)
    (tmp_path / "text.zip").write_text("text")
    text = run(settings, "restore", str(tmp_path / "text.zip"), "--yes")
    assert (text.exit_code, "not a whole backup" in text.output) == (2, True)


def test_a_database_that_is_away(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make("sqlite")
    monkeypatch.setenv("FAIRLEAD_DATABASE", "postgresql://127.0.0.1:1/none")
    away = run(settings, "backup", str(tmp_path / "b.zip"))
    assert away.exit_code == 1
    assert "the database is away" in away.output
    assert not (tmp_path / "b.zip").exists()
