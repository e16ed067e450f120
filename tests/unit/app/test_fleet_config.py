"""The fleet spec in force: the file's, live edits, GitOps', and what happens when they meet."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fairlead.core.overrides import REMOVED, Edit
from fairlead.model.errors import ProblemError
from fairlead.model.reports import Origin, Override, Owner, ServerChange
from fairlead.model.status import ServerState
from fairlead.ports import SavedSpec
from fairlead.stores.overrides import Kept
from support.fleet_configs import FILE, Bench, changed, refused
from support.until import until
from support.web_services import problem

MAX_A = ("servers", "a", "scaling", "maxInstances")
MIN_A = ("servers", "a", "scaling", "minInstances")
MODE_B = ("servers", "b", "environment", "MODE")


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    await made.config.start()
    return made


def edit(key: tuple[str, ...], value: object) -> list[Edit]:
    return [Edit(key, value)]


def two_new(folder: Path) -> tuple[Bench, Bench]:
    """With a file and a state folder each, on one empty database."""
    for name in ("first", "second"):
        (folder / name).mkdir()
    first = Bench(folder / "first")
    return first, Bench(folder / "second", first.store)


class TestStart:
    async def test_the_file_is_put_in_force(self, bench: Bench) -> None:
        assert list(bench.fleet.spec.servers) == ["a", "b"]
        assert (bench.applied, bench.fleet.generation) == (1, 1)
        status = bench.config.status()
        assert (status.owner, status.generation, status.overrides) == (Owner.FILE, 1, [])
        assert status.spec == FILE, "in the file's own words, so that it can be sent back"
        last = bench.condition("LastChange")
        assert (last.status, last.reason) == (True, "Applied")
        assert last.message == "generation 1, by the fleet file: started a, b"
        assert (bench.store.rows[-1].generation, bench.kept) == (1, bench.kept_of_file())
        assert not bench.state.overrides_file.exists()
        assert repr(bench.config) == "<FleetConfig file generation=1 overrides=[]>"
        assert bench.config.current()["servers"]["a"]["timeouts"]["call"] == "5m"

    async def test_a_bad_file_is_refused_with_all_that_is_wrong(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        bench.write('{"servers": {"a": {"comand": "x"}, "B": {"command": "x"}}, "surplus": 1}')
        error = await refused(bench.config.start(), 422, "fleet-file-invalid")
        problems = error.problem.extra["problems"]
        assert len(problems) == 4
        assert all(str(bench.file) in text for text in problems)
        assert error.problem.detail == "\n".join(problems)
        assert bench.fleet.asked == []

    async def test_of_very_many_errors_the_text_shows_some(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        bench.write("\n".join(f"x{n}: 1" for n in range(100)))
        error = await refused(bench.config.start(), 422, "fleet-file-invalid")
        assert len(error.problem.extra["problems"]) == 101
        assert error.problem.detail.count("\n") == 20
        assert error.problem.detail.endswith("and 81 more")

    async def test_a_file_that_is_away_is_told(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        bench.file.unlink()
        error = await refused(bench.config.start(), 422, "fleet-file-unreadable")
        assert str(bench.file) in error.problem.detail
        assert "--config" in error.problem.detail

    async def test_what_has_no_effect_is_logged(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        bench.write(FILE | {"development": {"hotReload": True}})
        with capture_logs() as logs:
            await bench.config.start()
        assert any("development: not in force" in entry.get("problem", "") for entry in logs)

    async def test_a_damaged_store_does_not_stop_it(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        bench.state.overrides_file.write_text("{ damaged")
        with capture_logs() as logs:
            await bench.config.start()
        assert any(entry["log_level"] == "error" and "set aside" in entry["event"] for entry in logs)
        assert bench.fleet.generation == 1
        assert bench.condition("Stalled").reason == "StateLost"

    async def test_what_an_earlier_version_kept_is_taken_over_once(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        override = Override(key="servers.a.scaling.maxInstances", value=9, was=8, by="ada", at=1.0)
        bench.state.overrides_file.write_text(Kept(overrides=(override,)).model_dump_json())
        await bench.config.start()
        assert bench.overrides == {"servers.a.scaling.maxInstances": 9}
        assert bench.kept == bench.kept_of_file(override)
        assert not bench.state.overrides_file.exists()
        assert (bench.state.root / "overrides.json.imported").exists()
        await bench.config.drop_overrides(None)
        assert (await bench.restarted()).overrides == {}

    @pytest.mark.parametrize("damage", ["gone", "bad"])
    async def test_without_a_good_file_the_last_accepted_spec_of_it_holds(
        self, bench: Bench, damage: str
    ) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        bench.file.unlink() if damage == "gone" else bench.write("servers: 5")
        with capture_logs() as logs:
            again = await bench.restarted()
        assert again.spec == changed(FILE, *MAX_A, to=9)
        assert again.condition("Stalled").reason == "FileRefused"
        assert again.condition("LastChange").status is False
        assert [
            entry["log_level"] for entry in logs if "last accepted one is in force" in entry["event"]
        ] == ["error"]
        again.write(FILE)
        await again.config.reload()
        assert again.condition("Stalled").status is False

    async def test_the_last_accepted_spec_of_another_file_is_none_of_this_one(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        (tmp_path / "other").mkdir()
        other = Bench(tmp_path / "other", bench.store)
        other.write("servers: 5")
        await refused(other.config.start(), 422, "fleet-file-invalid")

    async def test_without_the_database_the_file_alone_holds_until_it_is_back(self, bench: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        bench.store.away = "cut"
        again = await bench.restarted()
        assert (again.spec, again.overrides) == (FILE, {})
        assert "cut" in again.condition("Kept").message
        await refused(again.config.edit(edit(MAX_A, 7), by="ada"), 503, "store-unavailable")
        async with again.following_others():
            bench.store.away = ""
            await until(lambda: again.overrides == {"servers.a.scaling.maxInstances": 9})
            await until(lambda: again.config.status().generation == 2)
        assert again.spec == changed(FILE, *MAX_A, to=9)
        assert again.condition("Kept").status
        assert len(bench.store.rows) == 2

    async def test_the_generation_goes_on_where_it_was(self, bench: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        again = await bench.restarted()
        assert again.config.status().generation == bench.config.status().generation == 2
        assert (await again.config.edit(edit(MAX_A, 7), by="ada")).generation == 3
        assert [row.generation for row in bench.store.rows] == [1, 2, 3]


class TestOtherProcesses:
    """They keep their spec in the same database."""

    @pytest.fixture(autouse=True)
    def looks_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fairlead.app.fleet_config.LOOK", 0.02)

    @pytest.fixture
    async def other(self, bench: Bench) -> Bench:
        return await bench.restarted()

    async def test_what_one_keeps_the_other_puts_in_force(self, bench: Bench, other: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        async with other.following_others():
            await until(lambda: other.overrides == bench.overrides)
        assert other.fleet.spec == bench.fleet.spec
        assert other.config.status().generation == bench.config.status().generation
        assert len(bench.store.rows) == 2, "it does not keep it again"

    async def test_one_looks_before_it_changes(self, bench: Bench, other: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        await other.config.edit(edit(MIN_A, 2), by="bob")
        await bench.config.edit(edit(MODE_B, "slow"), by="ada")
        both = {"servers.a.scaling.maxInstances": 9, "servers.a.scaling.minInstances": 2}
        assert other.overrides == both
        assert bench.overrides == both | {"servers.b.environment.MODE": "slow"}

    async def test_of_two_in_the_same_moment_one_is_told_to_try_again(
        self, bench: Bench, other: Bench
    ) -> None:
        bench.fleet.held.clear()
        late = asyncio.create_task(bench.config.edit(edit(MAX_A, 9), by="ada"))
        await until(lambda: len(bench.fleet.asked) == 2)
        await other.config.edit(edit(MIN_A, 2), by="bob")
        bench.fleet.held.set()
        error = await refused(late, 409, "changed-meanwhile")
        assert "try again" in error.problem.detail
        assert bench.overrides == other.overrides == {"servers.a.scaling.minInstances": 2}
        assert bench.config.status().generation == other.config.status().generation == 2
        assert bench.fleet.spec == other.fleet.spec
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        assert bench.overrides["servers.a.scaling.maxInstances"] == 9

    async def test_what_cannot_run_here_is_told_and_tried_again(
        self, bench: Bench, other: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fairlead.app.fleet_config.REFUSED_AGAIN", 0.01)
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        other.fleet.refusal = "a does not come up here"
        async with other.following_others():
            await until(lambda: other.condition("LastChange").status is False)
            assert "a does not come up here" in other.condition("LastChange").message
            assert other.overrides == {}
            other.fleet.refusal = ""
            await until(lambda: other.overrides == bench.overrides)

    async def test_what_could_not_be_kept_is_kept_when_the_database_is_back(self, bench: Bench) -> None:
        bench.store.away = "cut"
        bench.write(changed(FILE, *MAX_A, to=5))
        assert (await bench.config.reload()).saved is False
        async with bench.following_others():
            bench.store.away = ""
            await until(lambda: bench.kept == bench.kept_of_file())
        assert bench.condition("Kept").status is True

    async def test_two_start_in_the_same_moment(self, tmp_path: Path) -> None:
        first, second = two_new(tmp_path)
        first.write(changed(FILE, *MODE_B, to="first"))
        second.write(changed(FILE, *MODE_B, to="second"))
        for each in (first, second):
            each.fleet.held.clear()
        starts = [asyncio.create_task(each.config.start()) for each in (first, second)]
        await until(lambda: first.fleet.asked and second.fleet.asked)
        for each in (first, second):
            each.fleet.held.set()
        await asyncio.gather(*starts)
        async with first.following_others(), second.following_others():
            await until(lambda: first.fleet.spec == second.fleet.spec)
            await first.config.edit(edit(MAX_A, 9), by="ada")
            await until(lambda: second.overrides == first.overrides)
        assert first.spec == second.spec

    async def test_their_file_is_saved_once_for_both(self, bench: Bench, other: Bench) -> None:
        for each in (bench, other):
            each.fleet.held.clear()
        async with bench.following(), other.following():
            bench.write(changed(FILE, *MODE_B, to="slow"))
            await until(lambda: len(bench.fleet.asked) == len(other.fleet.asked) == 2)
            for each in (bench, other):
                each.fleet.held.set()
            await until(lambda: bench.kept == bench.kept_of_file())
            for each in (bench, other):
                await until(lambda each=each: each.condition("LastChange").status)
                assert each.condition("Stalled").status is False
                assert each.spec == changed(FILE, *MODE_B, to="slow")

    async def test_two_take_over_what_earlier_versions_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = two_new(tmp_path)
        for each, by in ((first, "ada"), (second, "bob")):
            override = Override(key="servers.a.scaling.maxInstances", value=9, by=by, at=1.0)
            each.state.overrides_file.write_text(Kept(overrides=(override,)).model_dump_json())
        latest, met = first.store.latest, asyncio.Barrier(2)

        async def latest_of_both() -> SavedSpec | None:
            found = await latest()
            if found is None:
                await met.wait()
            return found

        monkeypatch.setattr(first.store, "latest", latest_of_both)
        await asyncio.gather(first.config.start(), second.config.start())
        assert first.config.status().overrides == second.config.status().overrides

    async def test_what_could_not_be_kept_gives_way_to_what_another_has_kept_meanwhile(
        self, bench: Bench, other: Bench
    ) -> None:
        bench.store.away = "cut"
        bench.write(changed(FILE, *MAX_A, to=5))
        assert (await bench.config.reload()).saved is False
        bench.store.away = ""
        await other.config.edit(edit(MIN_A, 2), by="bob")  # nothing is away for this one
        async with bench.following_others():
            await until(lambda: bench.overrides == other.overrides)
        assert bench.fleet.spec == other.fleet.spec
        assert bench.condition("Kept").status is True

    async def test_a_database_that_has_gone_back_gets_what_is_in_force_again(
        self, bench: Bench, other: Bench
    ) -> None:
        """As after a fail-over to a standby that lagged."""
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        async with bench.following_others(), other.following_others():
            await until(lambda: other.overrides == bench.overrides)
            del bench.store.rows[-1]
            await until(lambda: bench.store.rows[-1].generation > 2)
            assert bench.kept.overrides == tuple(bench.config.status().overrides)
            await other.config.edit(edit(MIN_A, 2), by="bob")
            await until(lambda: bench.overrides == other.overrides)
        assert bench.overrides.keys() == {"servers.a.scaling.maxInstances", "servers.a.scaling.minInstances"}
        assert bench.condition("Kept").status is True

    async def test_gitops_and_its_release_reach_all(self, bench: Bench, other: Bench) -> None:
        document = changed(FILE, *MODE_B, to="git")
        await bench.put(document, origin=Origin.GITOPS, by="gitops")
        async with other.following_others():
            await until(lambda: other.config.status().owner is Owner.GITOPS)
            assert other.spec == document
            await bench.config.release()
            await until(lambda: other.config.status().owner is Owner.FILE)
        assert other.spec == FILE


class TestLiveEdits:
    async def test_an_edit_is_in_force_kept_and_shown(self, bench: Bench) -> None:
        change = await bench.config.edit(edit(MAX_A, 9), by="ada")
        assert (change.generation, change.adjusted, change.kept) == (2, ("a",), ("b",))
        assert bench.fleet.spec.servers["a"].scaling.max_instances == 9
        assert bench.applied == 2
        (override,) = bench.config.status().overrides
        assert (override.key, override.value, override.was) == ("servers.a.scaling.maxInstances", 9, 8)
        assert (override.by, override.at) == ("ada", bench.now)
        assert bench.kept == bench.kept_of_file(override)
        assert bench.store.rows[-1].by == "ada"
        assert bench.condition("LastChange").message == "generation 2, by ada: adjusted a"

        again = await bench.restarted()
        assert again.config.status().overrides == [override]
        assert again.fleet.spec == bench.fleet.spec

    async def test_edits_add_up_and_each_keeps_its_author(self, bench: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        bench.now += 60
        await bench.config.edit([Edit(MIN_A, 2), Edit(MAX_A, 9)], by="bob")
        found = {one.key: (one.value, one.by, one.at) for one in bench.config.status().overrides}
        assert found == {
            "servers.a.scaling.maxInstances": (9, "ada", bench.now - 60),
            "servers.a.scaling.minInstances": (2, "bob", bench.now),
        }

    async def test_an_edit_back_to_what_the_file_says_is_none_any_more(self, bench: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        await bench.config.edit(edit(MAX_A, 8), by="ada")
        assert bench.overrides == {}
        assert bench.kept == bench.kept_of_file()

    async def test_an_edit_to_the_default_is_an_override_at_its_own_key(self, bench: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 4), by="ada")
        assert bench.overrides == {"servers.a.scaling.maxInstances": 4}
        assert (await bench.restarted()).fleet.spec.servers["a"].scaling.max_instances == 4

    async def test_an_edit_that_says_what_holds_anyhow_is_none(self, bench: Bench) -> None:
        await bench.config.edit([Edit(("servers", "b", "scaling", "minInstances"), 1)], by="ada")
        await bench.config.edit([Edit(("servers", "b", "strategy"), None)], by="ada")
        assert bench.overrides == {}

    async def test_a_server_is_added_and_removed_whole(self, bench: Bench) -> None:
        await bench.config.edit([Edit(("servers", "c"), {"command": "new"})], by="ada")
        change = await bench.config.edit([Edit(("servers", "b"), REMOVED)], by="ada")
        assert change.stopped == ("b",)
        assert bench.overrides == {"servers.c": {"command": "new"}, "servers.b": ...}
        again = await bench.restarted()
        assert list(again.fleet.spec.servers) == ["a", "c"]

        await again.config.drop_overrides(["servers.b"])
        assert again.fleet.spec.servers["b"].weight == 2.0, "its weight comes back with it"

    async def test_a_weight_is_one_key(self, bench: Bench) -> None:
        await bench.config.edit(
            [Edit(("loadBalancing", "weights", name), weight) for name, weight in (("a", 3.0), ("b", 1.0))],
            by="ada",
        )
        assert bench.overrides == {"loadBalancing.weights.a": 3.0, "loadBalancing.weights.b": 1.0}
        again = await bench.restarted()
        assert [server.weight for server in again.fleet.spec.servers.values()] == [3.0, 1.0]

    async def test_an_edit_that_cannot_be_changes_nothing(self, bench: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        before = bench.everything()
        wrong = [Edit(MIN_A, 10), Edit(("servers", "z", "strategy"), "weighted"), Edit(("x",), 1)]
        error = await refused(bench.config.edit(wrong, by="bob"), 422, "edit-invalid")
        assert {text.partition("; ")[0] for text in error.problem.extra["problems"]} == {
            "servers.a.scaling.maxInstances: maxInstances (9) is less than minInstances (10)",
            "servers.z: does not say what it is",
            "x: unknown key",
        }
        assert bench.everything() == before
        assert bench.condition("LastChange").reason == "Refused"
        assert bench.condition("LastChange").message.startswith("bob: ")

    @pytest.mark.parametrize("value", [5, None, REMOVED, "x", []])
    async def test_no_edit_whatever_takes_the_servers_away_as_a_whole(
        self, bench: Bench, value: object
    ) -> None:
        await refused(bench.config.edit(edit(("servers",), value), by="ada"), 422, "edit-invalid")

    async def test_what_the_fleet_refuses_changes_nothing(self, bench: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        before = bench.everything()
        bench.fleet.refusal = "b: exited with code 1"
        with capture_logs() as logs:
            await refused(bench.config.edit(edit(MODE_B, "slow"), by="bob"), 409, "change-refused")
        assert bench.everything() == before
        assert bench.condition("LastChange").message == "bob: b: exited with code 1"
        assert any(entry["event"] == "change refused" for entry in logs)

        bench.fleet.refusal = ""
        bench.now += 5
        change = await bench.config.edit(edit(MODE_B, "slow"), by="bob")
        assert change.replaced == ("b",)
        last = bench.condition("LastChange")
        assert (last.status, last.reason, last.since) == (True, "Applied", bench.now)

    async def test_overrides_are_taken_back_by_key_or_all(self, bench: Bench) -> None:
        await bench.config.edit([Edit(MAX_A, 9), Edit(MIN_A, 2), Edit(MODE_B, "slow")], by="ada")
        change = await bench.config.drop_overrides(["servers.b.environment.MODE"])
        assert change.dropped_overrides == ("servers.b.environment.MODE",)
        assert set(bench.overrides) == {"servers.a.scaling.maxInstances", "servers.a.scaling.minInstances"}
        await bench.config.drop_overrides(None)
        assert (bench.overrides, bench.spec) == ({}, FILE)
        assert bench.kept == bench.kept_of_file()

    async def test_an_override_that_is_not_there_cannot_be_taken_back(self, bench: Bench) -> None:
        error = await refused(bench.config.drop_overrides(["servers.a"]), 404, "unknown-override")
        assert error.problem.detail == "no override has the key 'servers.a'; there are: none"
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        before = bench.everything()
        keys = ["servers.a.scaling.maxInstances", "servers.a"]
        error = await refused(bench.config.drop_overrides(keys), 404, "unknown-override")
        assert error.problem.detail.endswith("there are: servers.a.scaling.maxInstances")
        assert bench.everything() == before

    async def test_one_that_others_need_cannot_be_taken_back_alone(self, bench: Bench) -> None:
        await bench.config.edit([Edit(MIN_A, 9), Edit(MAX_A, 9)], by="ada")
        before = bench.everything()
        await refused(bench.config.drop_overrides(["servers.a.scaling.maxInstances"]), 422, "edit-invalid")
        assert bench.everything() == before


class TestReplace:
    async def test_what_differs_from_the_file_becomes_overrides(self, bench: Bench) -> None:
        wanted = changed(changed(bench.spec, *MODE_B, to="slow"), "servers", "c", to={"url": "http://h/"})
        change = await bench.put(wanted, expected=bench.config.tag)
        assert (change.replaced, change.started, change.kept) == (("b",), ("c",), ("a",))
        assert bench.overrides == {
            "servers.b.environment.MODE": "slow",
            "servers.c": {"url": "http://h/"},
        }
        assert bench.spec == wanted
        assert bench.config.status().owner is Owner.FILE
        assert (await bench.restarted()).spec == wanted

    async def test_a_put_of_what_the_file_says_takes_all_overrides_back(self, bench: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        await bench.put(FILE)
        assert (bench.overrides, bench.spec) == ({}, FILE)

    async def test_what_stands_in_defaults_counts_for_each_server(self, bench: Bench) -> None:
        await bench.put(FILE | {"defaults": {"timeouts": {"call": "7s"}}})
        assert bench.overrides == {"servers.a.timeouts.call": "7s", "servers.b.timeouts.call": "7s"}

    async def test_another_tag_is_refused_and_the_present_one_is_named(self, bench: Bench) -> None:
        seen = bench.config.tag
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        before = bench.everything()
        error = await refused(bench.put(FILE, expected=seen), 412, "generation-changed")
        assert f'the present spec, which is "{bench.config.tag}"' in error.problem.detail
        assert error.problem.extra == {"tag": bench.config.tag}
        assert bench.everything() == before
        assert bench.condition("LastChange").reason == "Applied", "this was the caller's affair"

    async def test_of_two_at_once_one_wins(self, bench: Bench) -> None:
        one, other = (changed(FILE, *MODE_B, to=mode) for mode in ("one", "other"))
        seen = bench.config.tag
        done = await asyncio.gather(
            bench.put(one, expected=seen), bench.put(other, expected=seen), return_exceptions=True
        )
        (failed,) = [outcome for outcome in done if isinstance(outcome, ProblemError)]
        assert failed.problem.code == "generation-changed"
        winner = [one, other][[isinstance(outcome, ProblemError) for outcome in done].index(False)]
        assert bench.spec == winner
        assert bench.fleet.generation == 2

    async def test_a_file_edit_and_a_put_at_once(self, bench: Bench) -> None:
        """The file takes its turn while the fleet is busy with it; the PUT that waits sees that."""
        seen = bench.config.tag
        bench.fleet.held.clear()
        bench.write(changed(FILE, *MODE_B, to="slow"))
        reload = asyncio.ensure_future(bench.config.reload())
        await until(lambda: len(bench.fleet.asked) == 2)
        put = asyncio.ensure_future(bench.put(FILE, expected=seen))
        bench.fleet.held.set()
        assert (await reload).replaced == ("b",)
        await refused(put, 412, "generation-changed")

    @pytest.mark.parametrize("origin", [Origin.GITOPS, Origin.GITOPS_WHOLE])
    async def test_what_gitops_waits_for_no_more_is_not_put_in_force(
        self, bench: Bench, origin: Origin
    ) -> None:
        """It may be held up by a server that does not start; what comes next is not."""
        before, left = bench.everything(), asyncio.Event()

        async def gone() -> bool:
            return left.is_set()

        bench.fleet.held.clear()
        stuck = asyncio.ensure_future(bench.put(changed(FILE, *MODE_B, to="2"), origin=origin, gone=gone))
        await until(lambda: len(bench.fleet.asked) == 2)
        waits = asyncio.ensure_future(bench.put(changed(FILE, *MODE_B, to="3"), origin=origin, gone=gone))
        left.set()
        for each in (stuck, waits):
            await refused(each, 409, "given-up")
        assert len(bench.fleet.asked) == 2, "what had not begun does not begin"
        assert bench.everything() == before
        bench.fleet.held.set()
        await bench.put(changed(FILE, *MODE_B, to="4"), origin=origin)
        assert bench.spec["servers"]["b"]["environment"] == {"MODE": "4"}

    async def test_many_changes_at_once_all_come_through(self, bench: Bench) -> None:
        names = [f"s{number}" for number in range(8)]
        await asyncio.gather(
            *(bench.config.edit([Edit(("servers", name), {"command": name})], by=name) for name in names)
        )
        assert bench.fleet.generation == 9
        assert {f"servers.{name}" for name in names} == set(bench.overrides)

    async def test_a_dry_run_says_what_would_be_and_does_nothing(self, bench: Bench) -> None:
        await bench.config.edit(edit(MODE_B, "slow"), by="ada")
        before, last = bench.everything(), bench.condition("LastChange")
        change = await bench.put(FILE, dry_run=True)
        assert (change.dry_run, change.replaced, change.generation) == (True, ("b",), 2)
        change = await bench.put(changed(FILE, *MODE_B, to="x"), dry_run=True, origin=Origin.GITOPS)
        assert (change.dry_run, change.dropped_overrides) == (True, ("servers.b.environment.MODE",))
        bench.fleet.refusal = "no"
        await refused(bench.put(FILE, dry_run=True), 409, "change-refused")
        assert bench.everything() == before
        assert bench.condition("LastChange") == last

    async def test_sessions_that_move_are_told(self, bench: Bench) -> None:
        change = await bench.put(
            changed(changed(FILE, *MODE_B, to="x"), "servers", "b", "sharing", to="session")
        )
        assert change.sessions_moved == (ServerChange(server="b", sessions=["0123abcd"]),)

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"\xff", b"{", b'{"version": "1"}', b'{"servers": {"a": 1}}']
    )
    async def test_a_body_that_is_no_fleet_is_refused(self, bench: Bench, body: bytes) -> None:
        before = bench.everything()
        error = await refused(bench.put(body), 422, "fleet-file-invalid")
        assert error.problem.extra["problems"][0].startswith("body:1:")
        assert bench.everything() == before

    @pytest.mark.parametrize("ensure_ascii", [True, False])
    @pytest.mark.parametrize("indent", [None, 2, "\t"])
    async def test_json_is_read_however_it_is_written(self, bench: Bench, ensure_ascii, indent) -> None:
        texts = {"emoji": "\U0001f600\U0001f600x", "backslash": "\\ud83d\\ude00", "tab": "a\tb", "slash": "/"}
        wanted = FILE | {"metadata": texts}
        body = json.dumps(wanted, ensure_ascii=ensure_ascii, indent=indent).replace("/", "\\/")
        await bench.put(body.encode())
        assert bench.fleet.spec.metadata == texts


class TestTheFileChanges:
    async def test_what_it_says_anew_drops_the_same_live_edit_with_a_notice(self, bench: Bench) -> None:
        await bench.config.edit([Edit(MAX_A, 9), Edit(MODE_B, "slow")], by="ada")
        bench.write(changed(FILE, *MAX_A, to=16))
        with capture_logs() as logs:
            change = await bench.config.reload()
        assert change.dropped_overrides == ("servers.a.scaling.maxInstances",)
        (notice,) = [entry for entry in logs if entry["event"] == "live edit dropped"]
        assert (notice["key"], notice["by"]) == ("servers.a.scaling.maxInstances", "ada")
        assert notice["log_level"] == "warning"
        assert bench.overrides == {"servers.b.environment.MODE": "slow"}
        assert bench.fleet.spec.servers["a"].scaling.max_instances == 16
        assert [one.key for one in bench.kept.overrides] == ["servers.b.environment.MODE"]

    async def test_also_while_nothing_ran(self, bench: Bench) -> None:
        await bench.config.edit([Edit(MAX_A, 9), Edit(MODE_B, "slow")], by="ada")
        bench.write(changed(FILE, *MAX_A, to=16))
        with capture_logs() as logs:
            again = await bench.restarted()
        assert [entry["key"] for entry in logs if entry["event"] == "live edit dropped"] == [
            "servers.a.scaling.maxInstances"
        ]
        assert again.overrides == {"servers.b.environment.MODE": "slow"}
        assert len(again.kept.overrides) == 1

    async def test_another_spelling_is_no_change(self, bench: Bench) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        text = (
            "# a comment\nservers:\n  a: {command: run, scaling: {maxInstances: 8}}\n  b:\n    command: run\n"
        )
        bench.write(
            text + "    environment: {MODE: fast}\nloadBalancing: {weights: {b: 2, a: 1}}\ndefaults: {}\n"
        )
        change = await bench.config.reload()
        assert (change.dropped_overrides, change.kept) == ((), ("a", "b"))

    async def test_a_server_that_it_takes_away_takes_its_live_edits_with_it(self, bench: Bench) -> None:
        await bench.config.edit(
            [
                Edit(MIN_A, 2),
                Edit(("servers", "a", "url"), "http://h/"),
                Edit(("servers", "a", "command"), REMOVED),
            ],
            by="ada",
        )
        await bench.config.edit([Edit(("loadBalancing", "weights", "a"), 3.0)], by="ada")
        bench.write({"servers": {"b": {"command": "run"}}})
        change = await bench.config.reload()
        assert change.stopped == ("a",)
        assert len(change.dropped_overrides) == 4
        assert bench.overrides == {}

    async def test_a_live_edit_that_does_not_fit_any_more_is_dropped_rather_than_the_file(
        self, bench: Bench
    ) -> None:
        await bench.config.edit([Edit(MIN_A, 6), Edit(MODE_B, "slow")], by="ada")
        bench.write(changed(FILE, *MAX_A, to=3))
        with capture_logs() as logs:
            change = await bench.config.reload()
        assert change.dropped_overrides == ("servers.a.scaling.minInstances",)
        (notice,) = [entry for entry in logs if entry["event"] == "live edit dropped"]
        assert "maxInstances (3) is less than minInstances (6)" in notice["why"]
        assert bench.overrides == {"servers.b.environment.MODE": "slow"}

    async def test_a_server_that_was_removed_live_stays_removed(self, bench: Bench) -> None:
        await bench.config.edit([Edit(("servers", "b"), REMOVED)], by="ada")
        bench.write(changed(FILE, *MAX_A, to=16))
        await bench.config.reload()
        assert list(bench.fleet.spec.servers) == ["a"]
        bench.write(changed(FILE, *MODE_B, to="slow"))
        assert (await bench.config.reload()).dropped_overrides == ("servers.b",)
        assert list(bench.fleet.spec.servers) == ["a", "b"]

    async def test_a_refused_change_of_it_leaves_the_live_edits_that_it_would_drop(
        self, bench: Bench
    ) -> None:
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        before = bench.everything()
        bench.write(changed(FILE, *MAX_A, to=16))
        bench.fleet.refusal = "a does not come up"
        await refused(bench.config.reload(), 409, "change-refused")
        assert bench.everything() == before
        bench.fleet.refusal = ""
        assert (await bench.config.reload()).dropped_overrides == ("servers.a.scaling.maxInstances",)


class TestFollow:
    async def test_a_good_save_is_put_in_force(self, bench: Bench) -> None:
        async with bench.following():
            bench.write(changed(FILE, *MODE_B, to="slow"))
            await until(lambda: bench.fleet.generation == 2)
        assert bench.fleet.spec.servers["b"].environment == {"MODE": "slow"}

    async def test_a_bad_save_leaves_the_running_one_and_says_so(self, bench: Bench) -> None:
        async with bench.following():
            bench.write("servers: {a: {comand: x}}")
            with capture_logs() as logs:
                await until(lambda: bench.condition("LastChange").reason == "Refused")
            assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
                "fleet file refused, the running one stays"
            ]
            assert bench.fleet.generation == 1
            assert bench.condition("Stalled").reason == "FileRefused"
            assert "did you mean 'command'?" in bench.condition("Stalled").message

            await bench.config.edit(edit(MAX_A, 9), by="ada")
            assert bench.condition("Stalled").reason == "FileRefused", "a live edit does not mend the file"

            bench.write(FILE)
            await until(lambda: bench.fleet.generation == 3)
            assert bench.condition("Stalled").status is False
            assert bench.condition("LastChange").status is True
            assert bench.overrides == {"servers.a.scaling.maxInstances": 9}

    async def test_what_the_fleet_refused_is_tried_again_only_when_the_file_changes(
        self, bench: Bench
    ) -> None:
        bench.fleet.refusal = "b does not come up"
        async with bench.following():
            bench.write(changed(FILE, *MODE_B, to="bad"))
            await until(lambda: bench.condition("LastChange").reason == "Refused")
            bench.fleet.refusal = ""
            bench.file.touch()
            bench.write(changed(FILE, *MODE_B, to="good"))
            await until(lambda: bench.fleet.generation == 2)
        tried = [spec.servers["b"].environment["MODE"] for spec in bench.fleet.asked]
        assert tried == ["fast", "bad", "good"]

    async def test_a_reload_tries_the_same_content_again(self, bench: Bench) -> None:
        bench.fleet.refusal = "b does not come up"
        bench.write(changed(FILE, *MODE_B, to="slow"))
        await refused(bench.config.reload(), 409, "change-refused")
        bench.fleet.refusal = ""
        assert (await bench.config.reload()).replaced == ("b",)

    async def test_what_a_reload_has_taken_is_not_taken_again(self, bench: Bench) -> None:
        async with bench.following():
            bench.write(changed(FILE, *MODE_B, to="slow"))
            await bench.config.reload()
            bench.write(changed(FILE, *MODE_B, to="slower"))
            await until(lambda: bench.spec["servers"]["b"]["environment"]["MODE"] == "slower")
        modes = [spec.servers["b"].environment["MODE"] for spec in bench.fleet.asked]
        assert modes == ["fast", "slow", "slower"]

    async def test_a_save_during_a_long_change_waits_and_the_newest_content_wins(self, bench: Bench) -> None:
        async with bench.following():
            bench.fleet.held.clear()
            busy = asyncio.ensure_future(bench.config.edit(edit(MAX_A, 9), by="ada"))
            await until(lambda: len(bench.fleet.asked) == 2)
            bench.write(changed(FILE, *MODE_B, to="first"))
            await until(lambda: bench.config._lock._waiters)  # the watcher stands there with the first
            bench.write(changed(FILE, *MODE_B, to="last"))
            bench.fleet.held.set()
            await busy
            await until(lambda: bench.spec["servers"]["b"]["environment"]["MODE"] == "last")
        modes = [spec.servers["b"].environment["MODE"] for spec in bench.fleet.asked]
        assert modes == ["fast", "fast", "last"], "what the file no longer says is not tried"


class TestGitOps:
    async def owned(self, bench: Bench) -> dict:
        document = changed(FILE, *MODE_B, to="git")
        change = await bench.put(document, origin=Origin.GITOPS, by="gitops")
        assert change.replaced == ("b",)
        return document

    async def test_its_put_becomes_the_accepted_spec_and_is_kept(self, bench: Bench) -> None:
        document = await self.owned(bench)
        assert (bench.config.status().owner, bench.overrides, bench.spec) == (Owner.GITOPS, {}, document)
        assert bench.kept == Kept(owner=Owner.GITOPS, accepted=document)

        bench.file.unlink()
        again = await bench.restarted()
        assert (again.config.status().owner, again.spec) == (Owner.GITOPS, document)

    async def test_live_edits_lie_on_top_and_fall_when_git_says_otherwise(self, bench: Bench) -> None:
        document = await self.owned(bench)
        await bench.config.edit([Edit(MODE_B, "live"), Edit(MAX_A, 9)], by="ada")
        assert bench.overrides == {"servers.b.environment.MODE": "live", "servers.a.scaling.maxInstances": 9}
        fresh = changed(document, *MODE_B, to="git again")
        change = await bench.put(fresh, origin=Origin.GITOPS, by="gitops")
        assert change.dropped_overrides == ("servers.b.environment.MODE",)
        assert bench.fleet.spec.servers["b"].environment == {"MODE": "git again"}
        assert (await bench.restarted()).overrides == {"servers.a.scaling.maxInstances": 9}

    async def test_its_whole_put_is_what_is_there_afterwards(self, bench: Bench) -> None:
        document = await self.owned(bench)
        await bench.config.edit([Edit(MODE_B, "live"), Edit(MAX_A, 9)], by="ada")
        wanted = changed(document, *MAX_A, to=9)
        tag = bench.config.tag
        tried = await bench.put(wanted, origin=Origin.GITOPS_WHOLE, by="gitops", dry_run=True)
        assert (tried.dropped_overrides, bench.config.tag) == (tuple(bench.overrides), tag)
        change = await bench.put(wanted, origin=Origin.GITOPS_WHOLE, by="gitops", expected=tag)
        assert change.dropped_overrides == tried.dropped_overrides
        assert (bench.overrides, bench.spec) == ({}, wanted)
        again = await bench.restarted()
        assert (again.config.status().owner, again.overrides, again.spec) == (Owner.GITOPS, {}, wanted)

    async def test_a_live_put_is_compared_with_what_git_said(self, bench: Bench) -> None:
        await self.owned(bench)
        await bench.put(FILE)
        assert bench.overrides == {"servers.b.environment.MODE": "fast"}
        assert bench.config.status().owner is Owner.GITOPS

    async def test_the_file_is_not_followed_and_not_reloaded(self, bench: Bench) -> None:
        async with bench.following():
            document = await self.owned(bench)
            bench.write(changed(FILE, *MODE_B, to="file"))
            error = await refused(bench.config.reload(), 409, "not-the-owner")
            assert "POST /api/fleet/release" in error.problem.detail
            change = await bench.config.release()
            assert change.replaced == ("b",)
            bench.write(changed(FILE, *MODE_B, to="file again"))
            await until(lambda: bench.spec["servers"]["b"]["environment"]["MODE"] == "file again")
        modes = [spec.servers["b"].environment["MODE"] for spec in bench.fleet.asked]
        assert modes == ["fast", "git", "file", "file again"]
        assert document["servers"]["b"]["environment"]["MODE"] == "git"

    async def test_release_gives_it_back_to_the_file_for_good(self, bench: Bench) -> None:
        await self.owned(bench)
        await bench.config.edit(edit(MAX_A, 9), by="ada")
        await bench.config.release()
        assert bench.config.status().owner is Owner.FILE
        assert bench.overrides == {"servers.a.scaling.maxInstances": 9}
        assert bench.kept.owner is Owner.FILE
        again = await bench.restarted()
        assert again.config.status().owner is Owner.FILE
        assert again.spec == changed(FILE, *MAX_A, to=9)

    async def test_a_release_to_a_bad_file_changes_nothing(self, bench: Bench) -> None:
        await self.owned(bench)
        before = bench.everything()
        bench.write("servers: 5")
        await refused(bench.config.release(), 422, "fleet-file-invalid")
        assert bench.everything() == before
        assert bench.condition("Stalled").status is False, "the file is not what runs"
        bench.write(FILE)
        assert (await bench.config.release()).replaced == ("b",)

    async def test_a_refused_put_does_not_make_it_the_owner(self, bench: Bench) -> None:
        before = bench.everything()
        bench.fleet.refusal = "b does not come up"
        put = bench.put(changed(FILE, *MODE_B, to="git"), origin=Origin.GITOPS, by="gitops")
        await refused(put, 409, "change-refused")
        assert bench.everything() == before

    async def test_a_kept_spec_that_cannot_be_read_today_gives_way_to_the_file(self, bench: Bench) -> None:
        document = await self.owned(bench)
        document["servers"]["a"]["kommand"] = "x"
        bench.store.rows[-1] = replace(bench.store.rows[-1], accepted=document)
        with capture_logs() as logs:
            again = await bench.restarted()
        assert (again.config.status().owner, again.spec) == (Owner.FILE, FILE)
        assert any("kommand" in entry.get("why", "") for entry in logs)
        assert bench.store.rows[-1].accepted == document, "a person can still look at it"
        assert again.condition("Stalled").reason == "StateLost"


class TestStatus:
    async def test_the_observed_generation_waits_for_the_servers(self, bench: Bench) -> None:
        assert bench.config.status().observed_generation == 1
        bench.fleet.state = {"b": ServerState.STARTING}
        await bench.config.edit(edit(MODE_B, "slow"), by="ada")
        status = bench.config.status()
        assert (status.generation, status.observed_generation) == (2, 1)
        assert bench.condition("Reconciling").status is True
        bench.fleet.state = {"b": ServerState.INSTALLING}
        assert bench.config.status().observed_generation == 1
        bench.fleet.state = {"b": ServerState.FAILED}
        status = bench.config.status()
        assert status.observed_generation == 2, "stuck is settled, too"
        assert [one.type for one in status.conditions] == [
            "Ready",
            "Reconciling",
            "Stalled",
            "Kept",
            "LastChange",
        ]
        assert bench.condition("Stalled").message.startswith("b is failed")

    async def test_a_change_that_is_under_way_shows(self, bench: Bench) -> None:
        bench.fleet.held.clear()
        change = asyncio.ensure_future(bench.config.edit(edit(MAX_A, 9), by="ada"))
        await until(lambda: len(bench.fleet.asked) == 2)
        assert bench.condition("Reconciling").reason == "Changing"
        assert bench.config.status().generation == 1
        bench.fleet.held.set()
        await change
        assert bench.condition("Reconciling").reason == "Settled"

    async def test_a_database_that_is_away_does_not_take_a_change_back_but_is_told(
        self, bench: Bench
    ) -> None:
        bench.store.away = "no space is left"
        with capture_logs() as logs:
            change = await bench.config.edit(edit(MAX_A, 9), by="ada")
        assert change.adjusted == ("a",)
        assert bench.fleet.spec.servers["a"].scaling.max_instances == 9
        assert change.saved is False
        kept = bench.condition("Kept")
        assert (kept.status, kept.reason) == (False, "NotKept")
        assert "no space is left" in kept.message
        assert any(entry["log_level"] == "error" for entry in logs)
        bench.fleet.refusal = "no"
        await refused(bench.config.edit(edit(MODE_B, "x"), by="ada"), 409, "change-refused")
        assert bench.condition("Kept").status is False, "another change that is refused does not hide it"

        bench.fleet.refusal = ""
        bench.store.away = ""
        assert (await bench.config.edit(edit(MIN_A, 2), by="ada")).saved is True
        assert bench.condition("Kept").status is True
        assert len(bench.kept.overrides) == 2, "the next change keeps it all"

    async def test_tokens_that_cannot_be_read_do_not_take_a_change_back(self, bench: Bench) -> None:
        def damaged() -> None:
            raise problem("token-file", 500)

        bench.config.on_applied = damaged
        with capture_logs() as logs:
            await bench.config.edit(edit(MAX_A, 9), by="ada")
        assert bench.overrides == {"servers.a.scaling.maxInstances": 9}
        assert bench.condition("LastChange").status is True
        assert any(entry["log_level"] == "error" for entry in logs)

    async def test_no_value_of_an_edit_is_logged(self, bench: Bench) -> None:
        with capture_logs() as logs:
            await bench.config.edit(edit(MODE_B, "s3cret"), by="ada")
            bench.write(changed(FILE, *MODE_B, to="s3cret too"))
            await bench.config.reload()
        assert len(logs) >= 3
        assert "s3cret" not in repr(logs)
        assert "s3cret" not in repr(bench.config)
