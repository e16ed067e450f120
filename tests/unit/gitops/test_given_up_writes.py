"""A target that does not answer keeps nobody from something more important."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fairlead.model.gitops import Mode
from fairlead.model.reconciling import DeploymentState, Reason, StepName
from fairlead.ports.gitops import Health, TargetAwayError, Write
from support.gitops_memory import MemoryTarget
from support.gitops_rig import Rig, fleet

pytestmark = pytest.mark.looptime

ONE = {"servers": {"a": {"args": ["1"]}}}
TWO = {"servers": {"a": {"args": ["2"]}}}
THREE = {"servers": {"a": {"args": ["3"]}}}
_S = DeploymentState


async def deployed(rig: Rig) -> str:
    commit = rig.commit(fleet=ONE)
    assert await rig.reasons() == []
    return commit


class SlowTarget(MemoryTarget):
    """A write of `slow` takes until it is given up, or longer: then it comes into force all the same."""

    def __init__(self, lives: Any, slow: Any, *, lands: bool = False) -> None:
        super().__init__(lives)
        self.slow, self.lands = slow, lands
        self.writing = asyncio.Event()
        self.late: Write | None = None

    async def write(self, write: Write) -> str | None:
        if write.document != self.slow:
            return await super().write(write)
        self.writing.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.late = write if self.lands else None
        raise AssertionError("it never answers")

    async def settle(self) -> None:
        late, self.late = self.late, None
        if late is not None:
            await super().write(late)


def slow_fleet(lands: bool) -> Rig:
    rig = fleet(ONE)
    rig.target = SlowTarget({"fleet": ONE}, TWO, lands=lands)
    return rig


async def writing(rig: Rig) -> asyncio.Task[Any]:
    """A look whose write gets no answer."""
    look = asyncio.get_running_loop().create_task(rig.look())
    assert isinstance(rig.target, SlowTarget)
    await rig.target.writing.wait()
    return look


@pytest.mark.parametrize("lands", [False, True])
async def test_a_newer_commit_overtakes_a_write_that_gets_no_answer(lands: bool):
    rig = slow_fleet(lands)
    good = await deployed(rig)
    rig.commit(fleet=TWO)
    look = await writing(rig)
    assert rig.latest.steps[-1].name is StepName.APPLY, "the history shows it"
    rig.commit(fleet=THREE)
    assert [each.reason for each in (await look).findings] == [Reason.PROGRESSING]
    assert await rig.reasons() == []
    assert [row.state for row in rig.deployments.rows.values()] == [_S.SUPERSEDED, _S.SUCCEEDED]
    assert rig.target.document("fleet") == THREE
    assert rig.latest.previous == good
    assert rig.store.journal == {}
    assert rig.store.lives == [], "what landed late is nobody's live edit"


@pytest.mark.parametrize("lands", [False, True])
async def test_a_write_that_gets_no_answer_is_cancelled_and_taken_back(lands: bool):
    rig = slow_fleet(lands)
    good = await deployed(rig)
    bad = rig.commit(fleet=TWO)
    look = await writing(rig)
    await rig.deployer.cancel(rig.latest.id, "eve")
    assert [each.reason for each in (await look).findings] == [Reason.BLOCKED_COMMIT]
    assert rig.latest.state is _S.CANCELLED
    assert "cancelled by eve" in rig.latest.message
    assert rig.target.document("fleet") == ONE
    assert [each.commit for each in rig.deployments.blocks] == [bad]
    assert rig.store.kept["app"].applied == good
    assert rig.store.journal == {}


async def test_a_lease_is_renewed_while_a_write_takes_its_time():
    rig = slow_fleet(lands=False)
    rig.store.now = asyncio.get_running_loop().time
    await deployed(rig)
    rig.commit(fleet=TWO)
    look = await writing(rig)
    await asyncio.sleep(10 * 60.0)
    assert await rig.store.acquire("fleet of this machine", "elsewhere", 60.0) is None
    await rig.deployer.cancel(rig.latest.id, "eve")
    await look


async def test_a_commit_that_does_not_concern_the_application_overtakes_nothing():
    rig = fleet(ONE)
    await deployed(rig)
    asked: list[tuple[str, str]] = []

    async def concerns(application: Any, before: Any, after: Any) -> bool:
        asked.append((before.commit.id, after.commit.id))
        return bool(before.documents != after.documents)

    def sick(contents: Any) -> Health | None:
        if b'"2"' not in contents["fleet"]:
            return None
        if len(rig.source.commits) < 6:
            rig.commit(fleet=TWO)  # of another application
        return Health(healthy=False, done=False, message="still starting")

    rig.deployer.concerns = concerns
    rig.target.sick = sick
    bad = rig.commit(fleet=TWO)
    assert await rig.reasons() == [Reason.BLOCKED_COMMIT], "its time is over, however many commits come"
    assert rig.latest.commit == bad
    assert rig.latest.state is _S.ROLLED_BACK
    assert len(asked) == len(set(asked)) == 4, "each commit is looked at once"


async def test_one_that_is_cancelled_while_its_target_is_away_is_not_written_when_that_is_back():
    rig = fleet(ONE)
    await deployed(rig)

    async def check(writes: Any) -> str:
        raise TargetAwayError("it is restarting")

    answering = rig.target.check
    rig.target.check = check  # type: ignore[method-assign]
    rig.commit(fleet=TWO)
    assert await rig.reasons() == [Reason.TARGET_AWAY]
    assert rig.latest.state is _S.RUNNING
    await rig.deployer.cancel(rig.latest.id, "eve")
    rig.target.check = answering  # type: ignore[method-assign]
    await rig.look()
    assert rig.target.written == []
    assert rig.latest.state is _S.CANCELLED
    assert rig.latest.message == "cancelled by eve"


@pytest.mark.parametrize("lands", [False, True])
async def test_an_application_that_is_declared_otherwise_waits_for_no_answer(lands: bool):
    rig = slow_fleet(lands)
    rig.deployer.is_current = lambda subject: subject.application is rig.application
    await deployed(rig)
    rig.commit(fleet=TWO)
    look = await writing(rig)
    observing = rig.application.sync.model_copy(update={"mode": Mode.OBSERVE})
    rig.application = rig.application.model_copy(update={"sync": observing})
    assert [each.reason for each in (await look).findings] == [Reason.PROGRESSING]
    written = list(rig.target.written)
    assert await rig.reasons() == ([] if lands else [Reason.OBSERVED])
    assert rig.latest.state is _S.CANCELLED
    assert rig.target.written == written + ["fleet"] * lands, "nothing but what was on its way"
    assert rig.store.journal == {}
    base = rig.store.kept_bases["app"]["fleet"].document
    assert base == (TWO if lands else ONE), "what landed is nobody's live edit"


async def test_where_git_is_only_observed_by_now_nothing_is_taken_back():
    rig = fleet(ONE)
    await deployed(rig)
    rig.target.sick = lambda contents: Health(healthy=False, done=True, message="a does not start")
    rig.commit(fleet=TWO)

    class Crash(BaseException):
        pass

    def at(point: str) -> None:
        if point == "taking-back":
            raise Crash

    rig.at = at
    with pytest.raises(Crash):
        await rig.look()
    rig.restart()
    observing = rig.application.sync.model_copy(update={"mode": Mode.OBSERVE})
    rig.application = rig.application.model_copy(update={"sync": observing})
    written = list(rig.target.written)
    await rig.look()
    assert rig.target.written == written, "a write would make the fleet Git's again"
    assert rig.latest.state is _S.CANCELLED
    assert "only observed" in rig.latest.message
