"""Whether a server's items stand in the lists."""

import pytest

from fairlead.core.presence import Presence
from fairlead.model.status import ServerState

READY, IDLE = ServerState.READY, ServerState.IDLE
AWAY = (ServerState.STARTING, ServerState.INSTALLING, ServerState.FAILED, ServerState.BLOCKED)


@pytest.mark.parametrize("state", AWAY)
def test_one_that_is_away_keeps_its_place_for_the_grace_period(state):
    gone = Presence().seen(READY, 100.0, 10.0).seen(state, 101.0, 10.0)
    assert gone.listed
    assert gone.seen(ServerState.STARTING, 110.9, 10.0).listed, "it counts from when it went"
    over = gone.seen(state, 111.0, 10.0)
    assert not over.listed
    assert not over.seen(state, 111.0, 100.0).listed, "a longer grace period brings nothing back"
    assert over.seen(READY, 112.0, 10.0) == Presence()


def test_without_grace_it_goes_at_once():
    assert not Presence().seen(ServerState.FAILED, 5.0, 0.0).listed


@pytest.mark.parametrize("state", [ServerState.STOPPED, ServerState.DISABLED])
def test_one_that_was_stopped_is_gone_at_once_and_until_it_is_back(state):
    stopped = Presence().seen(state, 0.0, 100.0)
    assert not stopped.listed
    starting = stopped.seen(ServerState.STARTING, 1.0, 100.0)
    assert not starting.listed
    assert starting.seen(READY, 2.0, 100.0).listed


def test_one_that_is_idle_is_there():
    assert Presence().seen(READY, 0.0, 1.0).seen(IDLE, 1000.0, 1.0).listed
