"""The fleet spec in force, when what is around it goes wrong: the start, the disk, our own faults."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fairlead.core.overrides import Edit
from fairlead.model.errors import ProblemError
from fairlead.model.reports import Origin, Override, Owner
from fairlead.model.status import ServerState
from fairlead.stores.fleet_file import document
from fairlead.stores.overrides import Kept
from support.fleet_configs import FILE, Bench, changed, refused
from support.until import until

MAX_A = ("servers", "a", "scaling", "maxInstances")
MODE_B = ("servers", "b", "environment", "MODE")
PRECIOUS = Kept(overrides=(Override(key="servers.c", value={"command": "c"}, by="ada", at=1.0),))


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    await made.config.start()
    return made


class TestASpecThatCannotBePutInForce:
    async def test_it_changes_nothing(self, bench: Bench) -> None:
        before = bench.everything()
        bench.unfit = ValueError("allowedOrigins: 'x' is not an origin")
        for change in (
            bench.config.edit([Edit(MAX_A, 9)], by="ada"),
            bench.put(FILE | {"metadata": {"x": "y"}}),
            bench.put(FILE | {"metadata": {"x": "y"}}, dry_run=True),
            bench.put(FILE, origin=Origin.GITOPS),
        ):
            error = await refused(change, 422, "spec-refused")
            assert error.problem.extra["problems"] == ["allowedOrigins: 'x' is not an origin"]
        assert bench.everything() == before
        assert len(bench.fleet.asked) == 1

    async def test_in_the_file_it_is_told_and_the_next_content_is_taken(self, bench: Bench) -> None:
        async with bench.following():
            bench.unfit = ValueError("no")
            bench.write(changed(FILE, *MODE_B, to="bad"))
            await until(lambda: bench.condition("Stalled").reason == "FileRefused")
            bench.unfit = None
            bench.write(changed(FILE, *MODE_B, to="good"))
            await until(lambda: bench.fleet.generation == 2)

    async def test_a_start_with_it_is_refused_with_words(self, tmp_path: Path) -> None:
        made = Bench(tmp_path)
        made.unfit = ValueError("no")
        await refused(made.config.start(), 422, "spec-refused")


class TestFollowing:
    async def test_it_survives_a_fault_of_ours(self, bench: Bench, monkeypatch) -> None:
        monkeypatch.setattr("fairlead.app.fleet_config.AGAIN", 0.01)
        apply = bench.fleet.apply

        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a fault of ours")

        async with bench.following():
            monkeypatch.setattr(bench.fleet, "apply", broken)
            with capture_logs() as logs:
                bench.write(changed(FILE, *MODE_B, to="bad"))
                await until(lambda: bench.condition("Stalled").reason == "FileRefused")
            assert [entry["event"] for entry in logs if "exc_info" in entry] == [
                "following the fleet file failed"
            ]
            assert "RuntimeError" in bench.condition("LastChange").message
            monkeypatch.setattr(bench.fleet, "apply", apply)
            bench.write(changed(FILE, *MODE_B, to="good"))
            await until(lambda: bench.fleet.generation == 2)
            await until(lambda: not bench.condition("Stalled").status)

    async def test_a_file_that_was_away_for_a_while_is_not_refused_for_ever(self, bench: Bench) -> None:
        bench.file.unlink()
        await refused(bench.config.reload(), 422, "fleet-file-unreadable")
        bench.write(FILE)
        assert bench.condition("Stalled").status is False


class TestTheTag:
    async def test_one_of_before_a_restart_is_no_more(self, bench: Bench) -> None:
        seen = bench.config.tag
        again = await bench.restarted()
        assert again.fleet.generation == bench.fleet.generation
        await refused(again.put(FILE, expected=seen), 412, "generation-changed")

    async def test_it_moves_with_the_spec_its_owner_and_the_live_edits(self, bench: Bench) -> None:
        tags = [bench.config.tag]
        for change in (
            bench.put(changed(FILE, *MODE_B, to="slow")),
            bench.put(changed(FILE, *MODE_B, to="slow"), origin=Origin.GITOPS),  # the owner, and no edits
            bench.put(FILE | {"metadata": {"x": "y"}}),
            bench.config.drop_overrides(None),
            bench.config.release(),
        ):
            await change
            tags.append(bench.config.tag)
        assert len(set(tags)) == 6
        await bench.config.reload()
        await bench.put(FILE, dry_run=True)
        assert bench.config.tag == tags[-1], "nothing has changed"


class TestBeforeTheFirstSpec:
    async def test_no_change_is_taken_while_it_starts_or_after_it_failed(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        bench.state.overrides_file.write_text(PRECIOUS.model_dump_json())
        bench.write("rubbish: [")
        start = asyncio.ensure_future(bench.config.start())
        await asyncio.sleep(0)
        for _ in range(2):
            for change in (
                bench.put({"servers": {}}),
                bench.config.edit([Edit(MAX_A, 9)], by="ada"),
                bench.config.drop_overrides(None),
                bench.config.release(),
                bench.config.reload(),
            ):
                error = await refused(change, 503, "starting")
                assert error.problem.retry_after == 1.0
            with pytest.raises(ProblemError):
                await start
        assert bench.kept == PRECIOUS

    async def test_what_is_kept_and_cannot_be_read_now_stops_the_start(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        bench.state.overrides_file.write_text('{"version": 2}')
        await refused(bench.config.start(), 500, "state-newer")
        assert bench.fleet.asked == []


class TestWhatIsLost:
    @pytest.fixture
    async def lost(self, bench: Bench) -> Bench:
        await bench.put(changed(FILE, *MODE_B, to="git"), origin=Origin.GITOPS)
        broken = {"servers": {"a": {"kommand": "x"}}}
        bench.store.rows[-1] = replace(bench.store.rows[-1], accepted=broken)
        return await bench.restarted()

    async def test_it_is_told_until_a_person_acts(self, lost: Bench) -> None:
        def told() -> bool:
            return lost.condition("Stalled").reason == "StateLost"

        assert (lost.config.status().owner, told()) == (Owner.FILE, True)
        assert "servers.a: does not say what it is" in lost.condition("Stalled").message
        lost.write(changed(FILE, *MODE_B, to="file"))
        await lost.config.reload()
        assert told(), "the file is followed all the time"
        lost = await lost.restarted()
        assert told(), "nobody has looked after it yet"
        await lost.config.release()
        assert not told()
        lost = await lost.restarted()
        assert not told()

    async def test_a_live_edit_is_an_act_but_only_when_it_is_kept(self, lost: Bench) -> None:
        lost.store.away = "cut"
        await lost.config.edit([Edit(MAX_A, 9)], by="ada")
        assert lost.condition("Stalled").reason == "StateLost"
        lost.store.away = ""
        await lost.config.edit([Edit(MAX_A, 10)], by="ada")
        assert lost.condition("Stalled").status is False


async def test_what_takes_long_in_a_large_fleet_is_done_in_a_thread(bench: Bench, monkeypatch) -> None:
    def elsewhere(*args, **kwargs):
        assert threading.current_thread() is not threading.main_thread()
        return document(*args, **kwargs)

    monkeypatch.setattr("fairlead.app.fleet_layers.document", elsewhere)
    await bench.config.edit([Edit(MAX_A, 9)], by="ada")
    await bench.put(changed(FILE, *MODE_B, to="slow"))
    await bench.put(FILE, origin=Origin.GITOPS)
    await bench.config.edit([Edit(MAX_A, 10)], by="ada")
    await bench.config.drop_overrides(None)
    await bench.config.release()
    assert bench.config.status().spec == FILE


class TestSinceWhen:
    async def test_it_is_worked_out_whether_somebody_looks_or_not(self, bench: Bench) -> None:
        bench.config.tick()
        started, bench.now = bench.now, bench.now + 60
        bench.fleet.state = {"b": ServerState.FAILED}
        bench.fleet.on_state()
        bench.config.tick()
        failed, bench.now = bench.now, bench.now + 60
        bench.config.tick()
        assert bench.condition("Stalled").since == failed
        assert bench.condition("Reconciling").since == started

    async def test_the_observed_generation_is_that_of_then(self, bench: Bench) -> None:
        await bench.config.edit([Edit(MAX_A, 9)], by="ada")
        bench.config.tick()
        bench.fleet.state = {"b": ServerState.STARTING}
        await bench.config.edit([Edit(MODE_B, "slow")], by="ada")
        bench.config.tick()
        assert bench.config.status().observed_generation == 2

    async def test_a_fleet_at_rest_is_not_asked(self, bench: Bench, monkeypatch) -> None:
        bench.config.tick()
        monkeypatch.setattr(bench.fleet, "servers", lambda: pytest.fail("2,000 servers take 40 ms"))
        bench.config.tick()
