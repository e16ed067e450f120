"""What wakes applications, and what is known of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from fairlead.gitops.controller import GitOpsController
from fairlead.gitops.deployments import Deployments, Stores
from fairlead.gitops.drift import DriftDetector
from fairlead.gitops.passes import Order
from fairlead.gitops.reconcile import Tools
from fairlead.gitops.synchronizer import ConfigSynchronizer
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import Application, Mode
from fairlead.model.reconciling import Reason
from fairlead.ports import NO_RECORDER
from fairlead.ports.gitops import Write
from support.gitops_memory import (
    MemoryApplications,
    MemoryDeployments,
    MemoryRenderer,
    MemorySnapshot,
    MemorySource,
    MemoryTarget,
)
from support.until import until

pytestmark = pytest.mark.looptime


@dataclass
class MemoryCatalogue:
    """A source declares what its newest commit has documents for."""

    targets: dict[str, MemoryTarget] = field(default_factory=dict)
    more: dict[str, dict[str, Any]] = field(default_factory=dict)  # of an application's document

    async def applications(self, source: MemorySource, snapshot: MemorySnapshot) -> list[Application]:
        if "" in snapshot.documents:
            raise ProblemError(Problem("bad", "Not valid", "applications/a.yml: line 3", 422, Fault.CLIENT))
        return [
            Application(name=name, target={"fleet": {}}, **self.more.get(name, {}))
            for name in snapshot.documents
        ]

    async def concerns(self, application: Application, before: MemorySnapshot, after: MemorySnapshot) -> bool:
        return before.documents.get(application.name) != after.documents[application.name]

    def problem(self, source: MemorySource) -> None:
        """There is none."""

    def target(self, application: Application) -> MemoryTarget:
        return self.targets.setdefault(application.name, MemoryTarget({"fleet": {}}))


class Rig:
    def __init__(self, *sources: MemorySource) -> None:
        self.store, deployments = MemoryApplications(), MemoryDeployments()
        self.deployer = Deployments(Stores(self.store, deployments), NO_RECORDER, holder="here")
        self.renderer = MemoryRenderer()
        self.catalogue = MemoryCatalogue()
        self.sources = sources
        tools = Tools(
            self.renderer,
            DriftDetector(self.store, NO_RECORDER),
            ConfigSynchronizer(self.deployer),
            self.store,
            deployments,
        )
        self.looks: list[str] = []
        self.controller = GitOpsController(
            self.catalogue, tools, now=lambda: 1e9 + asyncio.get_running_loop().time()
        )
        self.controller.on_outcome = lambda outcome: self.looks.append(outcome.look.name)

    async def __aenter__(self) -> Rig:
        self.controller.start(self.sources)
        await self.settle()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.controller.close()

    async def settle(self) -> None:
        """Let targets' first word, and all that it wakes, pass."""
        await self.controller.idle()
        await asyncio.sleep(0.1)
        await self.controller.idle()

    def reasons(self, name: str) -> list[str]:
        return [each.reason for each in self.controller.managed(name).conditions]


def servers(value: str) -> dict[str, Any]:
    return {"fleet": {"servers": {"a": {"args": [value]}}}}


async def test_what_a_source_declares_is_brought_about():
    source = MemorySource()
    source.add({"one": servers("1"), "two": servers("1")})
    async with Rig(source) as rig:
        assert set(rig.controller.applications) == {"one", "two"}
        assert rig.catalogue.targets["one"].document("fleet") == servers("1")["fleet"]
        assert rig.reasons("one") == ["Synced", "Synced", "Synced"]
        managed = rig.controller.managed("one")
        assert managed.observed_generation == managed.subject.generation == 1
        assert managed.looked_at is not None


async def test_a_commit_wakes_those_that_it_concerns_and_no_others():
    source = MemorySource()
    source.add({f"app{number}": servers("1") for number in range(50)})
    async with Rig(source) as rig:
        rig.looks.clear()
        changed = dict(source.commits[0].documents) | {"app7": servers("2")}
        source.add(changed)
        rig.controller.source_changed("config")
        await rig.controller.idle()
        assert rig.looks == ["app7"]
        assert rig.catalogue.targets["app7"].document("fleet") == servers("2")["fleet"]


async def test_a_change_at_the_target_is_seen_at_once():
    source = MemorySource()
    source.add({"one": servers("1")})
    async with Rig(source) as rig:
        target = rig.catalogue.targets["one"]
        target.put("fleet", servers("edited")["fleet"])
        target.changed.set()
        await asyncio.sleep(0.06)
        await rig.controller.idle()
        assert target.document("fleet") == servers("1")["fleet"]


