"""What the audit says of REST, and how REST shows the audit."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import pytest

from fairlead.audit.recorder import AuditTrail
from fairlead.core.access import KnownTokens
from fairlead.core.admission import AdmissionPolicy
from fairlead.model.access import Caller, Role
from fairlead.model.audit import AuditKind, AuditRecord
from fairlead.web.audited import Audited, change
from support.audit_logs import MemoryAuditLog
from support.web_services import AUTHORIZED, client, services

ADA = Caller("ada", Role.ADMIN, (), "key:k1")


class Kept:
    """An `Auditor` that shows what it was told."""

    def __init__(self) -> None:
        self.notes: list[AuditRecord] = []
        self.refusals: list[AuditRecord] = []

    def called(self, call) -> None:
        raise AssertionError

    def note(self, record: AuditRecord) -> None:
        self.notes.append(record)

    def refused(self, record: AuditRecord) -> None:
        self.refusals.append(record)

    async def search(self, wanted):
        return []


@pytest.fixture
def log() -> MemoryAuditLog:
    return MemoryAuditLog()


@pytest.fixture
async def audit(log) -> AuditTrail:
    return AuditTrail(log, node="n1")


async def answer_of(app, kept: Kept, *, caller: Caller | None = ADA, **scope) -> None:
    state = {"request_id": "r1", "principal": caller.name if caller else None}
    if caller is not None:
        state["caller"] = caller
    whole = {
        "type": "http", "method": "POST", "path": "/api/servers/a/stop", "client": ("10.0.0.9", 1),
        "headers": [(b"content-length", b"7")], "state": state, "path_params": {"id": "a"}, **scope,
    }  # fmt: skip

    async def send(message) -> None:
        pass

    await Audited(app, kept)(whole, asyncio.Queue().get, send)


def answering(status: int, body: bytes = b"", kind: str = "http.response"):
    async def app(scope, receive, send) -> None:
        await send({"type": f"{kind}.start", "status": status, "headers": []})
        await send({"type": f"{kind}.body", "body": body})

    return app


async def test_a_change_says_who_what_and_with_what_outcome():
    kept = Kept()
    await answer_of(answering(200, b"{}"), kept)
    (record,) = kept.notes
    assert record == AuditRecord(
        record.at,
        AuditKind.CHANGE,
        principal="ada",
        credential="key:k1",
        action="POST /api/servers/a/stop",
        server="a",
        outcome="ok",
        seconds=record.seconds,
        request_bytes=7,
        answer_bytes=2,
        request_id="r1",
        peer="10.0.0.9",
        detail={"status": 200},
    )


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"type":"urn:fairlead:problem:unknown-server"}', "unknown-server"),
        (b"not json", "404"),
        (b"", "404"),
        (b"[" * 20_000, "404"),
    ],
)
async def test_the_outcome_is_the_problems_code_where_there_is_one(body, outcome):
    kept = Kept()
    await answer_of(answering(404, body), kept)
    assert [record.outcome for record in kept.notes] == [outcome]


@pytest.mark.parametrize("status", [401, 403, 408, 413, 429])
async def test_what_a_known_caller_may_not_do_is_a_refusal(status):
    kept = Kept()
    for method in ("POST", "GET"):
        await answer_of(answering(status), kept, method=method)
    assert [record.principal for record in kept.refusals] == ["ada", "ada"]
    assert not kept.notes


@pytest.mark.parametrize("status", [400, 401, 403, 405, 413, 415, 421, 429, 431, 501])
async def test_whoever_is_turned_away_at_the_door_is_a_refusal(status):
    kept = Kept()
    await answer_of(answering(status), kept, caller=None)
    (record,) = kept.refusals
    assert (record.principal, record.credential, record.kind) == ("", "", AuditKind.REFUSAL)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"method": "GET"}, 200),
        ({"method": "GET"}, 404),
        ({"method": "HEAD"}, 200),
        ({"method": "OPTIONS"}, 204),
        ({"path": "/api/request"}, 200),
        ({"path": "/api/request"}, 502),
        ({"caller": None, "method": "GET", "path": "/health"}, 200),
    ],
)
async def test_looking_is_not_recorded_and_calls_are_elsewhere(more, status):
    kept = Kept()
    await answer_of(answering(status), kept, **more)
    assert not kept.notes + kept.refusals


async def test_a_fault_of_ours_and_a_client_that_has_gone_are_recorded():
    async def breaks(scope, receive, send) -> None:
        raise RuntimeError("broken")

    async def silent(scope, receive, send) -> None:
        pass

    kept = Kept()
    with pytest.raises(RuntimeError):
        await answer_of(breaks, kept)
    await answer_of(silent, kept)
    assert [(record.outcome, record.detail["status"]) for record in kept.notes] == [
        ("internal", 500),
        ("499", 499),
    ]


async def test_a_websocket_that_is_not_let_in_is_a_refusal_and_one_that_is_is_not():
    async def accepts(scope, receive, send) -> None:
        await send({"type": "websocket.accept"})

    kept = Kept()
    refuses = answering(401, b"", "websocket.http.response")
    for app in (refuses, accepts):
        await answer_of(app, kept, caller=None, type="websocket", path="/ws", method="GET")
    assert [record.action for record in kept.refusals] == ["GET /ws"]
    assert not kept.notes


async def test_what_is_neither_passes_by():
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(scope["type"])

    await Audited(app, Kept())({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]


async def test_long_paths_are_cut_and_a_peer_may_be_unknown():
    kept = Kept()
    await answer_of(answering(404), kept, path="/" + "x" * 9000, client=None, headers=[])
    (record,) = kept.notes
    assert (len(record.action), record.peer, record.request_bytes) == (500, "", 0)


def test_the_record_of_a_change():
    record = change(ADA, "ws restart", server="a", outcome="forbidden", request_id="r")
    assert (record.kind, record.principal, record.credential) == (AuditKind.CHANGE, "ada", "key:k1")
    assert (record.action, record.server, record.outcome, record.request_id) == (
        "ws restart",
        "a",
        "forbidden",
        "r",
    )


# -- over the whole app ----------------------------------------------------------------------------------


async def test_a_change_is_found_by_a_search(audit):
    async with client(services(audit=audit), **AUTHORIZED) as http:
        assert (await http.post("/api/servers/filesystem/restart")).status_code == 200
        await audit._flush()
        answer = await http.get("/api/audit", params={"kind": "change", "server": "filesystem"})
    (record,) = answer.json()["records"]
    assert (record["action"], record["principal"]) == ("POST /api/servers/filesystem/restart", "ada")
    assert record["node"] == "n1"
    assert "tool" not in record


async def test_searches_go_page_by_page(audit):
    for number in range(5):
        audit.note(AuditRecord(float(number), AuditKind.SYSTEM, action=str(number)))
    await audit._flush()
    async with client(services(audit=audit), **AUTHORIZED) as http:

        async def actions(**query) -> list[str]:
            answer = await http.get("/api/audit", params=query)
            return [record["action"] for record in answer.json()["records"]]

        assert await actions(limit=2) == ["4", "3"]
        assert await actions(limit=2, until=3.0) == ["2", "1"]
        assert await actions(since=3.0) == ["4", "3"]
        assert await actions(outcome="x") == []


async def test_while_the_store_is_away_the_answer_says_so(audit, log):
    log.away = True
    async with client(services(audit=audit), **AUTHORIZED) as http:
        answer = await http.get("/api/audit")
        trends = await http.get("/api/metrics/trends")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:fairlead:problem:store-unavailable")
    assert answer.headers["retry-after"]
    assert trends.status_code == 200  # has a store of its own here


async def test_who_is_no_administrator_may_not_read_it(audit, log):
    token = "flt_viewer-token-0123456789abcdef"
    tokens = KnownTokens({hashlib.sha256(token.encode()).digest(): Caller("bob", Role.OPERATOR)})
    policy = AdmissionPolicy.compile(tokens, 3002)
    async with client(services(audit=audit, admits=policy), authorization=f"Bearer {token}") as http:
        assert (await http.get("/api/audit")).status_code == 403
    await audit._flush()
    assert [(r.kind, r.principal, r.outcome) for r in log.records()] == [
        (AuditKind.REFUSAL, "bob", "forbidden")
    ]


# -- trends ----------------------------------------------------------------------------------------------


@pytest.fixture
async def http():
    async with client(services(), **AUTHORIZED) as http:
        yield http


async def trend(http: httpx.AsyncClient, **query) -> httpx.Response:
    return await http.get("/api/metrics/trends", params=query)


async def test_trends_choose_a_step_that_is_not_too_fine(http):
    hour = (await trend(http)).json()
    assert (hour["server"], hour["step"], hour["points"]) == (None, 60, [])
    assert (await trend(http, since=0, until=90 * 86400)).json()["step"] == 86400
    assert (await trend(http, since=0, until=86400, server="filesystem")).json()["step"] == 900


@pytest.mark.parametrize(
    "query",
    [{"step": 61}, {"step": 0}, {"step": 60, "since": 0}, {"since": "x"}, {"step": 2 * 86400}, {"what": 1}],
)
async def test_trends_that_cannot_be_are_refused(http, query):
    assert (await trend(http, **query)).status_code == 422


async def test_trends_show_what_was_rolled_up():
    behind = services()
    async with client(behind, **AUTHORIZED) as http:
        behind.metrics.refused("invalid-token")
        await behind.trends.roll_up()
        (point,) = (await trend(http)).json()["points"]
    assert point["requests"] == 0
    assert point["meanSeconds"] is None
    assert point["gauges"]["refused"] == 1
