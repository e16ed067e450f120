from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.formats import documents
from fairlead.gitops import pieces as pieces_module
from fairlead.gitops.rendering import Renderer
from fairlead.model.errors import ProblemError
from fairlead.model.gitops import Application, LayerChoice
from fairlead.model.reconciling import Format, Rendered
from fairlead.stores.fleet_file import load, load_layers
from support.snapshots import AUTHOR, FakeSnapshot

FLEET = 'version: "1"\nservers:\n  a:\n    command: x # why\n    environment: {KEY: "${secret:KEY}"}\n'
SERVER = "servers: {b: {command: y}}\n"


def fleet(name: str = "fleet", **more: Any) -> Application:
    return Application.model_validate({"name": name, "target": {"fleet": {}}, **more})


def files(**more: Any) -> Application:
    return Application.model_validate(
        {"name": "files", "target": {"files": {"root": "/x"}}, "render": "files", **more}
    )


@pytest.fixture
def renderer() -> Renderer:
    return Renderer(load_layers)


async def refused(
    renderer: Renderer, application: Application, snapshot: FakeSnapshot
) -> tuple[str, list[str]]:
    with pytest.raises(ProblemError) as raised:
        await renderer.render(application, snapshot)
    problem = raised.value.problem
    assert problem.status == 422
    return problem.code, list(problem.extra["problems"])


async def rendered_files(
    texts: dict[str, str | bytes], application: Application | None = None, **more: Any
) -> Rendered:
    snapshot = FakeSnapshot(texts, **more)
    return await Renderer(load_layers).render(application or files(layers={"team": "t"}), snapshot)


# -- a fleet --------------------------------------------------------------------------------------------


async def test_a_fleet_is_one_object_of_all_its_layers(renderer: Renderer) -> None:
    snapshot = FakeSnapshot(
        {
            "base/mcp-servers.yml": FLEET,
            "environments/staging/mcp-servers.yml": SERVER,
            "environments/production/mcp-servers.yml": "nonsense: [",
            "teams/t/mcp-servers.yml": "servers: {a: {args: [one]}, b: {command: null}}\n",
            "README.md": "x",
        }
    )
    found = await renderer.render(fleet(environment="staging", layers={"team": "t"}), snapshot)
    assert (found.commit, found.author, list(found.objects)) == ("c1", AUTHOR, ["fleet"])
    desired = found.objects["fleet"]
    assert (desired.id, desired.format, desired.whole) == ("fleet", Format.YAML, True)
    assert desired.document["servers"] == {
        "a": {"command": "x", "environment": {"KEY": "${secret:KEY}"}, "args": ["one"]},
        "b": {"command": "y"},
    }
    assert documents.read(Format.YAML, desired.content) == desired.document
    assert load(desired.content, "f").spec is not None


async def test_problems_of_a_fleet_are_told_with_their_places(renderer: Renderer) -> None:
    snapshot = FakeSnapshot(
        {
            "base/mcp-servers.yml": FLEET,
            "environments/development/mcp-servers.yml": "servers:\n  a: {argz: []}\n",
        }
    )
    code, problems = await refused(renderer, fleet(), snapshot)
    assert code == "config-invalid"
    (problem,) = problems
    assert problem.startswith(
        "environments/development/mcp-servers.yml:2:7: error: servers.a.argz: unknown key"
    )


async def test_an_application_without_anything_is_a_mistake_and_no_wish_for_nothing(
    renderer: Renderer,
) -> None:
    for application, folder in [(fleet(), "mcp-servers.yml"), (files(), "files")]:
        code, (problem,) = await refused(renderer, application, FakeSnapshot({"other/x.yml": "a: 1"}))
        assert code == "config-invalid"
        assert f"looked for base/{folder}, environments/development/{folder}" in problem
        assert "mend `path` or `render`" in problem


async def test_a_path_out_of_the_repository_is_refused(renderer: Renderer) -> None:
    for application in (fleet(path="../x"), files(render="..")):
        with pytest.raises(ProblemError, match="does not stay in the repository"):
            await renderer.render(application, FakeSnapshot({"base/x": "y"}))


async def test_a_layer_that_is_named_and_not_there_is_a_warning(renderer: Renderer) -> None:
    snapshot = FakeSnapshot({"base/mcp-servers.yml": FLEET, "users/ada/files/x": ""})
    application = fleet(layers={"team": "tema", "user": "ada"})
    assert await renderer.render(application, snapshot)
    (problem,) = await renderer.check(application, snapshot)
    assert (problem.file, problem.severity) == ("teams/tema", "warning")


