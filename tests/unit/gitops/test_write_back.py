from __future__ import annotations

from typing import Any

import pytest

from fairlead.core.overrides import REMOVED, Edit
from fairlead.gitops.rendering import Renderer
from fairlead.gitops.write_back import FileChanges, written_back
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import Application
from fairlead.stores.fleet_file import load_layers
from support.snapshots import FakeSnapshot

FLEET = 'version: "1"\nservers:\n  a:\n    command: x # why\n    args: [one]\n'
ABOVE = "# ours\nservers:\n  a:\n    args: [two]\n"


def application(kind: str = "files", **more: Any) -> Application:
    target: dict[str, Any] = {"fleet": {}} if kind == "fleet" else {"files": {"root": "/x"}}
    render = {} if kind == "fleet" else {"render": "files"}
    return Application.model_validate(
        {"name": "a", "target": target, "layers": {"team": "t"}, **render, **more}
    )


async def back(
    chosen: Application, files: dict[str, str], edits: dict[str, list[Edit]]
) -> tuple[FileChanges, Renderer]:
    """The changes; they are checked to make the objects that are wanted."""
    renderer = Renderer(load_layers)
    snapshot = FakeSnapshot(files)
    return written_back(chosen, await renderer.gather(chosen, snapshot), edits), renderer


async def again(chosen: Application, files: dict[str, str], changes: FileChanges) -> dict[str, Any]:
    """What is rendered once Git has taken the changes."""
    taken: dict[str, Any] = {**files, **changes.files}
    left = {path: content for path, content in taken.items() if content is not None}
    rendered = await Renderer(load_layers).render(chosen, FakeSnapshot(left))
    return {name: each.document for name, each in rendered.objects.items()}


async def test_a_live_change_goes_to_the_layer_that_the_value_is_from() -> None:
    files = {"base/mcp-servers.yml": FLEET, "teams/t/mcp-servers.yml": ABOVE}
    chosen = application("fleet")
    edits = [Edit(("servers", "a", "args"), ["three"]), Edit(("servers", "a", "command"), "z")]
    changes, _ = await back(chosen, files, {"fleet": edits})
    assert changes.files == {
        "base/mcp-servers.yml": FLEET.replace("command: x #", "command: z #").encode(),
        "teams/t/mcp-servers.yml": ABOVE.replace("[two]", '["three"]').encode(),
    }
    assert changes.merge == {
        "base/mcp-servers.yml": [(("servers", "a", "command"), "z")],
        "teams/t/mcp-servers.yml": [(("servers", "a", "args"), ["three"])],
    }
    assert (await again(chosen, files, changes))["fleet"]["servers"]["a"] == {
        "command": "z",
        "args": ["three"],
    }


async def test_a_server_that_was_removed_goes_from_all_layers() -> None:
    other = "  b:\n    command: y\n"
    files = {"base/mcp-servers.yml": FLEET + other, "teams/t/mcp-servers.yml": ABOVE}
    changes, _ = await back(application("fleet"), files, {"fleet": [Edit(("servers", "a"), REMOVED)]})
    assert set(changes.files) == set(files)
    assert list((await again(application("fleet"), files, changes))["fleet"]["servers"]) == ["b"]


async def test_a_file_that_was_removed_goes_from_all_layers() -> None:
    files = {"base/files/a.json": "{}", "teams/t/files/a.json": "{}", "base/files/b.json": "{}"}
    changes, _ = await back(application(), files, {"a.json": [Edit((), REMOVED)]})
    assert changes.files == {"base/files/a.json": None, "teams/t/files/a.json": None}
    assert list(await again(application(), files, changes)) == ["b.json"]


async def test_a_new_file_goes_to_the_highest_layer() -> None:
    files = {"base/files/a.json": "{}"}
    changes, _ = await back(application(), files, {"n/b.json": [Edit((), {"x": 1})]})
    assert changes.files == {"teams/t/files/n/b.json": b'{\n  "x": 1\n}\n'}
    changes, _ = await back(application("fleet"), {}, {"fleet": [Edit(("version",), "1")]})
    assert list(changes.files) == ["teams/t/mcp-servers.yml"]


async def test_a_text_is_that_of_the_layer_that_counts() -> None:
    files = {"base/files/a.txt": "base\n", "teams/t/files/a.txt": "ours\n"}
    changes, _ = await back(application(), files, {"a.txt": [Edit(("",), "live\n")]})
    assert changes.files == {"teams/t/files/a.txt": b"live\n"}


async def test_a_managed_block_goes_to_its_layer() -> None:
    block = "<!-- fairlead:begin {0} -->\n{1}\n<!-- fairlead:end {0} -->\n"
    files = {
        "base/files/C.md": "# head\n" + block.format("base", "x"),
        "teams/t/files/C.md": block.format("team", "y"),
    }
    changes, _ = await back(application(), files, {"C.md": [Edit(("base",), "live")]})
    assert changes.files == {"base/files/C.md": ("# head\n" + block.format("base", "live")).encode()}


async def test_an_item_of_a_list_is_written_with_its_list() -> None:
    files = {"base/files/a.json": '{"l": [{"name": "x", "v": 1}, {"name": "y", "v": 1}]}'}
    changes, _ = await back(application(), files, {"a.json": [Edit(("l", "[name=y]", "v"), 2)]})
    documents = await again(application(), files, changes)
    assert documents["a.json"] == {"l": [{"name": "x", "v": 1}, {"name": "y", "v": 2}]}


async def test_nothing_is_written_where_nothing_changes() -> None:
    files = {"base/files/a.json": '{"a": 1}'}
    changes, _ = await back(application(), files, {"a.json": [Edit(("a",), 1)]})
    assert changes == FileChanges({}, {})


async def test_what_cannot_be_written_says_why() -> None:
    files = {"base/files/a.toml": "a = 1\n"}
    with pytest.raises(ProblemError, match=r"a\.toml: ") as raised:
        await back(application(), files, {"a.toml": [Edit(("a",), None)]})
    assert raised.value.problem.code == "proposal-refused"
    with pytest.raises(ProblemError, match=r"a\.json: line 1, column 2"):
        await back(application(), {"base/files/a.json": "{"}, {"a.json": [Edit(("a",), 1)]})
