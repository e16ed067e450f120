from __future__ import annotations

import json

import httpx
import pytest

from fairlead.core.overrides import Edit
from fairlead.formats.yaml_tree import MAX_BYTES
from fairlead.model.fleet import FleetFile
from fairlead.model.reports import Origin, Owner
from fairlead.web.fleet import SPEC
from support.web_services import problem

DOCUMENT = b'{ "version": "1",\n "servers": {} }'
JSON = {"content-type": "application/json"}


async def put(http, content: bytes = DOCUMENT, query: str = "", **headers: str) -> httpx.Response:
    return await http.put(f"/api/fleet{query}", content=content, headers=JSON | headers)


def test_the_spec_that_is_shown_as_an_example_is_one():
    assert list(FleetFile.model_validate(SPEC).servers) == ["filesystem"]


async def test_the_spec_with_its_placeholders_and_its_tag(http, behind):
    behind.config.owner = Owner.GITOPS
    answer = await http.get("/api/fleet")
    assert (answer.status_code, answer.headers["etag"]) == (200, '"run-7"')
    body = answer.json()
    assert (body["owner"], body["generation"], body["observedGeneration"]) == ("gitops", 7, 7)
    assert body["spec"] == behind.config.document
    assert "${KEY}" in answer.text
    assert body["overrides"] == body["conditions"] == []


async def test_a_spec_is_passed_on_byte_for_byte_and_its_tag_moves(http, behind):
    answer = await put(http, **{"if-match": '"run-7"'})
    assert (answer.status_code, answer.headers["etag"], answer.json()["generation"]) == (200, '"run-8"', 8)
    assert behind.config.replaced == [
        {
            "document": DOCUMENT,
            "expected": "run-7",
            "dry_run": False,
            "origin": Origin.LIVE,
            "by": "ada",
            "keep": [],
        }
    ]
    assert (await http.get("/api/fleet")).json()["spec"] == json.loads(DOCUMENT)


async def test_gitops_may_put_a_whole_spec(http, behind):
    query = '?origin=gitops-whole&keep=servers.a.args&keep=servers."a".scaling'
    answer = await put(http, query=query, **{"if-match": "*"})
    assert answer.status_code == 200
    [asked] = behind.config.replaced
    assert (asked["origin"], asked["keep"]) == (Origin.GITOPS_WHOLE, ["servers.a.args", "servers.a.scaling"])
    answer = await put(http, query="?origin=gitops-whole&keep=..", **{"if-match": "*"})
    assert answer.status_code == 422


async def test_a_dry_run_changes_nothing_and_has_no_tag(http, behind):
    answer = await put(http, query="?dryRun=true&origin=gitops", **{"if-match": "*"})
    assert (answer.status_code, answer.json()["dryRun"]) == (200, True)
    assert "etag" not in answer.headers
    [asked] = behind.config.replaced
    assert (asked["dry_run"], asked["origin"], asked["expected"]) == (True, Origin.GITOPS, None)
    assert behind.config.generation == 7


@pytest.mark.parametrize(
    ("if_match", "status", "code"),
    [
        ({}, 428, "if-match-missing"),
        ({"if-match": '"run-6"'}, 412, "generation-changed"),
        ({"if-match": 'W/"run-7"'}, 412, "generation-changed"),
        ({"if-match": '"5", "run-8"'}, 412, "generation-changed"),
        ({"if-match": "7"}, 422, "invalid-request"),
        ({"if-match": '*, "run-7"'}, 422, "invalid-request"),
        ({"if-match": ""}, 422, "invalid-request"),
    ],
)
async def test_without_the_right_tag_nothing_is_asked_for(http, behind, if_match, status, code):
    answer = await put(http, **if_match)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:fairlead:problem:{code}")
    assert behind.config.replaced == []


async def test_a_stale_tag_is_told_the_present_one(http):
    assert (await put(http, **{"if-match": '"run-6"'})).json()["tag"] == "run-7"


async def test_tags_on_several_lines(http, behind):
    lines = [("if-match", '"6"'), ("if-match", '"run-7"'), *JSON.items()]
    assert (await http.put("/api/fleet", content=DOCUMENT, headers=lines)).status_code == 200
    assert behind.config.replaced[0]["expected"] == "run-7"


