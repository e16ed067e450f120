"""Every official SDK, in each of its modes, does its day's work through the merged endpoint."""

from __future__ import annotations

import json
import re
from uuid import uuid4

import pytest

from e2e.programs import FLAVOURS, MODERN, Connect, Connection, Flavour, StepError
from e2e.system import System, wait_until

LONG = "everything__trigger-long-running-operation"
THINK = "sequential__sequentialthinking"


def test_the_era_is_the_one_that_the_client_wants(client: Connection, flavour: Flavour):
    if flavour.modern:
        assert client.seen["version"] == MODERN
    else:
        assert client.seen["version"] == "2025-11-25"
        assert client.seen["server"]["name"] == "fairlead"
        assert {"tools", "prompts", "resources", "completions"} <= client.seen["capabilities"].keys()


def test_all_tools_of_all_servers_are_listed(client: Connection):
    tools = client("list", what="tools")
    names = [tool["name"] for tool in tools]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) for name in names)
    assert all(tool["inputSchema"]["type"] == "object" for tool in tools)
    counts = {}
    for name in names:
        server = name.partition("__")[0]
        counts[server] = counts.get(server, 0) + 1
    assert counts == {"context7": 2, "everything": 13, "filesystem": 14, "sequential": 1}
    assert {"filesystem__read_text_file", "filesystem__write_file", THINK, LONG, "everything__echo"} <= set(
        names
    )


def test_a_file_is_written_and_read_back(client: Connection, fleet: System):
    path = fleet.state / "workspace" / f"{uuid4()}.txt"
    content = 'first "line"\nzweite Zeile: 조타 \U0001f6a2\n'
    client.text("filesystem__write_file", path=str(path), content=content)
    assert path.read_text() == content
    assert client.text("filesystem__read_text_file", path=str(path)) == content


def test_a_file_outside_the_workspace_is_refused_by_the_server(client: Connection, fleet: System):
    result = client.call("filesystem__read_text_file", path=str(fleet.state / "tokens.json"))
    assert result["isError"]
    assert "Access denied" in result["content"][0]["text"]


def think(connection: Connection, number: int) -> int:
    """Have a thought; how many the server remembers then."""
    text = connection.text(
        THINK,
        thought=f"thought {number}",
        thoughtNumber=number,
        totalThoughts=3,
        nextThoughtNeeded=number < 3,
    )
    return json.loads(text)["thoughtHistoryLength"]


def test_thoughts_stay_with_whoever_had_them(connect: Connect, flavour: Flavour, fleet: System):
    """Legacy: with the session. Modern, which has none: with the token, over all connections."""
    alice, bob = fleet.token("alice"), fleet.token("bob")
    mine = connect(flavour, fleet, token=alice)
    before = think(mine, 1)
    other = connect(flavour, fleet, token=bob if flavour.modern else alice)
    others_before = think(other, 1)
    assert [think(mine, 2), think(mine, 3)] == [before + 1, before + 2]
    assert think(other, 2) == others_before + 1
    if flavour.modern:
        assert think(connect(flavour, fleet, token=alice), 4) == before + 3
    else:
        assert before == others_before == 1


def test_an_instance_that_holds_state_ends_with_its_session(connect: Connect, fleet: System):
    """More sessions, one after the other, than the server may have instances."""
    for _ in range(6):
        session = connect(FLAVOURS[0], fleet, token=fleet.token("alice"))
        assert think(session, 1) == 1
        session.close()


def test_an_echo_comes_back_unchanged(client: Connection):
    message = 'a "quoted" \\ back\nslash, 조타, \u2028, \U0001f6a2'
    assert client.text("everything__echo", message=message) == f"Echo: {message}"


def test_a_modern_server_is_spoken_to_in_its_own_era(client: Connection, fleet: System):
    """Wrong arguments, so that the server answers by itself and asks nothing of the network."""
    assert {one["protocolVersion"] for one in fleet.server("context7")["instances"]} == {MODERN}
    result = client.call("context7__resolve-library-id", libraryName=7)
    assert result["isError"]
    assert "libraryName" in result["content"][0]["text"]


def test_megabytes_come_back_unchanged(client: Connection):
    message = "0123456789abcdef" * 2**17
    assert client.text("everything__echo", message=message) == f"Echo: {message}"


def test_structured_content_comes_through(client: Connection):
    result = client.call("everything__get-structured-content", location="Chicago")
    assert result["structuredContent"].keys() == {"temperature", "conditions", "humidity"}


def test_an_image_comes_through(client: Connection):
    result = client.call("everything__get-tiny-image")
    (image,) = [block for block in result["content"] if block["type"] == "image"]
    assert image["data"].startswith("iVBORw0KGgo")


def test_progress_is_heard_while_a_call_runs(client: Connection):
    result = client.call(LONG, duration=0.3, steps=3)
    assert "completed" in result["content"][0]["text"]
    assert result["progress"] == [[1, 3], [2, 3], [3, 3]]


def test_progress_of_two_clients_is_not_mixed_up(connect: Connect, flavour: Flavour, fleet: System):
    """Both sessions number their requests alike, on one instance."""
    first, second = connect(flavour, fleet), connect(flavour, fleet)
    slow = first.start("call", name=LONG, arguments={"duration": 0.6, "steps": 3})
    quick = second.start("call", name=LONG, arguments={"duration": 0.6, "steps": 6})
    assert second.wait(quick)["progress"] == [[step, 6] for step in range(1, 7)]
    assert first.wait(slow)["progress"] == [[step, 3] for step in range(1, 4)]


