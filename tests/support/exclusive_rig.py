"""A pool whose server asks things of clients, for calls that need an instance of their own kind."""

from __future__ import annotations

import asyncio

from fairlead.mcp.profiles import read_profile
from fairlead.model.fleet import LoadBalancing, Scaling
from support.pool_rig import PoolRig
from support.scripted import INFO, ScriptedDriver, answer

SAMPLES = read_profile(b'{"sampling":{}}')
ELICITS = read_profile(b'{"elicitation":{}}')
BOTH = read_profile(b'{"sampling":{},"elicitation":{}}')
ROOTED = read_profile(b'{"sampling":{},"roots":{}}')
FLEET = LoadBalancing()
URL = {"command": None, "url": "http://127.0.0.1:1/mcp"}


def asking(*, capabilities=None):
    """A legacy server that never answers calls and has a tool more for each thing that it may ask."""
    told = {}

    def script(message):
        method = message.get("method")
        if method == "initialize":
            told.update(message["params"]["capabilities"])
            offered = {"tools": {"listChanged": True}} if capabilities is None else capabilities
            return [answer(message, protocolVersion="2025-11-25", capabilities=offered, serverInfo=INFO)]
        if method == "tools/list":
            return [answer(message, tools=[{"name": name} for name in ("echo", *sorted(told))])]
        if method in ("ping", "logging/setLevel"):
            return [answer(message)]
        if method == "tools/call" or "id" not in message:
            return []
        return [{"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}]

    return script


def modern(message):
    """A server of the modern era that never answers calls; it logs."""
    method = message.get("method")
    if method == "server/discover":
        told = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "logging": {}}}
        return [answer(message, resultType="complete", **told)]
    return [answer(message, resultType="complete", tools=[])] if method == "tools/list" else []


class Driver(ScriptedDriver):
    """Each link has a script of its own."""

    def __init__(self, make):
        super().__init__(lambda message: [])
        self.make = make

    async def open(self, launch, listener):
        link = await super().open(launch, listener)
        link.script = self.make()
        return link


class ExclusiveRig(PoolRig):
    def __init__(self, make=asking, *, maximum=4, ticking=True, **spec):
        spec = {"scaling": Scaling(min_instances=1, max_instances=maximum), **spec}
        super().__init__(ticking=ticking, **spec)
        self.driver = self.launcher.driver = Driver(make)

    def acquire(self, profile=SAMPLES, *, key="principal:k", timeout=30.0, logs=False):
        """A task that acquires and sends a call; its instance."""
        return asyncio.create_task(self._acquire(profile, key, timeout, logs))

    async def _acquire(self, profile, key, timeout, logs):  # noqa: ASYNC109
        need = self.pool.need(profile, logs=logs)
        instance = await self.pool.acquire(key, timeout=timeout, need=need)
        self.send(instance, timeout=1000)
        return instance

    def answer(self, instance):
        """Have it answer its oldest call."""
        link = self.link(instance)
        waits = [m["id"] for m in link.sent if m.get("method") == "tools/call"]
        link.say({"jsonrpc": "2.0", "id": next(n for n in waits if instance.is_pending(n)), "result": {}})

    @property
    def exclusive(self):
        return [i for i in self.pool.members if i.exclusive]

    @property
    def shared(self):
        return self.pool.members.ready()

    def told(self, instance):
        """What a server was told of its clients."""
        [hello] = [m for m in self.link(instance).sent if m.get("method") == "initialize"]
        return hello["params"]["capabilities"]
