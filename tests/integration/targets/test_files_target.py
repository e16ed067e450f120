"""The files target on a real disk."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fairlead.core.overrides import Edit
from fairlead.formats import documents
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.reconciling import Live
from fairlead.ports.gitops import ChangedMeanwhileError, TargetAwayError, Write
from fairlead.targets.file_tree import tag_of
from fairlead.targets.files import FilesTarget

TEMP = ".fairlead-0123456789abcdef.tmp"


def no_secrets(name: str) -> str:
    problem = Problem(
        "no-secret", "No such secret", f"keep it: fairlead secrets set {name}", 422, Fault.CLIENT
    )
    raise ProblemError(problem)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def target(root: Path) -> FilesTarget:
    return FilesTarget(root, no_secrets)


async def one(target: FilesTarget, name: str) -> Live:
    return (await target.read([name]))[name]


def new(name: str, content: bytes, tag: str | None = None, *, executable: bool = False) -> Write:
    return Write(name, tag, content, documents.read(documents.format_of(name), content), executable)


def left(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".fairlead-*")]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_file_is_made_read_changed_and_removed(root: Path, target: FilesTarget):
    assert await target.read(["a/b.json"]) == {}
    tag = await target.write(new("a/b.json", b'{"x": 1}\n'))
    assert tag == tag_of(b'{"x": 1}\n', executable=False)
    live = await one(target, "a/b.json")
    assert (live.tag, live.content, live.document, live.problem) == (tag, b'{"x": 1}\n', {"x": 1}, "")
    assert (mode(root / "a"), mode(root / "a/b.json")) == (0o755, 0o644)
    tag = await target.write(new("a/b.json", b'{"x": 2}\n', tag))
    assert (root / "a/b.json").read_bytes() == b'{"x": 2}\n'
    assert await target.write(Write("a/b.json", tag, None, None)) is None
    assert await target.read(["a/b.json"]) == {}
    assert names_in(root / "a") == []


async def test_what_was_changed_meanwhile_is_not_written_over(root: Path, target: FilesTarget):
    tag = await target.write(new("x.txt", b"one"))
    (root / "x.txt").write_bytes(b"theirs")
    with pytest.raises(ChangedMeanwhileError, match=r"x\.txt"):
        await target.write(new("x.txt", b"two", tag))
    with pytest.raises(ChangedMeanwhileError):
        await target.write(new("x.txt", b"two"))
    with pytest.raises(ChangedMeanwhileError):
        await target.write(Write("x.txt", tag, None, None))
    with pytest.raises(ChangedMeanwhileError):
        await target.write(new("gone.txt", b"two", tag))
    assert (root / "x.txt").read_bytes() == b"theirs"
    assert names_in(root) == ["x.txt"]


@pytest.mark.parametrize("step", ["before-temp", "temp-synced", "before-remove"])
async def test_a_change_at_the_last_moment_is_seen(root: Path, step: str):
    def meddle(at: str) -> None:
        if at == step:
            (root / "sub/x.txt").write_bytes(b"theirs")

    target = FilesTarget(root, no_secrets, at=meddle)
    (root / "sub").mkdir()
    (root / "sub/x.txt").write_bytes(b"one")
    tag = (await one(target, "sub/x.txt")).tag
    content = None if step == "before-remove" else b"two"
    with pytest.raises(ChangedMeanwhileError):
        await target.write(Write("sub/x.txt", tag, content, None))
    assert (root / "sub/x.txt").read_bytes() == b"theirs"
    assert left(root) == []


async def test_a_folder_that_is_moved_or_turned_into_a_link_at_the_last_moment_is_seen(root: Path):
    outside = root.parent / "outside"
    outside.mkdir()

    def meddle(at: str) -> None:
        if at == "temp-synced":
            (root / "sub").rename(root / "moved")
            (root / "sub").symlink_to(outside)

    target = FilesTarget(root, no_secrets, at=meddle)
    with pytest.raises(ProblemError, match="symbolic link"):
        await target.write(new("sub/x.txt", b"two"))
    assert names_in(outside) == []
    assert names_in(root / "moved") == []


async def test_permissions_stay_but_for_what_git_says_of_running(root: Path, target: FilesTarget):
    for before, executable, after in [
        (0o640, False, 0o640),
        (0o640, True, 0o750),
        (0o755, False, 0o644),
        (0o600, True, 0o700),
        (0o444, False, 0o444),
    ]:
        (root / "x").write_bytes(b"one")
        (root / "x").chmod(before)
        tag = (await one(target, "x")).tag
        written = await target.write(new("x", b"two", tag, executable=executable))
        assert (mode(root / "x"), written) == (after, tag_of(b"two", executable=executable))
        (root / "x").unlink()
    await target.write(new("run", b"#!", executable=True))
    assert mode(root / "run") == 0o755
    assert (await one(target, "run")).executable


async def test_only_the_bit_for_running_is_a_change_too(root: Path, target: FilesTarget):
    tag = await target.write(new("run", b"#!"))
    inode = (root / "run").stat().st_ino
    assert await target.write(new("run", b"#!", tag)) == tag
    assert (root / "run").stat().st_ino == inode  # nothing was to be done
    assert await target.write(new("run", b"#!", tag, executable=True)) != tag
    assert mode(root / "run") == 0o755


async def test_an_object_that_cannot_be_had_hinders_no_other(root: Path, target: FilesTarget):
    (root / "good.json").write_text("{}")
    (root / "bad.json").write_text('{"a": }')
    (root / "link").symlink_to("good.json")
    (root / "folder").mkdir()
    lives = await target.read(["good.json", "bad.json", "link", "folder", "../up", ".git/config", "none"])
    problems = {name: live.problem for name, live in lives.items()}
    assert problems.pop("good.json") == ""
    assert "bad.json: line 1, column 7" in problems.pop("bad.json")
    assert "symbolic link" in problems.pop("link")
    assert "it is a folder" in problems.pop("folder")
    assert "'..'" in problems.pop("../up")
    assert "Git's own" in problems.pop(".git/config")
    assert not problems


@pytest.mark.parametrize("name", ["../up", "/etc/x", ".git/config", "link/x", "link"])
async def test_hostile_objects_are_neither_checked_nor_written(root: Path, target: FilesTarget, name: str):
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "link").symlink_to(outside)
    for act in (target.write, lambda write: target.check([write])):
        with pytest.raises(ProblemError) as refusal:
            await act(new(name, b"x"))
        assert refusal.value.problem.code == "file-refused"
    assert names_in(outside) == []
    assert names_in(root.parent) == ["outside", "root"]


async def test_a_dry_run_tells_and_does_nothing(root: Path, target: FilesTarget):
    (root / "there").write_text("one")
    tag = (await one(target, "there")).tag
    writes = [
        new("there", b"two", tag),
        new("a/b", b"new"),
        Write("there", tag, None, None),
        new("there", b"one"),
    ]
    told = (await target.check(writes)).splitlines()
    assert [line.split()[0] for line in told] == ["changes", "creates", "removes", "leaves"]
    assert names_in(root) == ["there"]


async def test_a_root_that_is_away_is_waited_for(root: Path):
    target = FilesTarget(root / "later", no_secrets)
    for act in (target.read(["x"]), target.write(new("x", b"x")), target.health()):
        with pytest.raises(TargetAwayError, match="make it, or mend the target's `root`"):
            await act
    (root / "later").mkdir()
    assert await target.read(["x"]) == {}


async def test_what_has_not_changed_is_not_read_again(root: Path, target: FilesTarget):
    files = [root / f"{number}.json" for number in range(20)]
    for file in files:
        file.write_text("{}")
        os.utime(file, ns=(10**18, 10**18))
    names = [file.name for file in files]
    before = await target.read(names)
    assert target.statistics()["reads"] == 20
    assert await target.read(names) == before
    assert target.statistics()["reads"] == 20
    files[3].write_text('{"a": 1}')
    assert (await target.read(names))["3.json"].document == {"a": 1}
    assert target.statistics()["reads"] == 21


async def test_versions_within_a_tick_of_the_clock_are_told_apart(root: Path, target: FilesTarget):
    for number in range(10, 99):
        (root / "x.json").write_text(f'{{"a": {number}}}')  # in place, of the same size
        assert (await one(target, "x.json")).document == {"a": number}


async def test_what_a_killed_process_has_left_is_swept(root: Path):
    (root / "sub").mkdir()
    for folder in (root, root / "sub"):
        (folder / TEMP).write_text("half")
        (folder / ".fairlead-mine.tmp").write_text("a person's")
    (root / "sub" / TEMP.replace("0", "f")).mkdir()
    target = FilesTarget(root, no_secrets)
    await target.read(["x", "sub/x"])
    assert sorted(left(root)) == [
        ".fairlead-f123456789abcdef.tmp",
        ".fairlead-mine.tmp",
        ".fairlead-mine.tmp",
    ]


async def test_a_file_that_another_process_writes_is_not_swept(root: Path):
    seen: list[list[str]] = []

    def look(at: str) -> None:
        if at == "temp-written":
            other = FilesTarget(root, no_secrets)
            seen.append(list(asyncio.run(other.read(["y"]))))
            seen.append(left(root))

    target = FilesTarget(root, no_secrets, at=look)
    await target.write(new("x", b"content"))
    assert seen[0] == []
    assert len(seen[1]) == 1
    assert (root / "x").read_bytes() == b"content"
    assert left(root) == []


async def test_health_is_what_is_on_the_disk(root: Path, target: FilesTarget):
    await target.write(new("x", b"content"))
    health = await target.health()
    assert (health.healthy, health.done, health.message) == (True, True, "1 files are written")
    (root / "x").write_text("theirs")
    health = await target.health()
    assert (health.healthy, health.done) == (True, True)
    assert "somebody has changed x" in health.message


MCP = b"""{\r
\t// which servers Claude Code has\r
\t"mcpServers": {\r
\t\t"mine": {"command": "my-server", "args": ["--home", "${HOME:-/root}"]}, // a person's\r
\t\t"fleet": { "type":"http", "url": "http://old" }\r
\t},\r
\t"other": [1,2,  3]\r
}\r
"""


async def test_what_is_not_gits_stays_byte_for_byte(root: Path, target: FilesTarget):
    (root / ".mcp.json").write_bytes(MCP)
    live = await one(target, ".mcp.json")
    edits = [Edit(("mcpServers", "fleet", "url"), "http://new")]
    content = documents.edit(documents.format_of(".mcp.json"), live.content, edits)
    await target.write(Write(".mcp.json", live.tag, content, None))
    assert (root / ".mcp.json").read_bytes() == MCP.replace(b"http://old", b"http://new")


CLAUDE = (
    b"# Mine\r\n\r\nkeep *this*  \r\n<!-- fairlead:begin team -->\r\nold\r\n<!-- fairlead:end team -->\r\n"
    b"and this, without an end of line"
)


async def test_a_whole_environment_is_kept_as_git_says(root: Path, target: FilesTarget):
    """As SuperClaude and Claude Code have it: shared files, and many that are all Git's."""
    (root / ".claude").mkdir()
    settings = b'{\n  "theme": "dark", /* a person\'s */\n  "permissions": {"allow": ["Bash(ls)"]}\n}\n'
    (root / ".claude/settings.json").write_bytes(settings)
    (root / "CLAUDE.md").write_bytes(CLAUDE)
    (root / ".mcp.json").write_bytes(MCP)
    commands = {
        f".claude/commands/sc/{n}.md": f"# Command {n}\n\n```sh\nrun {n}\n```\n".encode() for n in range(51)
    }
    names = [".mcp.json", ".claude/settings.json", "CLAUDE.md", *commands]
    lives = await target.read(names)
    assert set(lives) == {".mcp.json", ".claude/settings.json", "CLAUDE.md"}
    wanted: Mapping[str, list[Edit]] = {
        ".mcp.json": [Edit(("mcpServers", "fleet", "url"), "http://new")],
        ".claude/settings.json": [Edit(("permissions", "allow"), ["Bash(git:*)"])],
        "CLAUDE.md": [Edit(("team",), "new\nrules")],
    }
    for name, edits in wanted.items():
        content = documents.edit(documents.format_of(name), lives[name].content, edits)
        await target.write(Write(name, lives[name].tag, content, None))
    for name, content in commands.items():
        await target.write(new(name, content))
    assert (root / "CLAUDE.md").read_bytes() == CLAUDE.replace(b"old", b"new\r\nrules")
    assert (root / ".claude/settings.json").read_bytes() == settings.replace(b"Bash(ls)", b"Bash(git:*)")
    assert (root / ".mcp.json").read_bytes() == MCP.replace(b"http://old", b"http://new")
    lives = await target.read(names)
    assert len(lives) == 54
    assert not any(live.problem for live in lives.values())
    assert {name: lives[name].content for name in commands} == commands
    assert left(root) == []


ACL = "system.posix_acl_access"


def access_list(user: int) -> bytes:
    """Owner rw-, `user` r--, the group ---, bound r--, others ---."""
    nobody = 0xFFFFFFFF
    entries = [(1, 6, nobody), (2, 4, user), (4, 0, nobody), (0x10, 4, nobody), (0x20, 0, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux has them")
@pytest.mark.parametrize(("name", "value"), [("user.note", b"mine"), (ACL, access_list(12345))])
async def test_a_files_attributes_outlive_a_write(root: Path, target: FilesTarget, name: str, value: bytes):
    file = root / "x.txt"
    file.write_bytes(b"one")
    file.chmod(0o640)
    try:
        os.setxattr(file, name, value)
    except OSError as error:
        pytest.skip(f"this file system has none: {error}")
    before = os.getxattr(file, name), mode(file)
    await target.write(new("x.txt", b"two", (await one(target, "x.txt")).tag))
    assert file.read_bytes() == b"two"
    assert (os.getxattr(file, name), mode(file)) == before
