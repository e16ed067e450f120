"""The runner's own parts: the judgement of a run, the proxy, and the fixture in its eras."""

from __future__ import annotations

import asyncio
import json
import sys

import httpx
import mcp
import pytest
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

from conformance.backends import fixture_url
from conformance.cells import BEYOND, CELLS, ERA, NOT_EXPRESSIBLE
from conformance.official import TESTS, Complaint, complaints
from conformance.proxy import Proxy
from conformance.report import Outcome


class TestJudgement:
    def test_counts_what_did_not_end_and_leaves_out_what_is_excluded(self):
        found = {"a": [], "b": [Complaint("b", "check", "no")], "x": [Complaint("x", "check", "no")]}
        outcome = Outcome.judge(
            "cell", "r", found, required=("a", "b", "c", "x"), beyond=("a",), excluded={"x": "cannot"}
        )
        assert outcome.score(outcome.required) == "1/3"
        assert outcome.score(outcome.beyond) == "1/1"
        assert [(one.scenario, one.check) for one in outcome.failures] == [("b", "check"), ("c", "finished")]

    def test_reads_failures_and_warnings_of_each_scenario(self, tmp_path):
        checks = [
            {"id": "good", "status": "SUCCESS", "description": "d"},
            {"id": "bad", "status": "FAILURE", "description": "d", "errorMessage": "why"},
            {"id": "should", "status": "WARNING", "description": "d", "details": {"message": "perhaps"}},
            {"id": "other", "status": "SKIPPED", "description": "d"},
        ]
        for name, content in (("server-stateless", checks), ("sse-retry", [])):
            folder = tmp_path / f"server-{name}-2026-11-22T23-41-31-553Z"
            folder.mkdir()
            (folder / "checks.json").write_text(json.dumps(content))
        (tmp_path / "server-unfinished-2026-11-22T23-41-31-553Z").mkdir()
        (tmp_path / "output.txt").touch()
        assert complaints(tmp_path) == {
            "server-stateless": [
                Complaint("server-stateless", "bad", "why"),
                Complaint("server-stateless", "should", "perhaps"),
            ],
            "sse-retry": [],
        }

    def test_every_exclusion_belongs_to_a_cell(self):
        assert NOT_EXPRESSIBLE.keys() <= {(cell.revision, cell.era) for cell in CELLS}
        assert BEYOND.keys() == ERA.keys()


class TestProxy:
    async def test_adds_the_token_and_passes_the_rest(self):
        seen = []

        async def serve(reader, writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            seen.append((head, await reader.readexactly(4)))
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst")
            await writer.drain()
            await reader.read()  # until the client hangs up
            seen.append("hung up")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, Proxy("secret").listening() as proxy:
            proxy.target = server.sockets[0].getsockname()[1]
            headers = {"Connection": "keep-alive", "Origin": "http://evil.example.com"}
            url = f"http://127.0.0.1:{proxy.port}/mcp"
            async with (
                httpx.AsyncClient() as client,
                client.stream("POST", url, headers=headers, content=b"body") as answer,
            ):
                assert await anext(answer.aiter_text()) == "first"  # while the answer goes on
            while len(seen) < 2:
                await asyncio.sleep(0.01)
        head, body = seen[0]
        lines = head.lower().split("\r\n")
        assert lines[0] == "post /mcp http/1.1"
        assert {"authorization: bearer secret", "connection: close", "origin: http://evil.example.com"} <= {
            *lines
        }
        assert "connection: keep-alive" not in lines
        assert body == b"body"
        assert seen[1] == "hung up"


async def accept(_context, _params):
    return ElicitResult(action="accept", content={"name": "Ada"})


def over_stdio(era):
    arguments = ["-m", "conformance.fixture", "--era", era]
    return StdioServerParameters(command=sys.executable, args=arguments, env={"PYTHONPATH": str(TESTS)})


@pytest.mark.parametrize(
    ("era", "mode", "version"),
    [
        ("legacy", "auto", "2025-11-25"),
        ("modern", "auto", "2026-07-28"),
        ("both", "auto", "2026-07-28"),
        ("both", "legacy", "2025-11-25"),
    ],
)
class TestFixture:
    """It is of its era, and asks its client in the way of the era that is spoken."""

    async def test_over_stdio(self, era, mode, version):
        await self.greet(over_stdio(era), mode, version)

    async def test_over_http(self, era, mode, version):
        async with fixture_url(era) as url:
            await self.greet(url, mode, version)

    async def greet(self, server, mode, version):
        async with mcp.Client(server, mode=mode, elicitation_callback=accept) as client:
            assert client.protocol_version == version
            answer = await client.call_tool("test_input_required_result_elicitation", {})
            assert answer.content[0].text == "Hello, Ada!"


@pytest.mark.parametrize(
    ("era", "mode", "says"), [("legacy", "2026-07-28", -32602), ("modern", "legacy", -32601)]
)
async def test_the_fixture_refuses_the_other_era(era, mode, says):
    refusal = pytest.RaisesExc(MCPError, check=lambda error: error.error.code == says)
    with pytest.RaisesGroup(refusal, flatten_subgroups=True):
        async with mcp.Client(over_stdio(era), mode=mode) as client:
            await client.list_tools()