async def test_of_two_changes_for_one_generation_the_second_is_too_late(http):
    answers = [await put(http, **{"if-match": '"run-7"'}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 412]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/yaml", "application/json-patch"])
async def test_a_spec_that_is_not_declared_as_json(http, behind, content_type):
    answer = await put(http, **{"if-match": "*", "content-type": content_type})
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:fairlead:problem:unsupported-media-type")
    assert behind.config.replaced == []


@pytest.mark.parametrize(
    "content",
    [
        b"", b"servers: {}", b"[]", b"null", b'"x"', b"{", b'{"a":NaN}', b'{"a":"\xff"}', b"{}{}",
        b'{"a":' + b"[" * 300 + b"]" * 300 + b"}",
    ],
)  # fmt: skip
async def test_what_is_no_json_object_is_not_passed_on(http, behind, content):
    answer = await put(http, content, **{"if-match": "*"})
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "body")
    assert behind.config.replaced == []


async def test_one_that_is_too_large_is_not_even_parsed(http, behind, monkeypatch):
    content = b'{"version": "1", "servers": {}, "metadata": {"x": "' + b"x" * MAX_BYTES + b'"}}'
    monkeypatch.setattr("msgspec.json.decode", lambda _: pytest.fail("it takes long"))
    answer = await put(http, content, **{"if-match": "*"})
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "body")
    assert f"at most {MAX_BYTES:,}" in answer.text
    assert behind.config.replaced == []


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("?dryRun=1", "query.dryRun"),
        ("?dryRun=", "query.dryRun"),
        ("?dryRun=true&dryRun=false", "query.dryRun"),
        ("?dryrun=true", "query.dryrun"),
        ("?dry_run=true", "query.dry_run"),
        ("?origin=git", "query.origin"),
        ("?origin=live&origin=gitops", "query.origin"),
    ],
)
async def test_parameters_that_cannot_be(http, behind, query, where):
    answer = await put(http, query=query, **{"if-match": "*"})
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, where)
    assert behind.config.replaced == []


async def test_all_that_is_wrong_in_a_spec_comes_back(http, behind):
    behind.config.problems = ["a:1:1: error: x", "a:2:1: error: y"]
    answer = await put(http, **{"if-match": "*"})
    assert (answer.status_code, answer.json()["problems"]) == (422, behind.config.problems)
    assert "etag" not in answer.headers


async def test_a_change_that_is_refused(http, behind):
    behind.config.refusal = problem("change-refused", 409, "filesystem: exited with code 1")
    answer = await put(http, **{"if-match": "*"})
    assert (answer.status_code, answer.json()["detail"]) == (409, "filesystem: exited with code 1")


@pytest.fixture
async def edited(behind):
    """Two live edits."""
    keys = ("servers", "magic", "strategy"), ("metadata", "a.b")
    await behind.config.edit([Edit(key, "weighted") for key in keys], by="ada")
    return behind.config


async def test_live_edits_are_shown(http, edited):
    shown = (await http.get("/api/fleet")).json()["overrides"]
    assert [(each["key"], each["by"]) for each in shown] == [
        ("servers.magic.strategy", "ada"),
        ('metadata."a.b"', "ada"),
    ]


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ([], []),
        (["servers.magic.strategy"], ['metadata."a.b"']),
        (['servers."magic".strategy'], ['metadata."a.b"']),
        (['metadata."a.b"', "servers.magic.strategy"], []),
    ],
)
async def test_taking_back_live_edits(http, edited, keys, left):
    answer = await http.delete("/api/fleet/overrides", params={"key": keys})
    assert (answer.status_code, answer.json()["generation"]) == (200, 9)
    assert list(edited.overrides) == left


async def test_taking_back_one_with_a_long_key(http, edited):
    await edited.edit([Edit(("metadata", "k" * 3000), "v")], by="ada")
    answer = await http.delete("/api/fleet/overrides", params={"key": "metadata." + "k" * 3000})
    assert answer.status_code == 200
    assert len(edited.overrides) == 2


async def test_taking_back_what_is_not_there(http, edited):
    answer = await http.delete("/api/fleet/overrides", params={"key": "servers.nope"})
    assert answer.status_code == 404
    assert len(edited.overrides) == 2


@pytest.mark.parametrize("key", ["", ".", "a..b", "a.", '"a', "a b", "x" * 4097, "é" * 4097])
async def test_keys_that_cannot_be(http, edited, key):
    answer = await http.delete("/api/fleet/overrides", params={"key": key})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["where"] == "query.key.0"
    assert "write it like" in error["how"] or "4096" in error["how"]
    assert len(edited.overrides) == 2


async def test_the_file_takes_the_spec_back(http, behind):
    behind.config.owner = Owner.GITOPS
    assert (await http.post("/api/fleet/release")).json()["generation"] == 8
    assert (await http.get("/api/fleet")).json()["owner"] == "file"


@pytest.mark.parametrize("path", ["", "/overrides", "/release"])
async def test_all_of_it_needs_a_token(stranger, path):
    for method in ("GET", "PUT", "DELETE", "POST"):
        assert (await stranger.request(method, f"/api/fleet{path}")).status_code == 401
