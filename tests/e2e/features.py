"""What the matrix test does with each server, feature by feature: `FEATURES[server][feature]` is a step.

A step asks a server for one thing through the gateway and checks the answer. Where a server asks the client
for something, the client's name must come back in the answer: another client's would show.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from uuid import uuid4

import pytest

from e2e.programs import MODERN, Connection, Flavour, StepError, Steps
from e2e.system import System, wait_until

LEGACY = "2025-11-25"
SESSIONS = ("everything-session", "everything-http-session")
EVERYTHING = ("everything", "everything-http", "everything-sse", *SESSIONS)
LONG = "trigger-long-running-operation"
TEXT = "demo://resource/dynamic/text/{resourceId}"


class Open(Protocol):
    def __call__(self, *, path: str, answers_as: str | None) -> Steps: ...


@dataclass
class Case:
    """A client that meets a server, alone at `/servers/{id}/mcp` or among the others at `/mcp`."""

    client: Flavour
    server: str
    fleet: System
    open: Open
    merged: bool = False

    @property
    def name(self) -> str:
        """In which the client answers what the server asks."""
        return f"{self.client}-{self.server}"

    @property
    def path(self) -> str:
        return "/mcp" if self.merged else f"/servers/{self.server}/mcp"

    @cached_property
    def connection(self) -> Steps:
        """Opened by the first step that needs it; a failure to is each one's failure."""
        return self.open(path=self.path, answers_as=self.name)

    @cached_property
    def steps(self) -> Connection:
        """The same, for steps that only a running client can take."""
        assert isinstance(self.connection, Connection)
        return self.connection

    def tool(self, name: str) -> str:
        return f"{self.server}__{name}" if self.merged else name

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        return self.connection.call(self.tool(name), **arguments)

    def text(self, name: str, /, **arguments: Any) -> str:
        return self.connection.text(self.tool(name), **arguments)

    def refused(self, name: str, /, **arguments: Any) -> str:
        """What the server says of a call that it must refuse."""
        result = self.call(name, **arguments)
        assert result["isError"], result
        return result["content"][0]["text"]


Step = Callable[[Case], None]
FEATURES: dict[str, dict[str, Step]] = {
    "filesystem": {},
    **{name: {} for name in EVERYTHING},
    "context7": {},
    "dev-tools": {},
    "time": {},
}
SERVER_VERSIONS = {
    "filesystem": LEGACY,
    **dict.fromkeys(EVERYTHING, LEGACY),
    "context7": MODERN,
    "dev-tools": MODERN,
    "time": MODERN,
}
FILE_TOOLS = {
    "create_directory",
    "directory_tree",
    "edit_file",
    "get_file_info",
    "list_allowed_directories",
    "list_directory",
    "list_directory_with_sizes",
    "move_file",
    "read_file",
    "read_media_file",
    "read_multiple_files",
    "read_text_file",
    "search_files",
    "write_file",
}
EVERYTHING_TOOLS = {
    "echo",
    "get-annotated-message",
    "get-env",
    "get-resource-links",
    "get-resource-reference",
    "get-roots-list",
    "get-structured-content",
    "get-sum",
    "get-tiny-image",
    "gzip-file-as-resource",
    "simulate-research-query",
    "toggle-simulated-logging",
    "toggle-subscriber-updates",
    LONG,
}
ASKING_TOOLS = {"trigger-sampling-request", "trigger-elicitation-request", "trigger-url-elicitation"}
GIT_TOOLS = {
    f"git_{name}"
    for name in (
        *("add", "branch", "checkout", "commit", "create_branch", "diff"),
        *("diff_staged", "diff_unstaged", "log", "reset", "show", "status"),
    )
}
TOOLS = {
    "filesystem": FILE_TOOLS,
    **dict.fromkeys(EVERYTHING, EVERYTHING_TOOLS),
    "context7": {"resolve-library-id", "query-docs"},
    "dev-tools": GIT_TOOLS,
    "time": {"get_current_time", "convert_time"},
}


def feature(name: str, *servers: str) -> Callable[[Step], Step]:
    """What this step does is a feature of these servers, by default of all."""

    def add(step: Step) -> Step:
        for server in servers or FEATURES:
            FEATURES[server][name] = step
        return step

    return add


