"""Live edits by key, and what the owner of the spec says meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairlead.app import fleet_layers
from fairlead.app.fleet_layers import Layers, accept
from fairlead.app.fleet_reading import Stated, spec_of_file
from fairlead.core.overrides import REMOVED, Edit
from fairlead.formats.yaml_tree import MAX_BYTES
from fairlead.model.errors import ProblemError
from fairlead.model.reports import Origin, Override
from fairlead.model.spec_problem import Loaded, Severity, SpecProblem
from fairlead.stores.fleet_file import load
from support.fleet_configs import FILE, Bench, changed

B = ("servers", "b")
MAX_B = (*B, "scaling", "maxInstances")


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    await made.config.start()
    return made


class TestTheOwnerSaysItAnew:
    async def test_a_default_that_is_written_out_drops_a_live_edit_of_it(self, bench: Bench) -> None:
        await bench.config.edit([Edit(MAX_B, 8)], by="ada")
        bench.write(changed(FILE, *MAX_B, to=4))
        assert (await bench.config.reload()).dropped_overrides == ("servers.b.scaling.maxInstances",)
        assert bench.fleet.spec.servers["b"].scaling.max_instances == 4

    async def test_also_when_it_stands_in_defaults(self, bench: Bench) -> None:
        await bench.config.edit([Edit(MAX_B, 8)], by="ada")
        bench.write(FILE | {"defaults": {"scaling": {"maxInstances": 4}}})
        assert (await bench.config.reload()).dropped_overrides == ("servers.b.scaling.maxInstances",)

    async def test_also_when_git_says_it_and_it_is_remembered_over_a_restart(self, bench: Bench) -> None:
        document = changed(FILE, *MAX_B, to=4)
        await bench.put(document, origin=Origin.GITOPS)
        await bench.config.edit([Edit(MAX_B, 8)], by="ada")
        again = await bench.restarted()
        assert again.overrides == {"servers.b.scaling.maxInstances": 8}, "Git has said nothing new"
        change = await again.put(changed(document, "servers", "b", "scaling", to={}), origin=Origin.GITOPS)
        assert change.dropped_overrides == ("servers.b.scaling.maxInstances",), "it was taken out"

    async def test_a_health_check_that_is_written_out_is_no_longer_the_fleets(self, bench: Bench) -> None:
        bench.write(changed(FILE, *B, "healthCheck", to={"interval": "30s"}))
        await bench.config.reload()
        await bench.config.edit([Edit(("loadBalancing", "healthCheckInterval"), "10s")], by="ada")
        intervals = {name: server.health_check.interval for name, server in bench.fleet.spec.servers.items()}
        assert intervals == {"a": 10.0, "b": 30.0}


class TestAServerThatWasRemovedLive:
    async def test_it_stays_removed_when_defaults_change(self, bench: Bench) -> None:
        await bench.config.edit([Edit(B, REMOVED)], by="ada")
        bench.write(FILE | {"defaults": {"timeouts": {"call": "7s"}}})
        assert (await bench.config.reload()).dropped_overrides == ()
        assert list(bench.fleet.spec.servers) == ["a"]
        bench.write(changed(FILE, *B, "command", to="other"))
        assert (await bench.config.reload()).dropped_overrides == ("servers.b",)

    async def test_also_when_git_has_defaults_and_over_a_restart(self, bench: Bench) -> None:
        document = FILE | {"defaults": {"timeouts": {"call": "7s"}}}
        await bench.put(document, origin=Origin.GITOPS)
        await bench.config.edit([Edit(B, REMOVED)], by="ada")
        again = await bench.restarted()
        assert again.overrides == {"servers.b": ...}
        await again.put(document | {"defaults": {"timeouts": {"call": "8s"}}}, origin=Origin.GITOPS)
        assert list(again.fleet.spec.servers) == ["a"]


class TestTakingBack:
    async def test_what_hangs_on_a_server_that_was_added_goes_with_it(self, bench: Bench) -> None:
        await bench.config.edit([Edit(("servers", "x"), {"command": "x"})], by="ada")
        await bench.config.edit([Edit(("loadBalancing", "weights", "x"), 3.0)], by="ada")
        change = await bench.config.drop_overrides(["servers.x"])
        assert change.dropped_overrides == ("servers.x", "loadBalancing.weights.x")
        assert bench.overrides == {}


MODE = (*B, "environment", "MODE")


class TestWhatGitLeavesToPeople:
    @pytest.mark.parametrize("by_git", [False, True], ids=["the file's", "Git's"])
    async def test_a_kept_edit_is_still_somebodys_and_can_be_taken_back(
        self, bench: Bench, by_git: bool
    ) -> None:
        if by_git:
            await bench.put(FILE, origin=Origin.GITOPS_WHOLE)
        await bench.config.edit([Edit(MAX_B, 8)], by="ada")
        await bench.config.edit([Edit(MODE, "slow")], by="bob")
        wanted = changed(bench.spec, "servers", "a", "command", to="other")
        keep = ["servers.b.scaling.maxInstances", "servers.nobody.args"]
        change = await bench.put(wanted, origin=Origin.GITOPS_WHOLE, by="fairlead", keep=keep)
        assert change.dropped_overrides == ("servers.b.environment.MODE",)
        assert bench.spec == wanted
        [left] = bench.config.status().overrides
        assert (left.key, left.value, left.by) == (keep[0], 8, "ada")
        again = await bench.restarted()
        assert again.spec == wanted
        await again.config.drop_overrides(keep[:1])
        del wanted["servers"]["b"]["scaling"]
        assert again.spec == wanted, "bob's edit, which is in the spec, is Git's by now"

    async def test_a_server_that_was_removed_live_comes_back_as_it_was(self, bench: Bench) -> None:
        before = bench.spec
        await bench.config.edit([Edit(B, REMOVED)], by="ada")
        wanted = changed(bench.spec, "servers", "a", "command", to="other")
        await bench.put(wanted, origin=Origin.GITOPS_WHOLE, keep=["servers.b"])
        assert (bench.spec, bench.overrides) == (wanted, {"servers.b": ...})
        await bench.config.drop_overrides(None)
        assert bench.spec == changed(before, "servers", "a", "command", to="other")

    async def test_one_that_was_added_live_goes_when_it_is_taken_back(self, bench: Bench) -> None:
        before = bench.spec
        await bench.config.edit([Edit(("servers", "x"), {"command": "x"})], by="ada")
        wanted = changed(bench.spec, "servers", "a", "command", to="other")
        await bench.put(wanted, origin=Origin.GITOPS_WHOLE, keep=["servers.x"])
        assert list(bench.overrides) == ["servers.x"]
        await bench.config.drop_overrides(None)
        assert bench.spec == changed(before, "servers", "a", "command", to="other")

    async def test_what_is_written_holds_though_a_kept_edit_is_not_in_it(self, bench: Bench) -> None:
        await bench.config.edit([Edit(MAX_B, 8)], by="ada")
        keep = ["servers.b.scaling.maxInstances"]
        change = await bench.put(FILE, origin=Origin.GITOPS_WHOLE, keep=keep)
        assert (bench.spec, bench.overrides) == (FILE, {})
        assert change.dropped_overrides == tuple(keep)


DOCS = ("toolsets", "docs")
WITH_DOCS = FILE | {"toolsets": {"docs": {"servers": {"a": {"tools": ["x"]}, "b": {}}}}}


class TestToolsets:
    async def test_they_are_edited_by_key(self, bench: Bench) -> None:
        bench.write(WITH_DOCS)
        await bench.config.reload()
        await bench.config.edit(
            [Edit((*DOCS, "mode"), "search"), Edit((*DOCS, "servers", "b"), REMOVED)], by="ada"
        )
        assert bench.overrides == {"toolsets.docs.mode": "search", "toolsets.docs.servers.b": ...}
        again = await bench.restarted()
        docs = again.fleet.spec.toolsets["docs"]
        assert (docs.mode, list(docs.servers)) == ("search", ["a"])

    async def test_a_server_that_is_removed_goes_from_them_too(self, bench: Bench) -> None:
        bench.write(WITH_DOCS)
        await bench.config.reload()
        await bench.config.edit([Edit(B, REMOVED)], by="ada")
        assert list(bench.fleet.spec.toolsets["docs"].servers) == ["a"]
        assert bench.overrides == {"servers.b": ...}
        await bench.config.drop_overrides(None)
        assert list(bench.fleet.spec.toolsets["docs"].servers) == ["a", "b"]

    async def test_a_server_that_was_added_goes_with_its_places_in_them(self, bench: Bench) -> None:
        bench.write(WITH_DOCS)
        await bench.config.reload()
        await bench.config.edit([Edit(("servers", "x"), {"command": "x"})], by="ada")
        await bench.config.edit([Edit((*DOCS, "servers", "x"), {"tools": ["t"]})], by="ada")
        change = await bench.config.drop_overrides(["servers.x"])
        assert set(change.dropped_overrides) == {"servers.x", "toolsets.docs.servers.x"}
        assert bench.overrides == {}

    async def test_edits_of_one_that_its_owner_has_taken_out_fall(self, bench: Bench) -> None:
        bench.write(WITH_DOCS)
        await bench.config.reload()
        await bench.config.edit([Edit((*DOCS, "mode"), "search")], by="ada")
        await bench.config.edit([Edit(("toolsets", "mine"), {"servers": "*"})], by="ada")
        bench.write(FILE)
        assert (await bench.config.reload()).dropped_overrides == ("toolsets.docs.mode",)
        assert list(bench.fleet.spec.toolsets) == ["mine"]

    async def test_an_edit_that_names_a_server_that_is_gone_falls_alone(self, bench: Bench) -> None:
        bench.write(WITH_DOCS)
        await bench.config.reload()
        await bench.config.edit([Edit(("toolsets", "mine"), {"servers": {"b": {}}})], by="ada")
        await bench.config.edit([Edit(("toolsets", "other"), {"servers": "*"})], by="ada")
        bench.write({"servers": {"a": FILE["servers"]["a"]}})
        assert (await bench.config.reload()).dropped_overrides == ("toolsets.mine",)
        assert list(bench.fleet.spec.toolsets) == ["other"]

    async def test_what_cannot_be_is_refused(self, bench: Bench) -> None:
        edit = Edit(("toolsets", "mine"), {"servers": {"nobody": {}}})
        with pytest.raises(ProblemError, match=r"toolsets\.mine\.servers\.nobody: there is no such server"):
            await bench.config.edit([edit], by="ada")


class TestALargeFleet:
    async def test_a_small_file_whose_defaults_make_much_of_it_can_be_edited(self, bench: Bench) -> None:
        """One of 30 kB, which is 2 MB with its defaults filled in."""
        environment = {f"NAME_{number}": "x" * 80 for number in range(100)}
        servers = {f"s{number}": {"command": "run"} for number in range(200)}
        small = json.dumps({"servers": servers, "defaults": {"environment": environment}})
        assert len(small) < 30_000
        bench.write(small)
        await bench.config.reload()
        assert len(json.dumps(bench.spec)) > MAX_BYTES
        await bench.config.edit([Edit(("servers", "s7", "scaling", "maxInstances"), 8)], by="ada")
        again = await bench.restarted()
        assert again.overrides == {"servers.s7.scaling.maxInstances": 8}
        assert again.fleet.spec.servers["s7"].scaling.max_instances == 8


def stated(document: dict) -> Stated:
    return spec_of_file(load(json.dumps(document), "f.yml"))


@pytest.mark.parametrize("path", ["", "servers.a.command", "metadata.x"])
def test_no_live_edit_falls_over_a_problem_that_its_key_does_not_explain(monkeypatch, path: str) -> None:
    override = Override(key="servers.b.scaling.maxInstances", value=8, by="ada", at=1.0)
    wrong = Loaded(None, (SpecProblem(Severity.ERROR, "edit", 1, 1, path, "it is too large"),))
    monkeypatch.setattr(fleet_layers, "read", lambda _: wrong)
    with pytest.raises(ProblemError, match="it is too large; which of them it is cannot be told"):
        accept(stated(FILE), [override])


def test_without_live_edits_the_spec_is_the_owners() -> None:
    mine = stated(FILE)
    assert Layers(mine).load().spec is mine.spec
