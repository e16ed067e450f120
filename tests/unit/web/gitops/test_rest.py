"""The GitOps controller over REST: what is asked for is done, and what cannot be is refused with a reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from fairlead.gitops.controller import Declared
from fairlead.model.access import Role
from fairlead.model.gitops import GitOpsFile
from fairlead.model.reconciling import Blocked, DeploymentReason, DeploymentState, Hold
from fairlead.ports.gitops import Write
from fairlead.web.gitops_services import GitOpsServices
from support.gitops_web import (
    BEARER,
    FIRST,
    SECOND,
    THIRD,
    GitOpsRig,
    gitops_services,
    servers,
)
from support.web_services import client

GITOPS = "/api/gitops"


@pytest.fixture
async def rig() -> AsyncIterator[GitOpsRig]:
    """`fleet` takes commits by itself, `next` by promotion of those of `fleet`; `seen` is only observed."""
    rig = GitOpsRig(
        more={
            "next": {"environment": "production", "promoted_from": "fleet", "sync": {"approval": True}},
            "seen": {"sync": {"mode": "observe"}},
        }
    )
    rig.commit(FIRST, {"fleet": servers(), "next": servers(), "seen": servers()})
    async with rig.running():
        yield rig


@pytest.fixture
def behind(rig: GitOpsRig) -> GitOpsServices:
    return gitops_services(rig)


@pytest.fixture
async def http(behind: GitOpsServices) -> AsyncIterator[httpx.AsyncClient]:
    async with client(behind, **BEARER[Role.ADMIN]) as connected:
        yield connected


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def condition(application: dict[str, Any], kind: str = "Ready") -> tuple[bool, str]:
    return next((one["status"], one["reason"]) for one in application["conditions"] if one["type"] == kind)


class TestApplications:
    async def test_all_and_one(self, http):
        listed = (await http.get("/api/applications")).json()["applications"]
        assert [each["name"] for each in listed] == ["fleet", "next", "seen"]
        fleet = (await http.get("/api/applications/fleet")).json()
        assert fleet == listed[0]
        assert (fleet["source"], fleet["commit"], fleet["applied"]) == ("config", FIRST, FIRST)
        assert (fleet["observedGeneration"], fleet["suspended"], fleet["drift"]) == (1, False, 0)
        assert condition(fleet) == (True, "Synced")
        shown = (await http.get(f"/api/deployments/{fleet['deployment']}")).json()
        assert (shown["commit"], shown["state"]) == (FIRST, "succeeded")

    async def test_an_unknown_one_names_those_that_there_are(self, http):
        for method, path in [
            ("GET", ""), ("GET", "/diff"), ("POST", "/promote"), ("POST", "/suspend"), ("POST", "/resume"),
            ("DELETE", "/holds?path=x"), ("DELETE", f"/blocked/{FIRST}"),
        ]:  # fmt: skip
            answer = await http.request(method, f"/api/applications/flet{path}")
            assert code(answer) == (404, "unknown-application"), path
            assert "known: fleet, next, seen" in answer.json()["detail"]

    async def test_latest_deployments_are_found_again_after_a_restart(self, rig, http):
        rig.controller.managed("next").deployment = None
        rig.row("d-1", "next")
        assert (await http.get("/api/applications/next")).json()["deployment"] == "d-1"

    async def test_reading_goes_on_while_the_store_is_away(self, rig, http):
        rig.store.away = rig.rows.away = True
        for path in ("/api/applications", "/api/sync/status", "/api/drift/status", "/api/git/commits"):
            assert (await http.get(path)).status_code == 200, path
        assert (await http.get("/api/applications/fleet")).json()["applied"] == FIRST
        assert code(await http.get("/api/deployments")) == (503, "store-unavailable")
        assert code(await http.post("/api/applications/fleet/suspend")) == (503, "store-unavailable")


class TestSuspending:
    async def test_nothing_is_written_until_it_is_resumed(self, rig, http):
        suspended = (await http.post("/api/applications/fleet/suspend")).json()
        assert suspended["suspended"]
        rig.commit(SECOND, {"fleet": servers(["y"])})
        await rig.settle()
        shown = (await http.get("/api/applications/fleet")).json()
        assert (shown["commit"], shown["applied"], condition(shown)) == (SECOND, FIRST, (False, "Suspended"))
        assert rig.store.kept["fleet"].suspended_by == "admin"
        assert not (await http.post("/api/applications/fleet/resume")).json()["suspended"]
        await rig.settle()
        assert (await http.get("/api/applications/fleet")).json()["applied"] == SECOND

    async def test_twice_is_as_once(self, rig, http):
        for _ in range(2):
            assert (await http.post("/api/applications/fleet/suspend")).json()["suspended"]
        for _ in range(2):
            assert not (await http.post("/api/applications/fleet/resume")).json()["suspended"]
        assert rig.store.kept["fleet"].suspended_at is None

    async def test_while_a_deployment_writes(self, rig, http):
        """Both keep the application's state. What has begun is brought to its end, and nothing is lost."""
        target, there, goes_on = rig.target("fleet"), asyncio.Event(), asyncio.Event()
        write = target.write

        async def slowly(wanted: Write) -> str | None:
            there.set()
            await goes_on.wait()
            return await write(wanted)

        target.write = slowly
        rig.commit(SECOND, {"fleet": servers(["y"])})
        await there.wait()
        assert (await http.post("/api/applications/fleet/suspend")).json()["suspended"]
        goes_on.set()
        await rig.settle()
        shown = (await http.get("/api/applications/fleet")).json()
        assert (shown["applied"], condition(shown)) == (SECOND, (False, "Suspended"))
        deployment = (await http.get(f"/api/deployments/{shown['deployment']}")).json()
        assert deployment["state"] == "succeeded"
        assert (await http.get("/api/sync/status")).json()["failing"] == 0