async def test_a_secret_that_is_written_out_is_refused_and_not_shown(renderer: Renderer) -> None:
    secret = "hunter22hunter22"
    base = FLEET.replace("${secret:KEY}", secret)
    above = "servers: {a: {environment: {KEY: '${KEY}'}}}\n"  # Git has it, all the same
    snapshot = FakeSnapshot({"base/mcp-servers.yml": base, "environments/development/mcp-servers.yml": above})
    code, (problem,) = await refused(renderer, fleet(), snapshot)
    assert code == "config-invalid"
    assert problem.startswith(
        "base/mcp-servers.yml:5:25: error: servers.a.environment.KEY: this looks like a"
    )
    assert "`fairlead secrets`" in problem
    assert secret not in problem


@pytest.mark.parametrize("kind", ["fleet", "files"])
async def test_what_is_taken_from_nobody_refuses_the_commit(renderer: Renderer, kind: str) -> None:
    application = fleet() if kind == "fleet" else files()
    place = "base/mcp-servers.yml" if kind == "fleet" else "base/files/link"
    snapshot = FakeSnapshot(
        {"base/files/x.json": "{", "environments/development/mcp-servers.yml": FLEET},
        problems={place: "it is a symbolic link; put the file itself in its place"},
    )
    code, problems = await refused(renderer, application, snapshot)
    assert code == "source-refused"
    assert problems[0] == f"{place}:1:1: error: it is a symbolic link; put the file itself in its place"
    assert len(problems) == (1 if kind == "fleet" else 2)  # what else is wrong is told as well


@pytest.mark.parametrize("place", ["base", "base/files", "environments/development"])
@pytest.mark.parametrize("application", [fleet(), files()], ids=["fleet", "files"])
async def test_a_link_in_place_of_a_layer_is_refused(
    renderer: Renderer, application: Application, place: str
) -> None:
    good = {"teams/t/mcp-servers.yml": FLEET, "teams/t/files/x": ""}
    chosen = application.model_copy(update={"layers": LayerChoice(team="t")})
    snapshot = FakeSnapshot(good, problems={place: "it is a symbolic link"})
    if place == "base/files" and application.target.fleet:
        assert await renderer.render(chosen, snapshot)
        return
    code, problems = await refused(renderer, chosen, snapshot)
    assert (code, problems) == ("source-refused", [f"{place}:1:1: error: it is a symbolic link"])


async def test_a_file_in_place_of_a_folder_is_refused(renderer: Renderer) -> None:
    _, problems = await refused(renderer, files(), FakeSnapshot({"base/files": "x"}))
    assert problems == ["base/files:1:1: error: it is a file, where a folder is wanted; move it away"]


async def test_only_the_first_problems_are_in_the_text(renderer: Renderer) -> None:
    snapshot = FakeSnapshot({f"base/files/{number:02}.json": "{" for number in range(25)})
    with pytest.raises(ProblemError) as raised:
        await renderer.render(files(), snapshot)
    problem = raised.value.problem
    assert problem.detail.endswith("\nand 5 more")
    assert len(problem.extra["problems"]) == 25


# -- files ----------------------------------------------------------------------------------------------


async def test_files_are_those_of_all_layers() -> None:
    found = await rendered_files(
        {
            "base/files/.mcp.json": "{}",
            "environments/development/files/deep/er/a.txt": "a",
            "teams/t/files/b.sh": "#!/bin/sh\n",
            "teams/other/files/c": "c",
            "base/other": "x",
        },
        executable=["teams/t/files/b.sh"],
    )
    assert {name: each.format for name, each in found.objects.items()} == {
        ".mcp.json": Format.JSON,
        "b.sh": Format.TEXT,
        "deep/er/a.txt": Format.TEXT,
    }
    assert [name for name, each in found.objects.items() if each.executable] == ["b.sh"]
    assert [name for name, each in found.objects.items() if each.whole] == ["b.sh", "deep/er/a.txt"]


async def test_structured_files_are_merged_and_keep_the_lowest_layers_comments() -> None:
    base = '{\n  // why\n  "keep": [1],\n  "change": {"a": 1, "b": 1}\n}\n'
    above = '{"change": {"a": 2, "b": null}, "new": true}'
    found = await rendered_files({"base/files/s.json": base, "teams/t/files/s.json": above})
    desired = found.objects["s.json"]
    assert desired.document == {"keep": [1], "change": {"a": 2, "b": 1}, "new": True}
    assert b"// why" in desired.content
    assert documents.read(Format.JSON, desired.content) == desired.document
    assert not desired.whole