@feature("connection")
def connects(case: Case) -> None:
    """In the era that the client wants, to a server in the era that it has."""
    assert case.connection.seen["version"] == (MODERN if case.client.modern else LEGACY)
    assert "tools" in case.connection.seen["capabilities"] or case.client.mode == MODERN  # it did not ask
    instances = case.fleet.server(case.server)["instances"]
    versions = {one["protocolVersion"] for one in instances if one["state"] == "ready"}
    assert versions <= {SERVER_VERSIONS[case.server]}


def expected_tools(case: Case) -> set[str]:
    """`everything` offers what the client can answer to."""
    asking = case.server in EVERYTHING and case.client.program != "inspector"
    return TOOLS[case.server] | (ASKING_TOOLS if asking else set())


@feature("tools")
def lists_tools(case: Case) -> None:
    names = [tool["name"] for tool in case.connection("list", what="tools")]
    assert sorted(names) == sorted(expected_tools(case))


@feature("call", "filesystem")
def writes_and_reads(case: Case) -> None:
    path = case.fleet.state / "workspace" / f"{uuid4()}.txt"
    content = f'first "line"\nzweite Zeile: 조타 \U0001f6a2 {case.name}\n'
    case.text("write_file", path=str(path), content=content)
    assert path.read_text() == content
    result = case.call("read_text_file", path=str(path))
    assert result["content"][0]["text"] == result["structuredContent"]["content"] == content


@feature("refusal", "filesystem")
def stays_in_the_workspace(case: Case) -> None:
    assert "Access denied" in case.refused("read_text_file", path=str(case.fleet.state / "tokens.json"))


@feature("call", "everything")
def echoes(case: Case) -> None:
    message = f'a "quoted" \\ back\nslash, 조타, \u2028, \U0001f6a2, {uuid4()}'
    assert case.text("echo", message=message) == f"Echo: {message}"


@feature("refusal", "everything")
def refuses_wrong_arguments(case: Case) -> None:
    assert "-32602" in case.refused("get-sum", a="two", b=2)


@feature("structured content", "everything")
def structures(case: Case) -> None:
    result = case.call("get-structured-content", location="Chicago")
    assert result["structuredContent"].keys() == {"temperature", "conditions", "humidity"}
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


@feature("rich content", "everything")
def answers_with_blocks(case: Case) -> None:
    """An image; links and embedded resources, which can be read."""
    (image,) = [one for one in case.call("get-tiny-image")["content"] if one["type"] == "image"]
    assert image["data"].startswith("iVBORw0KGgo")
    links = [one for one in case.call("get-resource-links", count=1)["content"] if "uri" in one]
    embedded = case.call("get-resource-reference", resourceType="Text", resourceId=5)["content"]
    uris = [links[0]["uri"], *(one["resource"]["uri"] for one in embedded if one["type"] == "resource")]
    assert len(uris) == 2
    for uri in uris:
        (content,) = case.connection("read", uri=uri)["contents"]
        assert content["uri"] == uri


@feature("roots", *EVERYTHING)
def knows_roots(case: Case) -> None:
    """Early: the server asks for them by itself when it has run for a moment, unless it knows them."""
    told = case.text("get-roots-list")
    assert "(1 total)" in told
    assert f"1. {case.name}\n   URI: file:///roots/{case.name}\n" in told


@feature("progress", *EVERYTHING)
def tells_progress(case: Case) -> None:
    result = case.call(LONG, duration=0.15, steps=3)
    assert "completed" in result["content"][0]["text"]
    assert result["progress"] == [[1, 3], [2, 3], [3, 3]]


@feature("cancelling", *EVERYTHING)
def cancels(case: Case) -> None:
    arguments = {"duration": 60, "steps": 1200}
    ended = case.connection("call", name=LONG, arguments=arguments, cancel_after=2)
    assert ended["cancelled"]
    assert ended["progress"][:2] == [[1, 1200], [2, 1200]]  # one more may come at the same moment
    wait_until(
        lambda: not any(one["callsInFlight"] for one in case.fleet.server(case.server)["instances"]),
        "the cancelled call is no longer in flight",
    )
    assert case.text("get-sum", a=2, b=3) == "The sum of 2 and 3 is 5."


