"""A modern MCP server over stdio whose tools make tasks, as the extension has them. Standard library only.

It has what the official suite's `tasks-*` scenarios ask for. Time is looked at when somebody asks: a task is
over when its seconds have passed. Who listens is told of the end by a timer.
"""

import json
import os
import select
import sys
import time
import uuid
from datetime import UTC, datetime

META = "io.modelcontextprotocol/"
TASKS = META + "tasks"
INFO = {"name": "tasks", "version": "1"}
NEEDED = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
EMPTY = {"type": "object", "properties": {}}
TOOLS = {
    "greet": {"type": "object", "properties": {"name": {"type": "string"}}},
    "slow_compute": {
        "type": "object",
        "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}},
    },
    "failing_job": EMPTY,
    "protocol_error_job": EMPTY,
    "confirm_delete": {"type": "object", "properties": {"filename": {"type": "string"}}},
    "multi_input": EMPTY,
    "link_job": EMPTY,
    "test_tool_with_task": EMPTY,
}


class RefusedError(Exception):
    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})


def text(said, **more):
    return {"content": [{"type": "text", "text": said}], **more}


def question(message):
    schema = {"type": "object", "properties": {"confirm": {"type": "boolean"}}}
    return {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": schema},
    }


class Task:
    def __init__(self, seconds, result=None, error=None, questions=()):
        self.id = str(uuid.uuid4())
        self.over = time.monotonic() + seconds
        self.result, self.error = result, error
        self.questions = {f"q{number}": question(message) for number, message in enumerate(questions)}
        self.cancelled = self.told = False
        self.created = self.updated = now()

    @property
    def status(self):
        if self.cancelled:
            return "cancelled"
        if self.questions:
            return "input_required"
        if time.monotonic() < self.over:
            return "working"
        return "completed" if self.error is None else "failed"

    def basics(self):
        return {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created,
            "lastUpdatedAt": self.updated,
            "ttlMs": 60_000,
            "pollIntervalMs": 100,
        }

    def details(self):
        more = {
            "completed": {"result": self.result},
            "failed": {"error": self.error},
            "input_required": {"inputRequests": self.questions},
        }
        return self.basics() | more.get(self.status, {})


def now():
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Server:
    def __init__(self):
        self.tasks = {}
        self.listeners = {}  # request id -> ids of tasks

    def say(self, message):
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()

    def run(self):
        unread = b""
        while True:
            ready, _, _ = select.select([0], [], [], 0.02 if self.listeners else None)
            if ready:
                data = os.read(0, 65536)
                if not data:
                    return
                *lines, unread = (unread + data).split(b"\n")
                for line in lines:
                    self.received(json.loads(line))
            self.tell()

    def tell(self):
        for number, ids in self.listeners.items():
            for task in (self.tasks[i] for i in ids if i in self.tasks):
                if not task.told and task.status in ("completed", "failed", "cancelled"):
                    task.told = True
                    params = task.details() | {"_meta": {META + "subscriptionId": number}}
                    self.say({"method": "notifications/tasks", "params": params})

    def received(self, message):
        if "id" not in message:
            if message["method"] == "notifications/cancelled":
                self.listeners.pop(message["params"]["requestId"], None)
            return
        try:
            result = self.answer(message["id"], message["method"], message.get("params") or {})
        except RefusedError as refused:
            self.say({"id": message["id"], "error": refused.error})
        else:
            if result is not None:
                self.say({"id": message["id"], "result": {"resultType": "complete"} | result})

    def answer(self, number, method, params):
        capabilities = params.get("_meta", {}).get(META + "clientCapabilities", {})
        takes_tasks = TASKS in capabilities.get("extensions", {})
        if method == "server/discover":
            return {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "extensions": {TASKS: {}, "com.example/own": {"a": 1}}},
                "_meta": {META + "serverInfo": INFO},
                "ttlMs": 0,
                "cacheScope": "private",
            }
        if method == "tools/list":
            tools = [{"name": name, "inputSchema": schema} for name, schema in TOOLS.items()]
            return {"tools": tools, "ttlMs": 0, "cacheScope": "private"}
        if method == "tools/call":
            return self.call(params, takes_tasks=takes_tasks)
        if method == "subscriptions/listen":
            return self.listen(number, params, takes_tasks=takes_tasks)
        if method in ("tasks/get", "tasks/update", "tasks/cancel"):
            if not takes_tasks:
                raise RefusedError(-32021, "Missing required client capability", NEEDED)
            task = self.tasks.get(params["taskId"])
            if task is None:
                raise RefusedError(-32602, "no such task in this process")
            return self.follow_up(method, task, params)
        raise RefusedError(-32601, "Method not found")

    def listen(self, number, params, *, takes_tasks):
        ids = params["notifications"].get("taskIds")
        if ids is not None and not takes_tasks:
            raise RefusedError(-32021, "Missing required client capability", NEEDED)
        self.listeners[number] = ids or []
        params = {"notifications": {"taskIds": ids or []}, "_meta": {META + "subscriptionId": number}}
        self.say({"method": "notifications/subscriptions/acknowledged", "params": params})

    def call(self, params, *, takes_tasks):
        name, arguments = params["name"], params.get("arguments") or {}
        if "task" in params:
            return text("a task parameter came through", isError=True)
        if name == "greet":
            return text(f"Hello, {arguments.get('name')}!")
        if name == "test_tool_with_task" and not params.get("inputResponses"):
            questions = {"user_name": question("Who are you?")}
            return {"resultType": "input_required", "inputRequests": questions, "requestState": "first"}
        if not takes_tasks:
            if name == "failing_job":
                raise RefusedError(-32021, "Missing required client capability", NEEDED)
            return text(f"{name} done at once")
        task = self.make(name, arguments, params)
        self.tasks[task.id] = task
        return {"resultType": "task", **task.basics()}

    def make(self, name, arguments, params):
        if name == "slow_compute":
            return Task(
                arguments.get("seconds", 0), text(f"computed {arguments.get('label')} in {os.getpid()}")
            )
        if name == "failing_job":
            return Task(0.1, text("it failed", isError=True))
        if name == "protocol_error_job":
            return Task(0.1, error={"code": -32603, "message": "it broke"})
        if name == "confirm_delete":
            return Task(0, text("deleted"), questions=[f"Delete {arguments.get('filename')}?"])
        if name == "multi_input":
            return Task(0, text("both"), questions=["One?", "Two?"])
        if name == "link_job":
            return Task(0, {"content": [{"type": "resource_link", "name": "x", "uri": "task://one"}]})
        answer = params["inputResponses"]["user_name"]
        return Task(0, text(f"Hello, {json.dumps(answer)}"))

    def follow_up(self, method, task, params):
        if method == "tasks/get":
            return task.details()
        task.updated = now()
        if method == "tasks/cancel":
            task.cancelled = task.cancelled or task.status in ("working", "input_required")
        for key in params.get("inputResponses", {}):
            task.questions.pop(key, None)
        return {}


if __name__ == "__main__":
    Server().run()
