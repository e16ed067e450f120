"""The official suite's scenarios of the tasks extension, through the gateway to a server over stdio.

The suite runs them only when asked for each by name; the official SDK has no such server.
"""

from __future__ import annotations

import pytest

from conformance.official import RESULTS, Suite, complaints
from conformance.proxy import Proxy
from integration.test_tasks import jobs
from support.stack import TOKEN, running

pytestmark = pytest.mark.e2e
SCENARIOS = (
    "tasks-capability-negotiation",
    "tasks-dispatch-and-envelope",
    "tasks-lifecycle",
    "tasks-mrtr-composition",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-request-state-removal",
    "tasks-required-task-error",
    "tasks-wire-fields",
)


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite.installed()


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_suite_has_nothing_to_complain_of(tmp_path, suite, scenario):
    results = RESULTS / "tasks" / scenario
    async with Proxy(TOKEN).listening() as proxy:
        settings = {"allowed_hosts": (f"127.0.0.1:{proxy.port}",)}
        async with running(tmp_path, {"jobs": jobs()}, settings=settings) as stack:
            proxy.target = stack.port
            url = f"http://127.0.0.1:{proxy.port}/servers/jobs/mcp"
            asked = [
                "server",
                "--url",
                url,
                "--scenario",
                scenario,
                "--spec-version",
                "2026-07-28",
                "--force",
            ]
            code = await suite.run(asked, results)
    assert (code, complaints(results)) == (0, {scenario: []})