def sampled(result: dict[str, Any]) -> tuple[str, str]:
    """Of a sampling tool's result: the model, and what it said."""
    answer = json.loads(result["content"][0]["text"].partition("\n")[2])
    return answer["model"], answer["content"]["text"]


@feature("sampling", *EVERYTHING)
def samples(case: Case) -> None:
    """Two calls at a time: each one's question is answered to it."""
    prompts = [f"{uuid4()}" for _ in range(2)]
    numbers = [
        case.steps.start("call", name=case.tool("trigger-sampling-request"), arguments={"prompt": prompt})
        for prompt in prompts
    ]
    for number, prompt in zip(numbers, prompts, strict=True):
        heard = f"{case.name} heard: Resource trigger-sampling-request context: {prompt}"
        assert sampled(case.steps.wait(number)) == (case.name, heard)


@feature("elicitation", *EVERYTHING)
def elicits(case: Case) -> None:
    content = case.call("trigger-elicitation-request")["content"]
    raw = json.loads(content[-1]["text"].partition("Raw result: ")[2])
    assert raw == {"action": "accept", "content": {"name": case.name, "check": True, "integer": 7}}


@feature("elicitation of a URL", *EVERYTHING)
def elicits_a_url(case: Case) -> None:
    number, url = f"{uuid4()}", "https://example.org/"
    told = case.text("trigger-url-elicitation", url=f"{url}accept", elicitationId=number)
    assert "User completed" in told
    assert number in told
    told = case.text("trigger-url-elicitation", url=f"{url}decline", elicitationId=number)
    assert "User declined" in told


@feature("resources", "everything")
def reads_resources(case: Case) -> None:
    uris = {one["name"]: one["uri"] for one in case.connection("list", what="resources")}
    assert {"architecture.md", "features.md", "instructions.md"} <= uris.keys()
    (content,) = case.connection("read", uri=uris["features.md"])["contents"]
    assert content["uri"] == uris["features.md"] == "demo://resource/static/document/features.md"
    assert content["text"].startswith("# Everything Server")
    with pytest.raises(StepError, match="not found"):
        case.connection("read", uri="demo://resource/nonesuch")


@feature("resource templates", "everything")
def reads_from_a_template(case: Case) -> None:
    templates = {one["name"]: one["uriTemplate"] for one in case.connection("list", what="templates")}
    assert templates["Dynamic Text Resource"] == TEXT
    (content,) = case.connection("read", uri=TEXT.replace("{resourceId}", "7"))["contents"]
    assert content["text"].startswith("Resource 7: ")


@feature("prompts", "everything")
def gets_prompts(case: Case) -> None:
    names = {prompt["name"] for prompt in case.connection("list", what="prompts")}
    assert names == {f"{name}-prompt" for name in ("simple", "args", "completable", "resource")}
    got = case.connection("prompt", name="args-prompt", arguments={"city": "Busan", "state": "KR"})
    assert got["messages"][0]["content"]["text"] == "What's weather in Busan, KR?"


@feature("completion", "everything")
def completes(case: Case) -> None:
    prompt = {"type": "ref/prompt", "name": "completable-prompt"}
    argument = {"name": "department", "value": "S"}
    assert case.connection("complete", ref=prompt, argument=argument) == ["Sales", "Support"]
    argument, context = {"name": "name", "value": ""}, {"department": "Sales"}
    values = case.connection("complete", ref=prompt, argument=argument, context=context)
    assert values == ["David", "Eve", "Frank"]
    template, argument = {"type": "ref/resource", "uri": TEXT}, {"name": "resourceId", "value": "12"}
    assert case.connection("complete", ref=template, argument=argument) == ["12"]


@feature("list changes", *EVERYTHING)
def hears_of_list_changes(case: Case) -> None:
    """An instance that others share knows what was made with it, if there is but one: for those who answer
    nothing."""
    own = case.server in SESSIONS
    connection = case.connection if own else case.open(path=case.path, answers_as=None)
    connection("listen")
    name = f"{uuid4()}.gz"
    (link,) = connection.call("gzip-file-as-resource", name=name, data="data:text/plain,hello")["content"]
    uris: dict[str, str] = {}
    while name not in uris:  # other changes are told, too
        connection("told", method="notifications/resources/list_changed")
        uris = {one["name"]: one["uri"] for one in connection("list", what="resources")}
    assert uris[name] == link["uri"]
    assert connection("read", uri=link["uri"])["contents"][0]["blob"].startswith("H4sI")