class TestHolds:
    async def test_what_is_held_is_left_alone_until_it_is_released(self, rig, http):
        body = {"path": "servers.a.**", "seconds": 60, "reason": "incident 42"}
        held = (await http.put("/api/applications/fleet/holds", json=body)).json()
        assert (held["path"], held["by"], held["reason"]) == ("servers.a.**", "admin", "incident 42")
        assert 50 < held["until"] - time.time() <= 60
        rig.edit("fleet", servers(["by hand"])["fleet"])
        await rig.settle()
        assert rig.target("fleet").document("fleet") == servers(["by hand"])["fleet"]
        [row] = (await http.get("/api/drift/status?application=fleet")).json()["drift"]
        assert (row["state"], row["live"]) == ("held", '["by hand"]')
        [shown] = (await http.get("/api/applications/fleet")).json()["holds"]
        assert shown == held
        released = await http.delete("/api/applications/fleet/holds", params={"path": "servers.a.**"})
        assert (released.status_code, released.content) == (204, b"")
        await rig.settle()
        assert rig.target("fleet").document("fleet") == servers()["fleet"]

    async def test_another_on_the_same_path_takes_its_place(self, http):
        for reason in ("one", "two"):
            body = {"path": "servers.a", "seconds": 60, "reason": reason}
            await http.put("/api/applications/fleet/holds", json=body)
        assert [each["reason"] for each in (await http.get("/api/applications/fleet")).json()["holds"]] == [
            "two"
        ]

    async def test_one_that_is_over_is_not_shown(self, rig, http):
        rig.store.held.append(Hold("fleet", "servers.a", "ada", "past", time.time() - 1))
        assert (await http.get("/api/applications/fleet")).json()["holds"] == []

    @pytest.mark.parametrize(
        "body",
        [
            {"path": "servers.a", "seconds": 0, "reason": "x"},
            {"path": "servers.a", "seconds": -1, "reason": "x"},
            {"path": "servers.a", "seconds": 31 * 86400, "reason": "x"},
            {"path": "servers.a", "seconds": "60", "reason": "x"},
            {"path": "servers.a", "seconds": 60, "reason": ""},
            {"path": "servers.a", "seconds": 60},
            {"path": "", "seconds": 60, "reason": "x"},
            {"path": "x" * 501, "seconds": 60, "reason": "x"},
            {"path": "servers..a", "seconds": 60, "reason": "x"},
            {"path": "servers.a", "seconds": 60, "reason": "x", "by": "somebody else"},
        ],
    )
    async def test_what_is_no_hold(self, rig, http, body):
        answer = await http.put("/api/applications/fleet/holds", json=body)
        assert answer.status_code == 422
        assert rig.store.held == []

    async def test_releasing_what_is_not_held(self, http):
        answer = await http.delete("/api/applications/fleet/holds", params={"path": "servers.b"})
        assert code(answer) == (404, "unknown-hold")