async def test_a_change_that_nobody_told_of_is_found_in_time():
    source = MemorySource()
    source.add({"one": servers("1")})
    async with Rig(source) as rig:
        rig.catalogue.targets["one"].put("fleet", servers("edited")["fleet"])
        await asyncio.sleep(331)
        assert rig.catalogue.targets["one"].document("fleet") == servers("1")["fleet"]


async def test_a_target_that_is_away_is_tried_until_it_is_back():
    source = MemorySource()
    source.add({"one": servers("1")})
    async with Rig(source) as rig:
        target = rig.catalogue.targets["one"]
        target.away = True
        source.add({"one": servers("2")})
        rig.controller.source_changed("config")
        await rig.controller.idle()
        assert rig.reasons("one")[0] == Reason.TARGET_AWAY
        await asyncio.sleep(3600)
        target.away = False
        await asyncio.sleep(6)
        assert target.document("fleet") == servers("2")["fleet"]
        assert rig.reasons("one")[0] == Reason.SYNCED


async def test_declarations_that_are_wrong_change_nothing():
    source = MemorySource()
    source.add({"one": servers("1")})
    async with Rig(source) as rig:
        source.add({"": {}})
        rig.controller.source_changed("config")
        await rig.controller.idle()
        assert set(rig.controller.applications) == {"one"}
        problem = rig.controller.sources["config"].problem
        assert problem is not None
        assert (problem.reason, "line 3" in problem.message) == (Reason.INVALID_CONFIG, True)
        source.add({"one": servers("2")})
        rig.controller.source_changed("config")
        await rig.controller.idle()
        assert rig.controller.sources["config"].problem is None
        assert rig.catalogue.targets["one"].document("fleet") == servers("2")["fleet"]


async def test_an_application_that_goes_leaves_its_target_as_it_is():
    source = MemorySource()
    source.add({"one": servers("1"), "two": servers("1")})
    async with Rig(source) as rig:
        source.add({"two": servers("1")})
        rig.controller.source_changed("config")
        await rig.controller.idle()
        assert set(rig.controller.applications) == {"two"}
        gone = rig.catalogue.targets["one"]
        assert gone.closed
        assert gone.document("fleet") == servers("1")["fleet"]
        with pytest.raises(ProblemError, match="known: two"):
            rig.controller.look("one")


async def test_another_document_is_another_generation():
    source = MemorySource()
    source.add({"one": servers("1")})
    async with Rig(source) as rig:
        rig.catalogue.more["one"] = {"sync": {"mode": "observe"}}
        source.add({"one": servers("2")})
        rig.controller.source_changed("config")
        await rig.controller.idle()
        managed = rig.controller.managed("one")
        assert (managed.subject.generation, managed.observed_generation) == (2, 2)
        assert rig.reasons("one")[0] == Reason.OBSERVED
        assert rig.catalogue.targets["one"].document("fleet") == servers("1")["fleet"]


async def test_two_sources_cannot_declare_the_same_application():
    first, second = MemorySource("first"), MemorySource("second")
    first.add({"one": servers("1")})
    second.add({"one": servers("2"), "other": servers("2")})
    async with Rig(first, second) as rig:
        assert rig.controller.managed("one").subject.source is first
        assert rig.catalogue.targets["one"].document("fleet") == servers("1")["fleet"]
        assert "other" in rig.controller.applications
        problem = rig.controller.sources["second"].problem
        assert problem is not None
        assert "one: the source first declares it already" in problem.message
        first.add({})
        rig.controller.source_changed("first")
        await rig.settle()
        assert rig.controller.managed("one").subject.source is second
        assert rig.controller.sources["second"].problem is None
        assert rig.catalogue.targets["one"].document("fleet") == servers("2")["fleet"]


async def test_sources_come_and_go_while_it_runs():
    first, second = MemorySource("first"), MemorySource("second")
    first.add({"one": servers("1")})
    second.add({"two": servers("2")})
    async with Rig(first) as rig:
        await rig.controller.configure([second])
        await rig.settle()
        assert set(rig.controller.applications) == {"two"}
        assert rig.catalogue.targets["one"].document("fleet") == servers("1")["fleet"]
        await rig.controller.configure([first, second])
        await rig.settle()
        assert set(rig.controller.applications) == {"one", "two"}