def hear(case: Case, method: str, expected: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The params of all notifications of a method, until one is as expected."""
    heard: list[dict[str, Any]] = []
    while not any(expected(params) for params in heard):
        told = case.connection("told", method=method)
        heard += [one["params"] for one in told if one["method"] == method]
    return heard


@feature("log messages", *SESSIONS)
def hears_log_messages(case: Case) -> None:
    """The server logs once at once when it is told to begin, with any level."""
    case.connection("log_level", level="debug")
    assert "Started" in case.text("toggle-simulated-logging")
    hear(case, "notifications/message", lambda params: "level" in params["data"])
    assert "Stopped" in case.text("toggle-simulated-logging")


@feature("subscription", *SESSIONS)
def hears_of_updates(case: Case) -> None:
    """The server tells updates of what is subscribed, at once when it is told to begin."""
    first, second = (TEXT.replace("{resourceId}", number) for number in ("1", "2"))
    case.connection("listen")
    case.connection("subscribe", uri=first)
    assert "Started" in case.text("toggle-subscriber-updates")
    hear(case, "notifications/resources/updated", lambda params: params["uri"] == first)
    assert "Stopped" in case.text("toggle-subscriber-updates")
    case.connection("unsubscribe", uri=first)
    case.connection("subscribe", uri=second)
    assert "Started" in case.text("toggle-subscriber-updates")
    heard = hear(case, "notifications/resources/updated", lambda params: params["uri"] == second)
    assert {params["uri"] for params in heard} == {second}
    assert "Stopped" in case.text("toggle-subscriber-updates")
    case.connection("unsubscribe", uri=second)


@feature("ping", "everything")
def pings(case: Case) -> None:
    assert case.connection("ping").get("content") is None


@feature("call", "context7")
def hears_that_nothing_listens(case: Case) -> None:
    told = case.text("resolve-library-id", libraryName="react", query="hooks")
    assert told.startswith("Error searching libraries")


@feature("refusal", "context7")
def needs_its_arguments(case: Case) -> None:
    assert "Input validation error" in case.refused("resolve-library-id", libraryName="react")


@feature("call", "dev-tools")
def tells_of_a_repository(case: Case) -> None:
    repository = case.fleet.environment["SCRATCH_REPOSITORY"]
    status = case.text("git_status", repo_path=repository)
    assert "On branch main" in status
    assert "untracked.txt" in status
    log = case.text("git_log", repo_path=repository, max_count=1)
    assert "Message: The first commit" in log


@feature("refusal", "dev-tools")
def stays_in_its_repository(case: Case) -> None:
    told = case.refused("git_status", repo_path=str(case.fleet.state))
    assert "outside the allowed repository" in told


@feature("call", "time")
def converts(case: Case) -> None:
    asked = {"source_timezone": "Asia/Seoul", "time": "16:30", "target_timezone": "UTC"}
    result = case.call("convert_time", **asked)
    assert result["structuredContent"] == json.loads(result["content"][0]["text"])
    assert result["structuredContent"]["time_difference"] == "-9.0h"
    assert "T07:30:00+00:00" in result["structuredContent"]["target"]["datetime"]


@feature("refusal", "time")
def knows_its_zones(case: Case) -> None:
    asked = {"source_timezone": "Nowhere/Never", "time": "16:30", "target_timezone": "UTC"}
    assert "Invalid timezone" in case.refused("convert_time", **asked)


@feature("through /mcp", "filesystem", "everything", "context7", "dev-tools", "time")
def among_the_others(case: Case) -> None:
    """All servers' tools are there, each under its server's name; one call does the same, and one that asks
    its client for something."""
    merged = Case(case.client, case.server, case.fleet, case.open, merged=True)
    names = {tool["name"] for tool in merged.connection("list", what="tools")}
    assert {name for name in names if name.startswith(f"{case.server}__")} == {
        merged.tool(name) for name in expected_tools(case)
    }
    assert {name.partition("__")[0] for name in names} == FEATURES.keys()
    FEATURES[case.server]["call"](merged)
    if ASKING_TOOLS & expected_tools(case):
        samples(merged)