@pytest.mark.parametrize(
    ("name", "base", "above", "merged"),
    [
        ("a.yaml", "a: {x: 1}\n", "a: {y: 2}\n", {"a": {"x": 1, "y": 2}}),
        ("a.toml", "[a]\nx = 1\n", "[a]\ny = 2\n", {"a": {"x": 1, "y": 2}}),
        ("a.jsonc", '{"a": [1, 2]}', '{"a": [3]}', {"a": [3]}),
        ("a.txt", "base\n", "above\n", {"": "above\n"}),
        ("A.md", "base\n", "above\n", {"": "above\n"}),
    ],
)
async def test_each_format_is_put_together_as_it_can_be(
    name: str, base: str, above: str, merged: dict[str, Any]
) -> None:
    found = await rendered_files({f"base/files/{name}": base, f"teams/t/files/{name}": above})
    desired = found.objects[name]
    assert desired.document == merged
    assert documents.read(desired.format, desired.content) == merged


def block(name: str, text: str) -> str:
    return f"<!-- fairlead:begin {name} -->\n{text}\n<!-- fairlead:end {name} -->\n"


async def test_managed_blocks_of_all_layers_come_together() -> None:
    base = "# Ours\n\n" + block("base", "everybody")
    found = await rendered_files(
        {"base/files/CLAUDE.md": base, "teams/t/files/CLAUDE.md": block("team", "we")}
    )
    desired = found.objects["CLAUDE.md"]
    assert desired.document == {"base": "everybody", "team": "we"}
    assert desired.content.startswith(b"# Ours\n")
    assert not desired.whole


async def test_a_text_without_blocks_replaces_one_with_them() -> None:
    found = await rendered_files({"base/files/A.md": block("base", "x"), "teams/t/files/A.md": "plain\n"})
    desired = found.objects["A.md"]
    assert (desired.document, desired.whole) == ({"": "plain\n"}, True)


async def test_one_layer_is_taken_byte_for_byte() -> None:
    content = b'\xef\xbb\xbf{ "a" :1 , /* x */ }\r\n'
    binary = bytes(range(256))
    found = await rendered_files({"base/files/a.json": content, "base/files/b.bin": binary})
    assert found.objects["a.json"].content == content
    assert found.objects["b.bin"].content == binary


async def test_a_null_with_nothing_below_it_is_nothing() -> None:
    found = await rendered_files({"base/files/a.json": '{"a": null, "b": {"c": null, "d": 1}}'})
    desired = found.objects["a.json"]
    assert desired.document == {"b": {"d": 1}}
    assert json.loads(desired.content) == {"b": {"d": 1}}


async def test_all_files_that_cannot_be_read_are_told(renderer: Renderer) -> None:
    snapshot = FakeSnapshot(
        {
            "base/files/a.json": '{\n "a": }',
            "base/files/b.yml": "a: 1\na: 2\n",
            "base/files/c.json": "[1]",
            "base/files/good.json": "{}",
            "base/files/d.md": "<!-- fairlead:begin x -->\n",
            "environments/development/files/d.md": "fine",
        }
    )
    code, problems = await refused(renderer, files(), snapshot)
    assert code == "config-invalid"
    assert [problem.split(" ")[0] for problem in problems] == [
        "base/files/a.json:2:7:",
        "base/files/b.yml:2:1:",
        "base/files/c.json:1:1:",
        "base/files/d.md:1:1:",
    ]
    assert not any("line 2, column" in problem for problem in problems)


async def test_a_secret_in_a_file_is_refused() -> None:
    key = "ghp_" + "a1B2" * 9
    with pytest.raises(ProblemError) as raised:
        await rendered_files({"base/files/CLAUDE.md": f"# x\nthe key is {key}\n"})
    assert "base/files/CLAUDE.md:2:12: error: this looks like a secret" in raised.value.problem.detail
    assert key not in str(raised.value)


# -- what is not done again -----------------------------------------------------------------------------


async def test_what_has_not_changed_is_not_read_again(renderer: Renderer) -> None:
    texts = {"base/mcp-servers.yml": FLEET, "base/files/a.json": "{}", "docs/x": "1"}
    first, second = (
        FakeSnapshot(texts),
        FakeSnapshot(texts | {"docs/x": "2", "base/files/a.json": "{} "}, commit="c2"),
    )
    one = await renderer.render(fleet(), first)
    other = await renderer.render(fleet(), second)
    assert (one.commit, other.commit) == ("c1", "c2")
    assert other.digest == one.digest
    assert other.objects is one.objects
    assert second.reads == []
    assert renderer.statistics() == {"renders": 1, "reuses": 1, "documents": 1}


