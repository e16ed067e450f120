from __future__ import annotations

from dataclasses import replace

import pytest

from fairlead.mcp.sealing import Sealer
from fairlead.model.access import Caller, Grant, Role
from fairlead.model.errors import ProblemError
from fairlead.orchestrator.gateway.sessions import SessionTable


def table(**bounds: int) -> SessionTable:
    return SessionTable(Sealer(b"k" * 32), "n", idle=60.0, **{"limit": 5, **bounds})


def refusal(sessions: SessionTable, principal: str) -> str:
    with pytest.raises(ProblemError) as refused:
        sessions.create(Caller(principal, Role.DEVELOPER), "", "", 0.0)
    problem = refused.value.problem
    assert (problem.status, problem.code, problem.retry_after) == (429, "too-many-sessions", 30.0)
    return problem.detail


def test_sessions_are_bounded_by_principal_and_in_all():
    sessions = table(per_principal=2)
    for principal in ("a", "b", "a", "b"):
        sessions.create(Caller(principal, Role.DEVELOPER), "", "", 0.0)
    assert "'a'" in refusal(sessions, "a")
    assert "MAX_PER_PRINCIPAL" in refusal(sessions, "b")
    sessions.create(Caller("c", Role.DEVELOPER), "", "", 0.0)
    assert "MAX_SESSIONS" in refusal(sessions, "d")


def test_a_session_that_ends_makes_room_once():
    sessions = table(per_principal=1)
    session = sessions.create(Caller("a", Role.DEVELOPER), "", "", 0.0)
    sessions.end(session)
    sessions.end(session)
    sessions.create(Caller("a", Role.DEVELOPER), "", "", 0.0)
    assert "1 sessions of 'a'" in refusal(sessions, "a")


def test_without_a_bound_of_its_own_a_principal_may_have_them_all():
    sessions = table()
    for _ in range(5):
        sessions.create(Caller("a", Role.DEVELOPER), "", "", 0.0)
    refusal(sessions, "a")


def test_a_session_is_found_by_its_principal_with_the_same_grants_alone():
    """Access tokens of one principal may differ in what they give."""
    sessions = table()
    narrow = Caller("a", Role.DEVELOPER, (Grant(servers=("x",)),), "jwt:1", 100.0)
    session = sessions.create(narrow, "", "", 0.0)
    fresh = replace(narrow, credential="jwt:2", expires=200.0)
    assert sessions.find(session.id, fresh, "") is session
    assert session.caller is fresh  # it lives as long as the token that came last
    for other in (replace(narrow, grants=()), replace(narrow, name="b")):
        assert sessions.find(session.id, other, "") is None
        assert sessions.named(session.id, other) is None
    assert sessions.find(session.id, narrow, "x") is None