class TestDrift:
    async def test_is_shown_with_its_counts_the_worst_first(self, rig, http):
        rig.edit("seen", {**servers(["by hand"])["fleet"], "metadata": {"labels": {"a": "b"}}})
        answer = await http.post("/api/drift/check", json={"application": "seen"})
        found = answer.json()
        assert [(row["key"], row["severity"]) for row in found["drift"]] == [
            ("servers.a.args", "high"),
            ("metadata", "low"),
        ]
        status = (await http.get("/api/drift/status")).json()
        assert status["drift"] == found["drift"]
        assert sum(status["bySeverity"].values()) == sum(status["byKind"].values()) == len(status["drift"])
        assert status["checked"] is not None
        assert status["applications"] == 3

    async def test_is_filtered(self, rig, http):
        rig.edit("seen", servers(["by hand"])["fleet"])
        await rig.settle()

        async def count(**wanted: str) -> int:
            return len((await http.get("/api/drift/status", params=wanted)).json()["drift"])

        assert await count() == await count(application="seen") == await count(kind="configuration") > 0
        assert await count(application="fleet") == await count(kind="environment") == 0
        assert await count(severity="low") == await count()
        assert await count(severity="critical") == 0
        assert await count(state="conflict") + await count(state="open") == await count()
        limited = (await http.get("/api/drift/status", params={"limit": "1"})).json()
        assert (len(limited["drift"]), sum(limited["bySeverity"].values())) == (1, await count())

    @pytest.mark.parametrize(
        "wanted", [{"kind": "x"}, {"severity": "HIGH"}, {"limit": "0"}, {"limit": "5001"}, {"state": ""}]
    )
    async def test_unknown_filters_are_refused(self, http, wanted):
        assert code(await http.get("/api/drift/status", params=wanted)) == (422, "invalid-request")

    async def test_of_unknown_applications_there_is_none(self, http):
        answer = await http.get("/api/drift/status", params={"application": "x"})
        assert code(answer) == (404, "unknown-application")
        answer = await http.post("/api/drift/check", json={"application": "x"})
        assert code(answer) == (404, "unknown-application")

    async def test_rows_of_applications_that_are_gone_are_not_shown(self, rig, http):
        rig.edit("seen", servers(["by hand"])["fleet"])
        await rig.settle()
        rig.store.rows["gone"] = rig.store.rows["seen"]
        shown = (await http.get("/api/drift/status")).json()["drift"]
        assert {row["application"] for row in shown} <= {"seen", "fleet", "next"}

    async def test_checking_looks_now_and_waits(self, rig, http):
        rig.target("fleet").put("fleet", servers(["by hand"])["fleet"])  # nothing has told of it
        before = rig.controller.managed("fleet").looked_at
        assert (await http.post("/api/drift/check")).status_code == 200
        assert rig.controller.managed("fleet").looked_at > before
        assert rig.target("fleet").document("fleet") == servers()["fleet"]  # and healed