async def test_a_change_reads_only_what_is_new(renderer: Renderer) -> None:
    texts = {f"base/files/{number}.json": f'{{"n": {number}}}' for number in range(5)}
    await renderer.render(files(), FakeSnapshot(texts))
    changed = FakeSnapshot(texts | {"base/files/3.json": '{"n": 33}'}, commit="c2")
    found = await renderer.render(files(), changed)
    assert found.objects["3.json"].document == {"n": 33}
    assert len(changed.reads) == 1


async def test_what_is_broken_is_not_read_again_either(renderer: Renderer) -> None:
    snapshot = FakeSnapshot({"base/mcp-servers.yml": "servers: ["})
    first = await refused(renderer, fleet(), snapshot)
    assert await refused(renderer, fleet(), snapshot) == first
    assert renderer.statistics()["renders"] == 1


async def test_inputs_tell_whom_a_commit_concerns(renderer: Renderer) -> None:
    mine = fleet("mine", path="apps/mine")
    other = fleet("other", path="apps/other")
    texts = {"apps/mine/base/mcp-servers.yml": FLEET, "apps/other/base/mcp-servers.yml": FLEET}
    before, after = (
        FakeSnapshot(texts),
        FakeSnapshot(texts | {"apps/mine/base/mcp-servers.yml": FLEET + "#\n"}),
    )
    old = {each.name: await renderer.inputs(each, before) for each in (mine, other)}
    assert await renderer.inputs(other, after) == old["other"]
    assert await renderer.inputs(mine, after) != old["mine"]
    await renderer.render(other, before)
    assert await renderer.inputs(other, after) == old["other"]


@pytest.mark.parametrize(
    "more", [{"environment": "staging"}, {"layers": {"user": "ada"}}, {"path": "p"}, {"render": "o.yml"}]
)
async def test_another_choice_is_rendered_anew(renderer: Renderer, more: dict[str, Any]) -> None:
    texts = {
        "base/mcp-servers.yml": FLEET,
        "environments/staging/mcp-servers.yml": SERVER,
        "users/ada/mcp-servers.yml": SERVER,
        "p/base/mcp-servers.yml": FLEET + "  c: {command: z}\n",
        "base/o.yml": FLEET + "  d: {command: z}\n",
    }
    snapshot = FakeSnapshot(texts)
    one = await renderer.render(fleet(), snapshot)
    other = await renderer.render(fleet(**more), snapshot)
    assert one.digest != other.digest


async def test_a_files_application_is_no_fleet_of_the_same_name(renderer: Renderer) -> None:
    snapshot = FakeSnapshot({"base/files": "x", "base/files/a": "y"})
    as_fleet = fleet("files", render="files")
    assert await renderer.inputs(as_fleet, snapshot) != await renderer.inputs(files(), snapshot)


async def test_digests_are_of_everything_in_it() -> None:
    texts: dict[str, str | bytes] = {"base/files/a.sh": "x", "base/files/b": "y"}
    plain = await rendered_files(texts)
    assert (await rendered_files(texts, commit="c2")).digest == plain.digest
    assert (await rendered_files(texts, executable=["base/files/a.sh"])).digest != plain.digest
    assert (await rendered_files({"base/files/a.sh": "y", "base/files/b": "x"})).digest != plain.digest


async def test_documents_are_kept_up_to_a_bound(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces_module, "MOST_KEPT", 100)
    texts = {f"base/files/{number}.txt": f"{number}" * 30 for number in range(8)}
    found = await renderer.render(files(), FakeSnapshot(texts))
    assert len(found.objects) == 8
    assert renderer.statistics()["documents"] == 3


async def test_an_application_that_is_gone_is_forgotten(renderer: Renderer) -> None:
    snapshot = FakeSnapshot({"base/mcp-servers.yml": FLEET})
    await renderer.render(fleet(), snapshot)
    renderer.forget("fleet")
    renderer.forget("fleet")
    await renderer.render(fleet(), snapshot)
    assert renderer.statistics()["renders"] == 2
    assert "renders" in repr(renderer)


async def test_a_file_and_a_folder_of_one_name_are_told_before_anything_is_written(
    renderer: Renderer,
) -> None:
    texts = {"base/files/a": "x", "base/files/ab/c": "x", "environments/development/files/a/b/c": "y"}
    code, problems = await refused(renderer, files(), FakeSnapshot(texts))
    assert code == "config-invalid"
    [problem] = problems
    assert problem.startswith("environments/development/files/a/b/c:1:1: error: base/files/a is a file where")
    assert "rename one of them" in problem
