"""What sources declare: broken documents keep what they had, and commits concern whom they touch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fairlead.app.gitops_catalogue import APPLICATION, Catalogue, CheckoutRenderer
from fairlead.app.gitops_targets import Targets, filler, is_valid, normal
from fairlead.app.settings import Settings
from fairlead.git.checkout_source import NAME, OneFile
from fairlead.gitops.rendering import Renderer
from fairlead.model.errors import ProblemError, SpecError
from fairlead.model.gitops import Application, GitOpsFile, Mode
from fairlead.model.reconciling import Reason
from fairlead.ports.gitops import TargetAwayError, Write
from fairlead.stores.fleet_file import load_layers
from fairlead.stores.state import StateFolder
from fairlead.targets.files import FilesTarget
from support.snapshots import FakeSnapshot

GOOD = (
    "version: '1'\nname: {name}\ntarget: {{files: {{root: /srv/{name}}}}}\npath: apps/{name}\nrender: files\n"
)


@dataclass
class Named:
    name: str


@dataclass
class Values:
    values: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        return self.values.get(name)


def snapshot(**documents: str) -> FakeSnapshot:
    files = {f"applications/{name}.yml": text for name, text in documents.items()}
    return FakeSnapshot({**files, "apps/a/base/files/x": "1", "apps/b/base/files/x": "1"})


def targets(tmp_path: Path, **values: str) -> Targets:
    state = tmp_path / "state"
    settings = Settings(state_dir=state, config=tmp_path / "mcp-servers.yml")
    return Targets(settings, StateFolder(state), Values(values))


@pytest.fixture
def enabled() -> list[bool]:
    return [False]


@pytest.fixture
def catalogue(tmp_path: Path, enabled: list[bool]) -> Catalogue:
    return Catalogue(targets(tmp_path), GitOpsFile, fleet_file="mcp-servers.yml", enabled=lambda: enabled[-1])


async def test_a_broken_document_keeps_its_application_and_hinders_no_other(catalogue: Catalogue):
    source: Any = Named("team")
    a, b = GOOD.format(name="a"), GOOD.format(name="b")
    assert [each.name for each in await catalogue.applications(source, snapshot(a=a, b=b))] == ["a", "b"]
    assert catalogue.problem(source) is None
    changed = b.replace("render: files", "render: other")
    found = await catalogue.applications(source, snapshot(a="name: [", b=changed))
    assert [(each.name, each.render) for each in found] == [("a", "files"), ("b", "other")]
    problem = catalogue.problem(source)
    assert problem is not None
    assert problem.reason is Reason.INVALID_CONFIG
    assert "applications/a.yml:1:" in problem.message
    assert [each.name for each in await catalogue.applications(source, snapshot(b=b))] == ["b"]
    assert catalogue.problem(source) is None


async def test_a_commit_concerns_those_whose_layers_it_touches(catalogue: Catalogue):
    applications = await catalogue.applications(
        Named("team"), snapshot(a=GOOD.format(name="a"), b=GOOD.format(name="b"))
    )  # type: ignore[arg-type]
    before = FakeSnapshot({"apps/a/base/files/x": "1", "apps/b/base/files/x": "1"})
    after = FakeSnapshot({"apps/a/base/files/x": "2", "apps/b/base/files/x": "1"}, commit="c2")
    assert [await catalogue.concerns(each, before, after) for each in applications] == [True, False]


async def test_the_checkout_has_one_application_which_is_observed_until_git_is_in_charge(
    catalogue: Catalogue, enabled: list[bool]
):
    source: Any = Named(NAME)
    [found] = await catalogue.applications(source, FakeSnapshot({}))
    assert (found.name, found.sync.mode, found.render) == (APPLICATION, Mode.OBSERVE, "mcp-servers.yml")
    enabled.append(True)
    [found] = await catalogue.applications(source, FakeSnapshot({}))
    assert found.sync.mode is Mode.ENFORCE


async def test_the_checkouts_file_is_rendered_and_named_by_its_own_path(catalogue: Catalogue):
    [application] = await catalogue.applications(Named(NAME), FakeSnapshot({}))  # type: ignore[arg-type]
    renderer = CheckoutRenderer(Renderer(load_layers))
    good = "version: '1'\nservers: {a: {command: a}}\n"
    tree = FakeSnapshot({"config/mcp-servers.yml": good, "config/other": "x"})
    one = OneFile(tree, "config/mcp-servers.yml", "base/mcp-servers.yml")
    rendered = await renderer.render(application, one)
    assert rendered.objects["fleet"].document["servers"]["a"] == {"command": "a"}
    bad = OneFile(
        FakeSnapshot({"config/mcp-servers.yml": "servers: 1\n"}, commit="c2"),
        "config/mcp-servers.yml",
        "base/mcp-servers.yml",
    )
    with pytest.raises(ProblemError, match=r"config/mcp-servers\.yml:1") as refused:
        await renderer.render(application, bad)
    assert "base/" not in refused.value.problem.detail
    lacking = OneFile(FakeSnapshot({"x": ""}, commit="c3"), "config/mcp-servers.yml", "base/mcp-servers.yml")
    with pytest.raises(ProblemError, match=r"config/mcp-servers\.yml is not in the last commit"):
        await renderer.render(application, lacking)


async def test_a_fleet_is_kept_by_one(tmp_path: Path):
    def fleet(name: str, mode: str = "enforce", **target: str) -> Application:
        return Application(name=name, target={"fleet": target}, sync={"mode": mode})  # type: ignore[arg-type]

    managed = [fleet("team"), fleet("far", url="https://fleet.example.com")]
    catalogue = Catalogue(
        targets(tmp_path), GitOpsFile, fleet_file="x", enabled=lambda: False, managed=lambda: managed
    )
    with pytest.raises(ProblemError, match="team keeps this fleet as Git says already"):
        catalogue.target(fleet("other"))
    with pytest.raises(ProblemError, match="team keeps this fleet"):
        catalogue.may_enable()
    for fine in (fleet("team"), fleet("other", "observe"), fleet("other", url="https://another.example.com")):
        assert catalogue.target(fine) is not None
    managed.remove(managed[0])
    catalogue.may_enable()


def files_at(root: str) -> Application:
    return Application(name="a", target={"files": {"root": root}})  # type: ignore[arg-type]


async def test_targets_of_files_are_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = targets(tmp_path)
    target = made.of(files_at("${HOME}"))
    assert isinstance(target, FilesTarget)
    assert str(tmp_path / "home") in repr(target)
    for root in ("/", str(tmp_path / "state"), str(tmp_path / "state" / "git")):
        with pytest.raises(ProblemError, match=r"target\.files\.root"):
            made.of(files_at(root))
    await made.close()


def test_a_fleet_that_does_not_run_is_away_and_one_elsewhere_needs_its_token(tmp_path: Path):
    made = targets(tmp_path, TOKEN="abc")
    here = Application(name="a", target={"fleet": {}})  # type: ignore[arg-type]
    assert here.target.fleet is not None
    with pytest.raises(TargetAwayError, match="fairlead up"):
        made.locate(here.target.fleet)()
    url = "https://fleet.example.com"
    for token, expected in (("${TOKEN}", "abc"), ("${OTHER}", None)):
        there = Application(name="a", target={"fleet": {"url": url, "token": token}})  # type: ignore[arg-type]
        assert there.target.fleet is not None
        if expected is None:
            with pytest.raises(ProblemError, match="OTHER"):
                made.locate(there.target.fleet)()
        else:
            place = made.locate(there.target.fleet)()
            assert (place.url, place.token) == (url, expected)
            assert "abc" not in repr(place)


def test_placeholders_are_filled_in_or_named():
    fill = filler(Values({"A": "1", "secret:B": "2"}))
    assert fill("x${A}${secret:B}") == "x12"
    with pytest.raises(SpecError, match="secret:C"):
        fill("${secret:C}")


def test_fleets_are_compared_as_orchestrators_show_them():
    written = {"version": "1", "servers": {"a": {"command": "a"}}}
    assert normal(normal(written)) == normal(written)
    assert is_valid(written)
    assert not is_valid({"servers": 1})
    assert normal({"servers": 1}) == {"servers": 1}


async def test_a_home_that_has_the_state_folder_below_it_is_a_target_but_for_that(tmp_path: Path):
    home = tmp_path / "home"
    state = home / ".local/state/fairlead"
    state.mkdir(parents=True)
    (state / "local-token").write_text("s3cret")
    settings = Settings(state_dir=state, config=home / "config/mcp-servers.yml")
    made = Targets(settings, StateFolder(state), Values())
    spec = {"name": "a", "target": {"files": {"root": str(home)}}}
    target = made.of(Application.model_validate(spec))
    hidden = [".local/state/fairlead/local-token", ".local/state/FAIRLEAD/new", "config/secrets.age"]
    found = await target.read([*hidden, ".local/state/other"])
    assert {name: live.content for name, live in found.items()} == dict.fromkeys(hidden, b"")
    assert all("its own state" in live.problem for live in found.values())
    for name in hidden:
        write = Write(name, None, b"x", {"": "x"})
        with pytest.raises(ProblemError, match="its own state"):
            await target.check([write])
        with pytest.raises(ProblemError, match="its own state"):
            await target.write(write)
    assert (state / "local-token").read_text() == "s3cret"
    assert not (home / "config").exists()
    await target.write(Write(".local/state/other", None, b"x", {"": "x"}))
    await made.close()