def test_a_cancelled_call_is_cancelled_upstream(client: Connection, fleet: System):
    number = client.start("call", name=LONG, arguments={"duration": 60, "steps": 600}, cancel_after=2)
    assert client.wait(number) == {"cancelled": True, "progress": [[1, 600], [2, 600]]}
    wait_until(
        lambda: all(one["callsInFlight"] == 0 for one in fleet.server("everything")["instances"]),
        "the cancelled call is no longer in flight",
    )
    assert client.text("everything__get-sum", a=2, b=3) == "The sum of 2 and 3 is 5."


def test_calls_of_one_connection_run_side_by_side(client: Connection):
    slow = client.start("call", name=LONG, arguments={"duration": 1, "steps": 2})
    echoes = [client.start("call", name="everything__echo", arguments={"message": str(n)}) for n in range(20)]
    texts = [client.wait(number)["content"][0]["text"] for number in echoes]
    assert texts == [f"Echo: {n}" for n in range(20)]
    assert client.wait(slow)["progress"] == [[1, 2], [2, 2]]


def test_every_listed_resource_can_be_read(client: Connection):
    resources = client("list", what="resources")
    assert len({resource["uri"] for resource in resources}) == len(resources)
    by_name = {resource["name"]: resource["uri"] for resource in resources}
    assert {"architecture.md", "features.md", "instructions.md"} <= by_name.keys()
    for name in ("architecture.md", "features.md"):
        (content,) = client("read", uri=by_name[name])["contents"]
        assert content["uri"] == by_name[name]
        assert content["text"].startswith("# Everything Server")


def test_resources_of_a_template_can_be_read(client: Connection):
    templates = {one["name"]: one["uriTemplate"] for one in client("list", what="templates")}
    uri = templates["Dynamic Text Resource"].replace("{resourceId}", "7")
    (content,) = client("read", uri=uri)["contents"]
    assert content["uri"] == uri
    assert content["text"].startswith("Resource 7: ")


def test_resources_in_a_tools_answer_can_be_read(client: Connection):
    linked = client.call("everything__get-resource-links", count=2)["content"]
    embedded = client.call("everything__get-resource-reference", resourceType="Text", resourceId=5)["content"]
    uris = [block["uri"] for block in linked if block["type"] == "resource_link"]
    uris += [block["resource"]["uri"] for block in embedded if block["type"] == "resource"]
    assert len(uris) == 3
    for uri in uris:
        (content,) = client("read", uri=uri)["contents"]
        assert content["uri"] == uri


def test_prompts_are_listed_and_got(client: Connection):
    names = {prompt["name"] for prompt in client("list", what="prompts")}
    assert {f"everything__{name}-prompt" for name in ("simple", "args", "completable", "resource")} <= names
    got = client("prompt", name="everything__args-prompt", arguments={"city": "Busan", "state": "KR"})
    assert got["messages"][0]["content"]["text"] == "What's weather in Busan, KR?"
    got = client(
        "prompt", name="everything__resource-prompt", arguments={"resourceType": "Text", "resourceId": "3"}
    )
    uri = got["messages"][1]["content"]["resource"]["uri"]
    assert client("read", uri=uri)["contents"][0]["uri"] == uri


def test_arguments_are_completed(client: Connection):
    prompt = {"type": "ref/prompt", "name": "everything__completable-prompt"}
    assert client("complete", ref=prompt, argument={"name": "department", "value": "S"}) == [
        "Sales",
        "Support",
    ]
    value = {"name": "name", "value": ""}
    assert client("complete", ref=prompt, argument=value, context={"department": "Sales"}) == [
        "David",
        "Eve",
        "Frank",
    ]
    templates = {one["name"]: one["uriTemplate"] for one in client("list", what="templates")}
    template = {"type": "ref/resource", "uri": templates["Dynamic Text Resource"]}
    assert client("complete", ref=template, argument={"name": "resourceId", "value": "12"}) == ["12"]


@pytest.mark.parametrize("name", ["nonesuch", "everything__nonesuch", "nonesuch__echo", "echo"])
def test_an_unknown_tool_is_an_error(client: Connection, name: str):
    try:
        result = client.call(name)
    except StepError as error:
        assert error.code == -32602  # noqa: PT017 - the server itself may also answer with a result
    else:
        assert result["isError"]
        assert name == "everything__nonesuch", "only a server's own answer may be a result"


def test_an_unknown_resource_and_prompt_are_errors(client: Connection):
    with pytest.raises(StepError) as error:
        client("read", uri="demo://resource/dynamic/text/1")  # a server's own URI is not the gateway's
    assert error.value.code == -32602
    with pytest.raises(StepError) as error:
        client("prompt", name="everything__nonesuch")
    assert error.value.code == -32602


def test_wrong_arguments_are_the_servers_to_refuse(client: Connection):
    result = client.call("everything__get-sum", a="two")
    assert result["isError"]
    assert "-32602" in result["content"][0]["text"]


def test_ping_belongs_to_the_legacy_era(client: Connection, flavour: Flavour):
    if not flavour.modern:
        assert client("ping").get("content") is None
        return
    with pytest.raises(StepError) as error:
        client("ping")
    assert error.value.code in (-32601, "METHOD_NOT_SUPPORTED_BY_PROTOCOL_VERSION")


def test_a_change_of_a_servers_list_is_told(client: Connection):
    client("listen")
    name = f"{uuid4()}.gz"
    content = client.call("everything__gzip-file-as-resource", name=name, data="data:text/plain,hello")[
        "content"
    ]
    client("told", method="notifications/resources/list_changed")
    by_name = {resource["name"]: resource["uri"] for resource in client("list", what="resources")}
    assert content[0]["uri"] == by_name[name]
    assert client("read", uri=by_name[name])["contents"][0]["blob"].startswith("H4sI")