async def test_what_is_declared_anew_while_the_source_is_read_is_not_missed():
    source = MemorySource()
    source.add({"one": servers("1")})
    rig = Rig(source)
    read, going_on = rig.catalogue.applications, asyncio.Event()

    async def slow(*arguments: Any) -> list[Application]:
        found = await read(*arguments)
        going_on.set()
        await asyncio.sleep(10)
        return found

    async with rig:
        rig.catalogue.applications = slow  # type: ignore[method-assign]
        rig.controller.declare_again("config")
        await going_on.wait()
        rig.catalogue.more["one"] = {"sync": {"mode": "observe"}}
        rig.controller.declare_again("config")
        await rig.controller.idle()
        assert rig.controller.managed("one").subject.application.sync.mode is Mode.OBSERVE
        source.commits.clear()  # it has no head any more
        del rig.catalogue.more["one"]
        rig.controller.declare_again("config")
        await rig.controller.idle()
        assert rig.controller.managed("one").subject.application.sync.mode is Mode.ENFORCE


async def test_a_commit_is_not_forgotten_when_reading_it_fails_half_way():
    source = MemorySource()
    source.add({"one": servers("1"), "two": servers("1")})
    async with Rig(source) as rig:
        sound = rig.catalogue.concerns

        async def broken(*_: Any) -> bool:
            rig.catalogue.concerns = sound  # type: ignore[method-assign]
            raise ProblemError(Problem("source-unreadable", "Away", "the mirror", 503, Fault.UPSTREAM))

        rig.catalogue.concerns = broken  # type: ignore[method-assign]
        source.add({"one": servers("2"), "two": servers("2")})
        rig.controller.source_changed("config")
        await asyncio.sleep(5)
        await rig.controller.idle()
        for name in ("one", "two"):
            assert rig.catalogue.targets[name].document("fleet") == servers("2")["fleet"]


async def test_an_order_is_not_lost_while_the_target_is_away():
    source = MemorySource()
    source.add({"one": servers("1")})
    rig = Rig(source)
    rig.catalogue.more["one"] = {"sync": {"self_heal": False}}
    async with rig:
        target = rig.catalogue.targets["one"]
        target.put("fleet", servers("edited")["fleet"])
        target.away = True
        rig.controller.order("one", Order("ada"))
        await rig.controller.idle()
        target.away = False
        await asyncio.sleep(6)
        assert target.document("fleet") == servers("1")["fleet"]


async def test_orders_are_carried_out_one_after_the_other():
    source = MemorySource()
    first = source.add({"one": servers("1")})
    rig_more = {"sync": {"self_heal": False}}
    rig = Rig(source)
    rig.catalogue.more["one"] = rig_more
    async with rig:
        second = source.add({"one": servers("2")})
        rig.looks.clear()
        rig.controller.order("one", Order("ada", commit=second))
        rig.controller.order("one", Order("ada", commit=first))
        await rig.controller.idle()
        await asyncio.sleep(0.01)
        await rig.controller.idle()
        assert rig.looks == ["one", "one"]
        assert rig.store.kept["one"].applied == first


async def test_a_fault_of_ours_is_told_and_tried_again():
    source = MemorySource()
    source.add({"one": servers("1")})
    async with Rig(source) as rig:
        sound = rig.renderer.render

        async def broken(*_: Any) -> Any:
            raise RuntimeError("a bug")

        rig.renderer.render = broken  # type: ignore[method-assign]
        rig.controller.look("one")
        await rig.controller.idle()
        assert rig.reasons("one")[0] == Reason.FAULT
        assert rig.controller.statistics().failing == 1
        rig.renderer.render = sound  # type: ignore[method-assign]
        await asyncio.sleep(5)
        assert rig.reasons("one")[0] == Reason.SYNCED
        assert rig.controller.statistics().failing == 0


async def test_what_a_person_orders_does_not_wait_for_a_write_that_gets_no_answer():
    class Mute(MemoryTarget):
        """It answers no write of 2."""

        async def write(self, write: Write) -> str | None:
            if write.document == servers("2")["fleet"]:
                stuck.set()
                await asyncio.Event().wait()
            return await super().write(write)

        async def settle(self) -> None:
            """What is given up is not in force."""

    source, stuck = MemorySource(), asyncio.Event()
    source.add({"one": servers("1")})
    rig = Rig(source)
    rig.catalogue.targets["one"] = target = Mute({"fleet": {}})
    rig.deployer.is_current = rig.controller.is_current
    async with rig:
        source.add({"one": servers("2")})
        rig.controller.source_changed("config")
        await stuck.wait()
        third = source.add({"one": servers("3")})  # which nobody has fetched yet, but a person names it
        source.commits.insert(0, source.commits.pop())
        rig.controller.order("one", Order("ada"))
        assert rig.controller.is_current(rig.controller.managed("one").subject)
        rig.controller.order("one", Order("ada", commit=third))
        assert not rig.controller.is_current(rig.controller.managed("one").subject)
        await until(lambda: target.document("fleet") == servers("3")["fleet"])
