"""A gateway between servers that ask and clients that are asked, and a record of who said what to whom.

Every call carries a token that names its conversation: `owner#number`, where the owner is a session or, of a
modern client, a principal. Servers put the token into whatever they say about a call, clients put their own
name into what they answer; so whoever gets something sees whether it is meant for them. What is wrong is
noted in `faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from fairlead.core.lifecycle import ENDED, InstanceState
from fairlead.mcp.eras import META_CAPABILITIES, META_VERSION
from fairlead.model.access import Caller, Role
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import (
    FleetSpec,
    RateLimiting,
    ResourceLimits,
    Scaling,
    Security,
    ServerSpec,
    Timeouts,
)
from fairlead.orchestrator.gateway.lane import Lane
from fairlead.orchestrator.members import is_hung
from fairlead.orchestrator.pool import ServerPool
from support.http_answers import Answer, read_answer
from support.lane_rig import Rig, Wire, lane_rig, request
from support.scripted import INFO, ScriptedDriver, ScriptedLink, answer, refuse

CALL, ANSWER = 60.0, 120.0  # s
IDLE = 300.0  # s until a session expires
ASKING = {"client_requests": ["sampling", "elicitation", "roots"]}
SPECS: dict[str, dict[str, Any]] = {
    "old": ASKING | {"scaling": Scaling(min_instances=1, max_instances=3)},
    "own": ASKING | {"scaling": Scaling(min_instances=1, max_instances=3), "sharing": "session"},
    "web": ASKING
    | {
        "scaling": Scaling(min_instances=1, max_instances=2),
        "command": None,
        "url": "http://127.0.0.1:1/mcp",
    },
    "new": {"scaling": Scaling(min_instances=1, max_instances=2)},
}
METHODS = {"sampling": "sampling/createMessage", "elicitation": "elicitation/create", "roots": "roots/list"}
ABLE: list[dict[str, Any]] = [
    {"sampling": {}, "elicitation": {}},
    {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}},
    {"elicitation": {}},
    {},
]
TOOLS = [
    {"name": "work", "inputSchema": {}},
    {"name": "look", "inputSchema": {}, "annotations": {"readOnlyHint": True}},  # may be done again elsewhere
]
PRINCIPALS = {"flt_of-ada": "ada", "flt_of-bob": "bob"}
HINTS = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


def owner_of(token: str) -> str:
    return token.partition("#")[0]


@dataclass
class Work:
    """A call as its server sees it."""

    number: int
    token: str
    client: dict[str, Any]  # what can be asked of its client
    wants_progress: Any = None
    rounds: int = 0


class Server:
    """One process of a server, or one of its HTTP sessions: the script of a link."""

    def __init__(self, world: World, link: ScriptedLink) -> None:
        self.world = world
        self.link = link
        self.instance: Any = link.listener
        self.name: str = self.instance.key.server
        self.modern = self.name == "new"
        self.told: dict[str, Any] = {}  # what it may ask, as `initialize` said
        self.working: dict[int, Work] = {}
        self.given_up: list[Work] = []  # calls that it was told to give up
        self.asked: dict[Any, Work] = {}  # its open questions
        self.owners: set[str] = set()
        self.stood_aside = False  # a call of it waited for its client, and another one took its place

    def __repr__(self) -> str:
        return f"<Server {self.instance.id} working={list(self.working.values())} asked={list(self.asked)}>"

    @property
    def speaks(self) -> bool:
        return not self.link.lost and not self.link._hangs and self.instance.state not in ENDED

    def __call__(self, message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        method = message.get("method")
        if method is None:
            self._heard(message)
            return []
        if "id" not in message:
            if method == "notifications/cancelled":
                work = self.working.pop(message["params"]["requestId"], None)
                self.given_up += [] if work is None else [work]
            return []
        if method == "tools/call":
            self._call(message)
            return []
        capabilities = {"tools": {}, "logging": {}}
        if method == "initialize" and not self.modern:
            self.told = message["params"]["capabilities"]
            return [answer(message, protocolVersion="2025-11-25", capabilities=capabilities, serverInfo=INFO)]
        if method == "server/discover" and self.modern:
            return [answer(message, supportedVersions=["2026-07-28"], capabilities=capabilities, **HINTS)]
        if method == "tools/list":
            return [answer(message, tools=TOOLS, **(HINTS if self.modern else {}))]
        if method in ("ping", "logging/setLevel"):
            return [answer(message)]
        return [refuse(message, -32601)]

    def _fault(self, what: str) -> None:
        self.world.faults.append(f"{self.instance.id}: {what}")

    # -- calls ---------------------------------------------------------------------------------------------

    def _call(self, message: dict[str, Any]) -> None:
        params = message["params"]
        token, meta = params["arguments"]["token"], params.get("_meta", {})
        client = meta.get(META_CAPABILITIES, {}) if self.modern else self.told
        work = Work(message["id"], token, client, meta.get("progressToken"))
        if self.instance.alone and (self.working or (self.given_up and self.name != "own")) and self.told:
            self._fault(f"{token} came while it worked on {self}")
        self.owners.add(owner_of(token))
        if len(self.owners) > 1 and (self.name == "own" or "roots" in self.told):
            self._fault(f"shared by {self.owners}")
        if "requestState" in params:
            said, _, rounds = params["requestState"].rpartition("/")
            work.rounds = int(rounds)
            if said != token:
                self._fault(f"{token} came back with the state of {said}")
        for key, said in params.get("inputResponses", {}).items():
            self._check(said, token, f"{token}?{key}")
        self.working[work.number] = work

    def finish(self, work: Work, *, error: bool = False, url: bool = False) -> None:
        """With a result, an error, or the wish that a URL is visited first."""
        del self.working[work.number]
        base = {"jsonrpc": "2.0", "id": work.number}
        if url:
            visit = {"token": work.token, "q": f"{work.token}?elicitation-1", "url": "https://x"}
            error_object = {"code": -32042, "message": work.token, "data": {"elicitations": [visit]}}
            self._say({**base, "error": error_object})
        elif error:
            self._say({**base, "error": {"code": -32050, "message": work.token}})
        else:
            result = {"content": [{"type": "text", "text": work.token}]}
            self._say({**base, "result": result | ({"resultType": "complete"} if self.modern else {})})

    def tell(self, work: Work, *, progress: bool) -> None:
        """About one of its calls: how far it is, or a message."""
        if progress and work.wants_progress is None:
            return
        if progress:
            about: Any = {
                "progressToken": work.wants_progress,
                "progress": work.rounds,
                "message": work.token,
            }
            work.rounds += 1
        else:
            about = {"level": "error", "data": work.token}
        method = "notifications/progress" if progress else "notifications/message"
        self._say({"jsonrpc": "2.0", "method": method, "params": about}, work)

    def _say(self, message: dict[str, Any], work: Work | None = None) -> None:
        origin = work.number if work is not None and self.name == "web" else None
        self.instance.frame_received(json.dumps(message).encode(), origin)

    # -- questions -----------------------------------------------------------------------------------------

    def ask(self, work: Work, kinds: list[str]) -> None:
        """Something, or several things at once, about one of its calls (which may have been given up)."""
        if self.modern:
            kinds = [kind for kind in kinds if kind in work.client]
            if work.number in self.working and kinds:
                self._require(work, kinds)
            return
        for kind in kinds:
            number = next(self.world.numbers)
            self.asked[number] = work
            params = {"token": work.token, "q": number}
            message = {"jsonrpc": "2.0", "id": number, "method": METHODS[kind], "params": params}
            self._say(message, work)

    def _require(self, work: Work, kinds: list[str]) -> None:
        del self.working[work.number]
        state = f"{work.token}/{work.rounds + 1}"
        keys = [f"{work.rounds}-{index}" for index in range(len(kinds))]
        questions = {
            key: {"method": METHODS[kind], "params": {"token": work.token, "q": f"{work.token}?{key}"}}
            for key, kind in zip(keys, kinds, strict=True)
        }
        result = {"resultType": "input_required", "inputRequests": questions, "requestState": state}
        self._say({"jsonrpc": "2.0", "id": work.number, "result": result})

    def withdraw(self, number: Any) -> None:
        del self.asked[number]
        about = {"requestId": number, "reason": "x"}
        self._say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": about})

    def _heard(self, message: dict[str, Any]) -> None:
        work = self.asked.pop(message["id"], None)
        if work is None:
            self._fault(f"an answer to nothing: {message}")
        elif "result" in message and message["result"] != {"roots": []}:
            self._check(message["result"], work.token, message["id"])

    def _check(self, said: Any, token: str, question: Any) -> None:
        if said == {"action": "cancel"}:  # what the gateway makes of an error
            return
        if said.get("by") != owner_of(token) or said.get("for") != question:
            self._fault(f"{said} answers {question} of {token}")


class Driver(ScriptedDriver):
    """Each link is a server of its own."""

    def __init__(self, world: World) -> None:
        super().__init__(lambda message: [])
        self.world = world

    async def open(self, launch: Any, listener: Any) -> ScriptedLink:
        link = await super().open(launch, listener)
        server = Server(self.world, link)
        link.script = server
        self.world.servers.append(server)
        return link


@dataclass
class Attempt:
    """One HTTP request of a call: the first, one that takes its stream up again, one that brings answers."""

    lane: Lane
    wire: Wire
    id: Any
    seen: int = 0  # messages that were looked at
    size: int = 0
    answer: Answer = field(default_factory=Answer)
    gone: bool = False  # the client has closed the connection


@dataclass
class Call:
    """One call as its client sees it."""

    client: Client
    token: str
    params: dict[str, Any]
    attempts: list[Attempt] = field(default_factory=list)
    finals: list[Any] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)  # every `input_required` that it got
    cancelled: bool = False

    @property
    def waits(self) -> bool:
        """Some attempt of it is still to be answered."""
        return any(not attempt.gone and not attempt.answer.over for attempt in self.attempts)


class Client:
    """One client: of a legacy one the session, too. `questions` are those that it has not answered."""

    def __init__(self, world: World, token: str, capabilities: dict[str, Any], *, modern: bool) -> None:
        self.world = world
        self.principal = PRINCIPALS[token]
        self.capabilities = capabilities
        self.modern = modern
        self.calls: list[Call] = []
        self.questions: dict[Any, dict[str, Any]] = {}
        self.heard: set[Any] = set()  # ids of questions
        self.stream: Attempt | None = None
        self.ended = False
        self.headers = {"Authorization": f"Bearer {token}"}
        self.owner = self.principal
        if modern:
            self.headers["MCP-Protocol-Version"] = "2026-07-28"
        else:
            self._initialize()

    def __repr__(self) -> str:
        return f"<Client {self.owner} calls={len(self.calls)} questions={list(self.questions)}>"

    def _initialize(self) -> None:
        self.owner = f"{self.principal}{next(self.world.numbers)}"
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": self.capabilities,
            "clientInfo": {"name": "t", "version": "0"},
        }
        _, wire = self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello})
        session = read_answer(wire.out).headers["mcp-session-id"]
        self.headers |= {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
        self.session = self.world.rig.gateway.sessions.named(session, Caller(self.principal, Role.ADMIN))

    def post(self, message: dict[str, Any], **headers: str) -> tuple[Lane, Wire]:
        lane, wire = self.world.connect()
        lane.data_received(request(json.dumps(message).encode(), self.headers | headers))
        return lane, wire

    # -- calls ---------------------------------------------------------------------------------------------

    def call(self, server: str, tool: str) -> Call:
        token = f"{self.owner}#{next(self.world.numbers)}"
        call = Call(self, token, {"name": f"{server}__{tool}", "arguments": {"token": token}})
        self.calls.append(call)
        self._send(call, {})
        return call

    def _send(self, call: Call, more: dict[str, Any]) -> None:
        number = next(self.world.numbers)
        meta: dict[str, Any] = {"progressToken": call.token}
        headers = {}
        if self.modern:
            meta |= {META_VERSION: "2026-07-28", META_CAPABILITIES: self.capabilities}
            headers = {"Mcp-Method": "tools/call", "Mcp-Name": call.params["name"]}
        params = {**call.params, **more, "_meta": meta}
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        call.attempts.append(Attempt(*self.post(message, **headers), number))

    def come_back(self, call: Call, state: Any, *, partly: bool = False) -> None:
        """With answers to what was required."""
        questions = call.states[-1]["inputRequests"]
        answers = {key: self._said(one["params"]) for key, one in questions.items()}
        if partly:
            answers.pop(next(iter(answers), None), None)
        self._send(call, {"inputResponses": answers, "requestState": state})

    def cancel(self, call: Call) -> None:
        call.cancelled = True
        about = {"requestId": call.attempts[0].id}
        self.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": about})

    def drop(self, attempt: Attempt) -> None:
        """The connection breaks."""
        if not attempt.gone:
            attempt.gone = True
            self.world.close(attempt.lane)

    # -- streams -------------------------------------------------------------------------------------------

    def get(self, last_event_id: str = "") -> Attempt:
        lane, wire = self.world.connect()
        headers = self.headers | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        lane.data_received(request(b"", headers).replace(b"POST", b"GET", 1))
        return Attempt(lane, wire, None)

    def end(self) -> None:
        self.ended = True
        lane, _ = self.world.connect()
        lane.data_received(request(b"", self.headers).replace(b"POST", b"DELETE", 1))

    # -- being asked ---------------------------------------------------------------------------------------

    def _said(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"by": self.owner, "for": params["q"]}

    def reply(self, question: Any, params: dict[str, Any], *, error: bool = False) -> None:
        """An answer to a question, which may be another client's."""
        outcome = {"error": {"code": -1, "message": "no"}} if error else {"result": self._said(params)}
        self.post({"jsonrpc": "2.0", "id": question, **outcome})

    # -- what it hears -------------------------------------------------------------------------------------

    def listen(self) -> None:
        for call in self.calls:
            for attempt in call.attempts:
                for message in self._new(attempt):
                    self._heard(message, call, attempt)
        if self.stream is not None:
            for message in self._new(self.stream):
                self._heard(message, None, self.stream)

    def _new(self, attempt: Attempt) -> list[Any]:
        if len(attempt.wire.out) == attempt.size:
            return []
        attempt.size = len(attempt.wire.out)
        attempt.answer = read_answer(attempt.wire.out)
        new, attempt.seen = attempt.answer.messages[attempt.seen :], len(attempt.answer.messages)
        return new

    def _fault(self, what: str) -> None:
        self.world.faults.append(f"{self.owner}: {what}")

    def _heard(self, message: dict[str, Any], call: Call | None, attempt: Attempt) -> None:
        params = message.get("params", {})
        method = message.get("method")
        if method == "notifications/cancelled":
            self.questions.pop(params["requestId"], None)
        elif method == "notifications/progress":
            if call is None or params["progressToken"] != call.token or params["message"] != call.token:
                self._fault(f"heard {params} in {call}")
        elif method == "notifications/message":
            self._require_mine(params["data"], call)
        elif method is not None and "id" in message:
            self._require_mine(params["token"], call)
            self._require_able(method)
            if message["id"] in self.heard:
                self._fault(f"was asked twice: {message}")
            self.heard.add(message["id"])
            self.questions[message["id"]] = params
        elif method is None and call is not None:
            self._answered(message, call, attempt)

    def _require_mine(self, token: str, call: Call | None) -> None:
        """About this very call; where the server is the session's own, about any of its calls."""
        whole = call is None or call.params["name"].startswith("own")
        if owner_of(token) != self.owner or (not whole and call is not None and token != call.token):
            self._fault(f"heard of {token} in {call}")

    def _require_able(self, method: str) -> None:
        if method not in [METHODS[kind] for kind in self.capabilities]:
            self._fault(f"cannot be asked {method}")

    def _answered(self, message: dict[str, Any], call: Call, attempt: Attempt) -> None:
        if attempt.id is not None and message["id"] != attempt.id:
            self._fault(f"{message} answers {attempt.id}")
        if not attempt.answer.over:
            self._fault(f"answered, and the answer is not over: {message}")
        result = message.get("result")
        if result is None:
            if message["error"]["code"] in ((-32603, -32042, -32002) if self.modern else (-32603,)):
                self._fault(f"an error that it cannot know: {message}")
        elif result.get("resultType") == "input_required":
            call.states.append(result)
            for one in result["inputRequests"].values():
                self._require_mine(one["params"]["token"], call)
                self._require_able(one["method"])
            return
        elif result["content"][0]["text"] != call.token:
            self._fault(f"{message} answers {call.token}")
        call.finals.append(message)