class TestDeciding:
    """`seen` is enforced here, by a policy that leaves conflicts to people."""

    @pytest.fixture
    async def rig(self) -> AsyncIterator[GitOpsRig]:
        rig = GitOpsRig(more={"fleet": {"policy": "manual"}})
        rig.commit(FIRST, {"fleet": servers()})
        async with rig.running():
            rig.edit("fleet", servers(["by hand"])["fleet"])
            await rig.settle()
            rig.commit(SECOND, {"fleet": servers(["git"])})
            await rig.settle()
            yield rig

    async def test_a_conflict_is_shown_with_its_three_versions(self, http):
        [row] = (await http.get("/api/applications/fleet/diff")).json()["differences"]
        assert row == {
            "object": "fleet", "key": "servers.a.args", "case": "conflict", "action": "wait",
            "base": '["x"]', "live": '["by hand"]', "desired": '["git"]', "policy": "manual",
        }  # fmt: skip
        shown = (await http.get("/api/applications/fleet")).json()
        assert (shown["conflicts"], condition(shown, "Stalled")) == (1, (True, "Conflict"))

    @pytest.mark.parametrize(("take", "wins"), [("remote", "git"), ("local", "by hand")])
    async def test_a_person_takes_one_of_them(self, rig, http, take, wins):
        body = {"object": "fleet", "key": "servers.a.args", "take": take}
        answer = await http.post("/api/applications/fleet/resolve", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["conflicts"] == 0
        await rig.settle()
        assert rig.target("fleet").document("fleet") == servers([wins])["fleet"]
        assert len(rig.source.proposals) >= (take == "local")
        diff = (await http.get("/api/applications/fleet/diff")).json()["differences"]
        assert all(each["case"] != "conflict" for each in diff)

    @pytest.mark.parametrize(
        "body",
        [
            {"object": "fleet", "key": "servers.b", "take": "remote"},
            {"object": "other", "key": "servers.a.args", "take": "remote"},
        ],
    )
    async def test_what_does_not_differ_cannot_be_decided(self, http, body):
        answer = await http.post("/api/applications/fleet/resolve", json=body)
        assert code(answer) == (404, "unknown-difference")

    @pytest.mark.parametrize(
        "body",
        [
            {"object": "fleet", "key": "servers.a.args", "take": "manual"},
            {"object": "fleet", "key": "servers.a.args"},
            {"object": "", "key": "servers.a.args", "take": "remote"},
            {"object": "fleet", "key": 'servers."a', "take": "remote"},
            {},
            [],
        ],
    )
    async def test_what_is_no_decision(self, http, body):
        assert (await http.post("/api/applications/fleet/resolve", json=body)).status_code == 422


class TestSyncs:
    async def test_all_or_one(self, rig, http):
        answer = await http.post("/api/sync/trigger")
        assert answer.status_code == 202
        assert answer.json() == {"applications": ["fleet", "next"], "observed": ["seen"]}
        assert rig.woken == ["config"]
        answer = await http.post("/api/sync/trigger", json={"application": "fleet"})
        assert answer.json() == {"applications": ["fleet"], "observed": []}

    async def test_one_that_is_only_observed(self, http):
        answer = await http.post("/api/sync/trigger", json={"application": "seen"})
        assert code(answer) == (409, "only-observed")

    async def test_a_commit_of_all_applications_is_none(self, http):
        answer = await http.post("/api/sync/trigger", json={"commit": FIRST})
        assert code(answer) == (422, "application-missing")

    async def test_removals_that_wait_are_agreed_to(self, http, rig):
        rig.more["fleet"] = {"sync": {"prune": {"confirm": True}}}
        rig.commit(SECOND, {"fleet": {"fleet": {"servers": {}}}})
        await rig.settle()
        assert rig.target("fleet").document("fleet") == servers()["fleet"]
        shown = (await http.get("/api/applications/fleet")).json()
        assert condition(shown, "Stalled") == (True, "AwaitingPrune")
        await http.post("/api/sync/trigger", json={"application": "fleet", "confirm": True})
        await rig.settle()
        assert rig.target("fleet").document("fleet") == {"servers": {}}

    async def test_status(self, http):
        status = (await http.get("/api/sync/status")).json()
        assert [each["name"] for each in status["applications"]] == ["fleet", "next", "seen"]
        assert (status["waiting"], status["failing"]) == (0, 0)


class TestDeployments:
    async def test_a_promotion_with_approval_from_its_beginning_to_its_end(self, rig, http):
        answer = await http.post("/api/applications/next/promote")
        assert answer.status_code == 202, answer.text
        pending = answer.json()
        assert (pending["state"], pending["reason"], pending["actor"]) == ("pending", "promotion", "admin")
        assert (pending["commit"], pending["environment"]) == (FIRST, "production")
        assert answer.headers["location"] == f"/api/deployments/{pending['id']}"
        await rig.state_of(pending["id"], DeploymentState.WAITING)
        shown = await http.get(answer.headers["location"])
        waiting = shown.json()
        assert [step["name"] for step in waiting["steps"]] == ["fetch", "verify", "plan", "gate"]
        assert '+    "a": {' in waiting["difference"]
        assert "approve" in waiting["message"]
        assert shown.headers["etag"] == f'"{waiting["revision"]}"'
        stale = await http.post(f"{shown.url.path}/approve", headers={"if-match": '"0"'})
        assert code(stale) == (412, "changed-meanwhile")
        good = await http.post(f"{shown.url.path}/approve", headers={"if-match": shown.headers["etag"]})
        assert (good.status_code, good.json()["approvedBy"]) == (200, ["admin"])
        await rig.state_of(pending["id"], DeploymentState.SUCCEEDED)
        ended = (await http.get(answer.headers["location"])).json()
        assert ended["seconds"] >= 0
        assert all(step["seconds"] >= 0 for step in ended["steps"])
        assert rig.target("next").document("fleet") == servers()["fleet"]
        again = await http.post("/api/applications/next/promote")
        assert code(again) == (409, "already-in-force")

    async def test_the_list_is_filtered_and_read_page_by_page(self, rig, http):
        now = time.time()
        for number in range(5):
            rig.row(f"old-{number}", "next", created=now - 1000 - number)
        rig.row("bad", "next", state=DeploymentState.FAILED, created=now - 2000)

        async def ids(**wanted: Any) -> list[str]:
            rows = (await http.get("/api/deployments", params=wanted)).json()["deployments"]
            assert all(row["difference"] == "" for row in rows)
            return [row["id"] for row in rows]

        assert await ids(application="next") == [f"old-{number}" for number in range(5)] + ["bad"]
        assert await ids(application="next", state="failed") == ["bad"]
        assert await ids(application="next", state=["failed", "succeeded"], limit=2) == ["old-0", "old-1"]
        assert await ids(application="next", before=now - 1001.5, limit=2) == ["old-2", "old-3"]
        assert await ids(application="nobody") == []

    @pytest.mark.parametrize("wanted", [{"limit": 0}, {"limit": 501}, {"state": "x"}, {"before": "nan"}])
    async def test_filters_that_cannot_be(self, http, wanted):
        assert code(await http.get("/api/deployments", params=wanted)) == (422, "invalid-request")

    async def test_a_commit_by_the_beginning_of_its_id(self, rig, http):
        body = {"application": "next", "commit": FIRST[:7].upper()}
        answer = await http.post("/api/deployments", json=body)
        assert (answer.status_code, answer.json()["commit"], answer.json()["author"]) == (
            202, FIRST, "Bob <bob@example.org>",
        )  # fmt: skip
        again = await http.post("/api/deployments", json=body)
        assert again.json()["id"] == answer.json()["id"]
        assert len([row for row in rig.rows.rows.values() if row.application == "next"]) == 1

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"application": "next", "commit": SECOND}, (404, "unknown-commit")),
            ({"application": "nobody", "commit": FIRST}, (404, "unknown-application")),
            ({"application": "seen", "commit": FIRST}, (409, "only-observed")),
            ({"application": "next", "commit": "main"}, (422, "invalid-request")),
            ({"application": "next", "commit": "--upload-pack=x"}, (422, "invalid-request")),
            ({"application": "next", "commit": ""}, (422, "invalid-request")),
            ({"application": "next"}, (422, "invalid-request")),
            ({"application": "next", "commit": FIRST, "confirm": True}, (422, "invalid-request")),
            (["next"], (422, "invalid-request")),
        ],
    )
    async def test_what_cannot_be_deployed(self, rig, http, body, expected):
        before = len(rig.rows.rows)
        assert code(await http.post("/api/deployments", json=body)) == expected
        assert len(rig.rows.rows) == before

    async def test_an_older_commit_is_rolled_back_to_instead(self, rig, http):
        rig.commit(SECOND, {"fleet": servers(["y"])})
        await rig.settle()
        answer = await http.post("/api/deployments", json={"application": "fleet", "commit": FIRST})
        assert code(answer) == (409, "older-commit")
        latest = (await http.get("/api/applications/fleet")).json()["deployment"]
        back = await http.post(f"/api/deployments/{latest}/rollback")
        assert (back.status_code, back.json()["commit"], back.json()["reason"]) == (202, FIRST, "rollback")
        await rig.state_of(back.json()["id"], DeploymentState.SUCCEEDED)
        await rig.settle()
        assert rig.target("fleet").document("fleet") == servers()["fleet"]
        shown = (await http.get("/api/applications/fleet")).json()
        assert (shown["applied"], [each["commit"] for each in shown["blocked"]]) == (FIRST, [SECOND])
        [second, _] = (await http.get("/api/git/commits")).json()["commits"]
        assert (second["appliedTo"], second["blockedFor"]) == ([], ["fleet"])
        assert code(await http.post(f"/api/deployments/{latest}/rollback")) == (409, "already-in-force")
        # The next commit is taken as usual, and the blocked one again, too, as soon as a person says so.
        assert (await http.delete(f"/api/applications/fleet/blocked/{SECOND[:8]}")).status_code == 204
        await rig.settle()
        assert rig.target("fleet").document("fleet") == servers(["y"])["fleet"]
        gone = await http.delete(f"/api/applications/fleet/blocked/{SECOND}")
        assert code(gone) == (404, "unknown-commit")

    async def test_back_to_any_that_succeeded(self, rig, http):
        for id_, args in ((SECOND, "y"), (THIRD, "z")):
            rig.commit(id_, {"fleet": servers([args])})
            await rig.settle()
        rows = (await http.get("/api/deployments", params={"application": "fleet"})).json()["deployments"]
        by_commit = {row["commit"]: row["id"] for row in rows}
        bad = await http.post(f"/api/deployments/{by_commit[THIRD]}/rollback", json={"to": "d" * 40})
        assert code(bad) == (404, "unknown-target")
        answer = await http.post(
            f"/api/deployments/{by_commit[THIRD]}/rollback", json={"to": by_commit[FIRST]}
        )
        assert (answer.status_code, answer.json()["commit"]) == (202, FIRST)
        await rig.state_of(answer.json()["id"], DeploymentState.SUCCEEDED)
        assert rig.target("fleet").document("fleet") == servers()["fleet"]

    async def test_what_cannot_be_taken_back(self, rig, http):
        rig.row("running", state=DeploymentState.RUNNING, ended=None)
        assert code(await http.post("/api/deployments/running/rollback")) == (409, "deployment-not-over")
        rig.row("first", previous=None)
        assert code(await http.post("/api/deployments/first/rollback")) == (409, "nothing-before")
        rig.row("seen", "seen")
        assert code(await http.post("/api/deployments/seen/rollback")) == (409, "only-observed")
        rig.row("gone", application="fleet")
        rig.rows.rows["gone"] = rig.row("gone", "fleet", reason=DeploymentReason.HEAL, previous=FIRST)
        assert code(await http.post("/api/deployments/gone/rollback")) == (409, "already-in-force")

    async def test_cancelling_what_waits(self, rig, http):
        pending = (await http.post("/api/applications/next/promote")).json()
        await rig.state_of(pending["id"], DeploymentState.WAITING)
        answer = await http.post(f"/api/deployments/{pending['id']}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert code(await http.post(f"/api/deployments/{pending['id']}/cancel")) == (409, "deployment-over")
        assert code(await http.post(f"/api/deployments/{pending['id']}/approve")) == (409, "not-waiting")
        assert rig.target("next").document("fleet") == {}

    @pytest.mark.parametrize("path", ["", "/rollback", "/approve", "/cancel"])
    async def test_an_unknown_one(self, http, path):
        answer = await http.request("POST" if path else "GET", f"/api/deployments/nobody{path}")
        assert code(answer) == (404, "unknown-deployment")

    @pytest.mark.parametrize("tag", ["3", '"3', "W/", ""])
    async def test_malformed_preconditions(self, rig, http, tag):
        rig.row("waits", "next", state=DeploymentState.WAITING)
        answer = await http.post("/api/deployments/waits/approve", headers={"if-match": tag})
        assert code(answer) == (422, "invalid-request")
        assert rig.rows.rows["waits"].approved_by == ()

    async def test_any_state_is_approved_with_a_star(self, rig, http):
        rig.row("waits", "next", state=DeploymentState.WAITING)
        answer = await http.post("/api/deployments/waits/approve", headers={"if-match": "*"})
        assert answer.status_code == 200

    async def test_a_commit_that_was_taken_back_is_deployed_because_a_person_says_so(self, rig, http):
        rig.rows.blocks.append(Blocked("next", FIRST, 1.0, "it was bad"))
        answer = await http.post("/api/deployments", json={"application": "next", "commit": FIRST})
        assert answer.status_code == 202
        assert rig.rows.blocks == []


class TestPromotion:
    async def test_who_is_promoted_from_nobody(self, http):
        answer = await http.post("/api/applications/fleet/promote")
        assert code(answer) == (409, "not-promoted")
        assert "promotedFrom" in answer.json()["detail"]

    async def test_where_there_is_nothing_yet(self, rig, http):
        rig.store.kept.pop("fleet")
        assert code(await http.post("/api/applications/next/promote")) == (409, "nothing-to-promote")

    async def test_from_one_that_is_not_before_it(self, rig, http):
        rig.more["next"] = {"environment": "development", "promoted_from": "fleet"}
        rig.commit(SECOND, {"fleet": servers(), "next": servers()})
        await rig.settle()
        assert code(await http.post("/api/applications/next/promote")) == (409, "not-promoted")


class TestTheRest:
    async def test_repositories_are_shown_without_credentials(self, rig, http):
        [source] = (await http.get("/api/git/status")).json()["sources"]
        assert (source["name"], source["url"]) == ("config", "https://***@git.example/config.git")
        assert (source["head"], source["reason"]) == (FIRST, "")
        rig.source.problem = ("SourceAway", "no route to it")
        [source] = (await http.get("/api/git/status")).json()["sources"]
        assert (source["head"], source["reason"], source["message"]) == (
            FIRST,
            "SourceAway",
            "no route to it",
        )
        assert (await http.get("/health")).json()["status"] == "degraded"

    async def test_without_a_source_commits_are_of_one_that_has_some(self, rig, http):
        empty = type(rig.source)()
        rig.controller.sources["a"] = Declared(empty)
        found = (await http.get("/api/git/commits")).json()
        assert (found["source"], [each["id"] for each in found["commits"]]) == ("config", [FIRST])

    async def test_unknown_sources(self, http):
        assert code(await http.get("/api/git/commits?source=x")) == (404, "unknown-source")
        assert code(await http.get("/api/git/commits?limit=0")) == (422, "invalid-request")

    async def test_the_configuration_is_shown_without_secrets(self, rig, http):
        said = {
            "sources": {
                "config": {
                    "url": "https://ada:hunter2@git.example/config.git",
                    "token": "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
                    "webhookSecret": "${secret:HOOK}",
                }
            },
            "notifications": [
                {"url": "slack://TokenA/TokenB/TokenC"},
                {"url": "${secret:CHANNEL}"},
            ],
        }
        rig.file = GitOpsFile.model_validate(said)
        text = (await http.get("/api/config")).text
        for secret in ("hunter2", "ghp_", "TokenA", "TokenB"):
            assert secret not in text
        for kept in ("${secret:HOOK}", "${secret:CHANNEL}", "slack://***", "git.example/config.git"):
            assert kept in text

    async def test_documents_are_checked(self, http):
        good = {"applications/a.yml": "version: '1'\nname: a\ntarget:\n  fleet: {}\n"}
        answer = await http.post("/api/config/validate", json={"documents": good})
        assert (answer.status_code, answer.json()) == (200, {"valid": True, "problems": []})
        bad = {"applications/b.yml": "name: b\ntarget: {fleet: {}}\nnmae: c\n"}
        answer = (await http.post("/api/config/validate", json={"documents": good | bad})).json()
        assert not answer["valid"]
        [problem, *_] = answer["problems"]
        assert (problem["file"], problem["severity"], problem["line"]) == ("applications/b.yml", "error", 3)

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"documents": {}},
            {"documents": {"": "x"}},
            {"documents": {"a": 1}},
            {"documents": {f"{number}.yml": "" for number in range(501)}},
            {"documents": {"a.yml": "x" * (2**20 + 1)}},
            {"documents": ["a"]},
        ],
    )
    async def test_what_cannot_be_checked(self, http, body):
        assert code(await http.post("/api/config/validate", json=body)) == (422, "invalid-request")

    async def test_who_is_in_charge(self, rig, http):
        assert (await http.get(GITOPS)).json() == {"enabled": False}
        assert (await http.post(f"{GITOPS}/enable")).json() == {"enabled": True}
        assert (await http.get("/api/system/info")).json()["enabled"]
        assert (await http.post(f"{GITOPS}/disable")).json() == {"enabled": False}
        assert rig.ownership.by == ["admin", "admin"]

    async def test_the_environments(self, rig, http):
        found = (await http.get("/api/health/environment")).json()
        assert (found["healthy"], found["tools"]) == (False, [])
        assert found["environments"] == {"development": False, "production": False}  # seen, and next waits
        rig.more["fleet"] = {"tools": {"node": ">=20"}}
        rig.commit(SECOND, {"fleet": servers()})
        await rig.settle()
        found = (await http.get("/api/health/environment")).json()
        [tool] = found["tools"]
        assert (tool["application"], tool["tool"], tool["wanted"], tool["fits"]) == (
            "fleet", "node", ">=20", False,
        )  # fmt: skip
        assert found["environments"] == {"development": False}

    async def test_other_declarations_are_told_as_events(self, rig):
        rig.more["fleet"] = {"sync": {"mode": "observe"}}
        rig.commit(SECOND, {"fleet": servers(), "new": servers()})
        await rig.settle()
        [data] = [data for kind, subject, data in rig.noted.events if kind == "config-changed"]
        assert data == {
            "source": "config", "commit": SECOND, "added": ["new"], "changed": ["fleet"],
            "removed": ["next", "seen"],
        }  # fmt: skip

    async def test_health_is_public_and_waits_for_the_first_look(self, rig, behind):
        async with client(behind) as stranger:
            assert (await stranger.get("/health")).json() == {
                "status": "ok", "version": "1.2.3", "away": [],
            }  # fmt: skip
            rig.controller.managed("fleet").looked_at = None
            assert (await stranger.get("/health")).json()["status"] == "starting"

    async def test_metrics_have_the_requests(self, http):
        await http.get("/api/applications")
        text = (await http.get("/metrics")).text
        route = 'fairlead_http_requests_total{method="GET",route="/api/applications",status="200"} 1.0'
        assert route in text
        assert "claude_gitops_health_status" in text