class World:
    """The gateway and everybody around it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.servers: list[Server] = []
        self.clients: list[Client] = []
        self.faults: list[str] = []
        self.numbers = itertools.count(1)
        self.lanes: list[Lane] = []
        self.pools: list[ServerPool] = []
        self.versions: dict[str, str] = {}  # of servers that were changed
        self.changes: list[asyncio.Future[None]] = []

    # -- connections ---------------------------------------------------------------------------------------

    def connect(self) -> tuple[Lane, Wire]:
        lane, wire = self.rig.connect()
        self.lanes.append(lane)
        return lane, wire

    def close(self, lane: Lane) -> None:
        if lane in self.lanes:
            self.lanes.remove(lane)
            lane.connection_lost(None)

    # -- time ----------------------------------------------------------------------------------------------

    async def tick_always(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = asyncio.get_running_loop().time()
            await self.rig.fleet.tick()
            self.rig.gateway.tick(now)
            for lane in list(self.lanes):
                lane.tick(now)
                if lane.transport.is_closing():
                    self.close(lane)

    # -- what must hold ------------------------------------------------------------------------------------

    def look(self) -> None:
        """After every step."""
        self.pools += [
            pool for pool in self.rig.gateway.endpoints.merged.pools.values() if pool not in self.pools
        ]
        for client in self.clients:
            client.listen()
        for pool in self.rig.gateway.endpoints.merged.pools.values():
            self._look_at(pool)
        held = sum(pool.calls_held for pool in self.pools)
        if held != self.rig.gateway.in_flight or held < 0:
            self.faults.append(f"in flight {self.rig.gateway.in_flight}, held {held}")
        assert not self.faults, "\n".join(self.faults)

    def _look_at(self, pool: ServerPool) -> None:
        maximum = pool.spec.scaling.max_instances
        if pool.spec.sharing.value == "shared":
            maximum = max(2, maximum)
        there = [
            server
            for server in self.servers
            if not server.link.lost
            and server.instance.key.same_version(pool.members.key)
            and server.name == pool.spec.id
            and not is_hung(server.instance)
            and server.instance.state is not InstanceState.STOPPING
        ]
        for server in there:
            server.stood_aside |= server.instance.aside_since is not None
        if len(there) > 2 * maximum or sum(not server.stood_aside for server in there) > maximum:
            self.faults.append(f"{len(there)} instances of {pool.spec.id}: {there}")

    def left_over(self) -> dict[str, Any]:
        """What remains when all is said and done; empty where that is nothing."""
        gateway = self.rig.gateway
        found: dict[str, Any] = {
            "in flight": gateway.in_flight,
            "held": [pool for pool in self.pools if pool.calls_held],
            "parked": gateway.bridge._parked,
            "waiting": [task for task in gateway._tasks._running if not task.done()],
            "asked": [session.asked for session in gateway.sessions if session.asked],
            "calls": [session.calls for session in gateway.sessions if session.calls],
            "pending": [s for s in self.servers if s.instance._pending and not s.link.lost],
            "questions": [s for s in self.servers if s.instance.questions._open and not s.link.lost],
            "queues": [pool for pool in self.pools if len(pool.exclusive) or pool.waiting.called],
            "answers": [c for client in self.clients for c in client.calls if c.waits],
            "working": [s for s in self.servers if s.working and not s.link.lost],
        }
        return {what: rest for what, rest in found.items() if rest}


@contextlib.asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    """With four servers, that have come up, and nobody else."""
    world = World.__new__(World)
    driver = Driver(world)
    world.__init__(None)  # type: ignore[misc, arg-type] # the driver needs it first
    specs = {name: {"timeouts": Timeouts(call=CALL, answer=ANSWER), **spec} for name, spec in SPECS.items()}
    async with lane_rig(driver, idle=IDLE, principals=PRINCIPALS, **specs) as rig:
        world.rig = rig
        ticking = asyncio.create_task(world.tick_always())
        try:
            yield world
        finally:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
            for lane in list(world.lanes):
                world.close(lane)


def specs_of(world: World) -> dict[str, ServerSpec]:
    return {
        name: ServerSpec(
            **{"id": name, "command": "x", "timeouts": Timeouts(call=CALL, answer=ANSWER), **spec},
            environment={"VERSION": world.versions[name]} if name in world.versions else {},
        )
        for name, spec in SPECS.items()
    }


async def change(world: World, server: str) -> None:
    """A new version of a server takes the place of the running one."""
    if server != "web":  # a URL has no environment
        world.versions[server] = str(next(world.numbers))
    limits = ResourceLimits(rate_limiting=RateLimiting(enabled=False))
    with contextlib.suppress(ProblemError):
        await world.rig.fleet.apply(
            FleetSpec(servers=specs_of(world), security=Security(resource_limits=limits))
        )
