"""A light MCP server over stdio: the fixture that most tests run against. Standard library only.

Start it with `python -S -E light_server.py [flags]` (about 30 ms). It speaks the legacy era (2025-11-25
and earlier) unless `--era modern` (2026-07-28) or `--era both` (the first request decides, as in the
official SDK) says otherwise. One thread and one loop: lines come in through `select`, and what takes time
(the tool `sleep`) is a timer, so calls overlap and can be cancelled. The misbehaviour flags make it what a
driver must survive; with `--misbehaves` it offers the tool `misbehave`, and begins when that is called.
"""

import argparse
import base64
import heapq
import itertools
import json
import os
import select
import signal
import sys
import time

LEGACY = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
MODERN = ["2026-07-28"]
META = "io.modelcontextprotocol/"
NAMES = ["Ada", "Alan", "Barbara", "Grace", "Linus"]
BLOB = bytes(range(256))
CACHEABLE = {
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "resources/read",
}


def tool(name, description, properties=None, **annotations):
    required = [key for key, schema in (properties or {}).items() if not schema.pop("optional", False)]
    schema = {"type": "object", "properties": properties or {}, "required": required}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": annotations}


def text_result(text, **more):
    return {"content": [{"type": "text", "text": text}], **more}


TEXT, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
FLAG = {"type": "boolean", "optional": True}
TOOLS = [
    tool("echo", "Gives the text back.", {"text": dict(TEXT)}, readOnlyHint=True),
    tool("add", "Adds two numbers.", {"a": dict(NUMBER), "b": dict(NUMBER)}, readOnlyHint=True),
    tool("sleep", "Waits, telling progress; can be cancelled.", {"seconds": dict(NUMBER)}),
    tool("count", "Counts its own calls in this process: {count, pid}."),
    tool("fail", "Answers with isError."),
    tool("error", "Answers with a JSON-RPC error."),
    tool("exit", "Ends the process without an answer.", {"code": dict(INTEGER)}),
    tool("big", "Answers with so many bytes.", {"bytes": dict(INTEGER)}, readOnlyHint=True),
    tool(
        "spawn",
        "Leaves a descendant behind, gives its pid. `hold`: stdout stays open; `clean`: no environment.",
        {"how": {"enum": ["child", "setsid", "double-fork"]}, "hold": dict(FLAG), "clean": dict(FLAG)},
    ),
    tool("stderr", "Writes so many bytes to stderr, in lines of 100.", {"bytes": dict(INTEGER)}),
    tool("link", "Answers with a resource link and an embedded resource.", readOnlyHint=True),
    tool("change", "Adds a tool and sends notifications/tools/list_changed."),
    tool("environment", "Gives the process's environment as JSON.", readOnlyHint=True),
]
RESOURCES = [
    {"uri": "light://one", "name": "one", "mimeType": "text/plain"},
    {"uri": "light://blob", "name": "blob", "mimeType": "application/octet-stream"},
]
TEMPLATES = [{"uriTemplate": "light://item/{id}", "name": "item", "mimeType": "text/plain"}]
PROMPTS = [
    {"name": "greet", "description": "A greeting.", "arguments": [{"name": "name", "required": True}]},
]


MISBEHAVING = [
    tool("hold", "Gives the text back once the file is there.", {"text": dict(TEXT), "file": dict(TEXT)}),
    tool(
        "misbehave",
        "Answers with its pid, then misbehaves so many times. `done` is written when it has.",
        {"kind": dict(TEXT), "times": dict(INTEGER), "done": dict(TEXT)},
    ),
]


def sampled(text):
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return "sampling/createMessage", {"messages": [message], "maxTokens": 10}


def elicited(message):
    properties = {"answer": {"type": "string"}}
    return "elicitation/create", {
        "message": message,
        "requestedSchema": {"type": "object", "properties": properties, "required": ["answer"]},
    }


def elicited_url(url):
    return "elicitation/create", {"mode": "url", "message": "go there", "url": url, "elicitationId": "e1"}


def said(answer):
    """What a client answered, as one word or a few."""
    if "error" in answer:
        return f"error {answer['error']['code']}"
    if "content" in answer and "role" in answer:
        return answer["content"]["text"]
    if "roots" in answer:
        return ",".join(root["uri"] for root in answer["roots"])
    return answer["action"] + (":" + str(answer["content"]["answer"]) if answer.get("content") else "")


ASKING = {  # tool -> (capability, the questions of each round by its arguments)
    "ask": ("sampling", lambda a: [{"reply": sampled(a["text"])}]),
    "elicit": ("elicitation", lambda a: [{"answer": elicited(a["text"])}]),
    "elicit_url": ("elicitation", lambda a: [{"visit": elicited_url(a["text"])}]),
    "roots": ("roots", lambda a: [{"roots": ("roots/list", {})}]),
    "ask_and_go_on": ("sampling", lambda a: [{"reply": sampled(a["text"])}]),
    "both": ("sampling", lambda a: [{"reply": sampled(a["text"]), "answer": elicited(a["text"])}]),
    "chain": ("elicitation", lambda a: [{"answer": elicited(f"{a['text']} {n}")} for n in (1, 2, 3)]),
}
ASKING_TOOLS = [tool(name, "Asks its client.", {"text": dict(TEXT, optional=True)}) for name in ASKING] + [
    tool("log", "Says a message of each level, then answers.", {"text": dict(TEXT)}),
    tool("url_required", "Wants a URL visited before it is called once more."),
]


WATCHING = [
    tool("touch", "Changes a resource and tells who subscribed to it.", {"uri": dict(TEXT)}),
    tool("add_resource", "Adds a resource and says that the list has changed.", {"uri": dict(TEXT)}),
    tool("watched", "Gives what is subscribed to, and how many reads there were, as JSON."),
]


class RpcError(Exception):
    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})


class Later:
    """Returned by a method whose answer comes by itself later."""


class LightServer:
    def __init__(self, options):
        self.options = options
        self.era = None if options.era == "both" else options.era  # None: the first request decides
        self.info = {"name": "light", "version": options.label}
        self.tools = TOOLS + (MISBEHAVING if options.misbehaves else [])
        self.tools = self.tools + (ASKING_TOOLS if options.asks else [])
        self.tools = self.tools + (WATCHING if options.watches else [])
        self.resources = list(RESOURCES)
        self.subscribed = []  # URIs, legacy era
        self.touched = {}  # URI -> how many times
        self.reads = 0
        self.client = {}  # what it can be asked
        self.level = None  # of messages, as its client wants them
        self.asked = {}  # id of a request of ours -> what to do with the answer
        self.questions = itertools.count(1)
        self.urls_wanted = 0
        self.count = 0
        self.timers = []  # heap of (when, sequence, request key, action)
        self.sequence = itertools.count()
        self.listening = {}  # id of subscriptions/listen -> its filter
        self.partial = []  # chunks of a line that is not yet whole
        self.eof = False
        self.spoil = SPOILERS["garbage"] if options.garbage else None
        self.spoiled = None  # called after each message that was spoiled

    # -- transport -----------------------------------------------------------------------------------------

    def run(self):
        while not self.eof or self.options.ignore_stdin_eof:
            timeout = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
            if select.select([] if self.eof else [0], [], [], timeout)[0]:
                self.read()
            while self.timers and self.timers[0][0] <= time.monotonic():
                heapq.heappop(self.timers)[3]()

    def read(self):
        chunk = os.read(0, 1 << 16)
        self.eof = not chunk
        first, *others = chunk.split(b"\n")
        self.partial.append(first)
        if not others:
            return
        lines = [b"".join(self.partial), *others]
        self.partial = [lines.pop()]
        for line in lines:
            if self.options.record:
                append(self.options.record, line + b"\n")
            if line.strip():
                self.line_received(line)

    def write(self, message):
        line = encode(message)
        write_all(1, self.spoil(message, line) if self.spoil else line)
        if self.spoiled:
            self.spoiled()

    def notify(self, method, params=None):
        self.write({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))

    # -- dispatch ------------------------------------------------------------------------------------------

    def line_received(self, line):
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self.write({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}})
            return
        if not isinstance(message, dict):
            self.write(
                {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Invalid Request"}}
            )
            return
        method, key = message.get("method"), message.get("id")
        if method is None:
            heard = self.asked.pop(message.get("id"), None)
            if heard:
                heard(message.get("result", {"error": message.get("error")}))
            return
        params = message.get("params") or {}
        if "id" not in message:
            if method == "notifications/cancelled":
                self.cancel(params.get("requestId"))
            return
        try:
            self.check_era(method, params)
            handler = METHODS.get(method)
            if handler is None or (method in ERA_OF and ERA_OF[method] != self.era):
                raise RpcError(-32601, f"Method not found: {method}")
            result = handler(self, params, key)
        except RpcError as refused:
            self.write({"jsonrpc": "2.0", "id": key, "error": refused.error})
        else:
            if result is not Later:
                self.answer(key, result, method)

    def answer(self, key, result, method):
        if self.era == "modern":
            hint = {"ttlMs": self.options.ttl, "cacheScope": self.options.scope}
            cache = hint if method in CACHEABLE else {}
            meta = {META + "serverInfo": self.info} | result.get("_meta", {})
            result = {"resultType": "complete"} | cache | result | {"_meta": meta}
        self.write({"jsonrpc": "2.0", "id": key, "result": result})

    def check_era(self, method, params):
        meta = params.get("_meta") or {}
        enveloped = META + "protocolVersion" in meta
        if self.era is None:
            self.era = "modern" if enveloped and method != "initialize" else "legacy"
        if self.era == "legacy":
            if enveloped and self.options.era == "both":
                raise RpcError(-32600, "this connection serves the legacy era")
            return
        if method == "initialize":
            requested = params.get("protocolVersion")
            raise RpcError(
                -32022, "Unsupported protocol version", {"supported": MODERN, "requested": requested}
            )
        for name in ("protocolVersion", "clientCapabilities"):
            if META + name not in meta:
                raise RpcError(-32602, f"params._meta lacks {META}{name}")
        if (requested := meta[META + "protocolVersion"]) not in MODERN:
            raise RpcError(
                -32022, "Unsupported protocol version", {"supported": MODERN, "requested": requested}
            )

    def cancel(self, key):
        self.timers = [timer for timer in self.timers if timer[2] != key]
        heapq.heapify(self.timers)
        self.listening.pop(key, None)

    def after(self, seconds, key, action):
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.sequence), key, action))

    # -- methods -------------------------------------------------------------------------------------------

    def capabilities(self):
        listed = {} if self.options.no_list_changed else {"listChanged": True}
        logging = {"logging": {}} if self.options.asks else {}
        resources = listed | {"subscribe": True} if self.options.watches else {}
        return {"tools": listed, "resources": resources, "prompts": {}, "completions": {}} | logging

    def initialize(self, params, key):
        if self.options.no_initialize_answer:
            return Later
        self.client = params.get("capabilities") or {}
        requested = params.get("protocolVersion")
        version = requested if requested in LEGACY else LEGACY[-1]
        return {"protocolVersion": version, "capabilities": self.capabilities(), "serverInfo": self.info}

    def discover(self, params, key):
        if self.options.no_initialize_answer:
            return Later
        return {
            "supportedVersions": MODERN,
            "capabilities": self.capabilities(),
            "instructions": "A light server.",
        }

    def listen(self, params, key):
        wanted = params.get("notifications") or {}
        kinds = ["tools", "resources"] if self.options.watches else ["tools"]
        honoured = {f"{kind}ListChanged": True for kind in kinds if wanted.get(f"{kind}ListChanged")}
        if self.options.watches and wanted.get("resourceSubscriptions"):
            honoured["resourceSubscriptions"] = [
                uri for uri in wanted["resourceSubscriptions"] if "refused" not in uri
            ]
        self.listening[key] = honoured
        meta = {META + "subscriptionId": key}
        self.notify("notifications/subscriptions/acknowledged", {"_meta": meta, "notifications": honoured})
        return Later

    def list_tools(self, params, key):
        tools = [one for one in self.tools if self.may_offer(one["name"])]
        page = self.options.page or len(tools)
        try:
            start = int(params.get("cursor") or 0)
        except ValueError:
            raise RpcError(-32602, "Invalid cursor") from None
        following = {"nextCursor": str(start + page)} if start + page < len(tools) else {}
        return {"tools": tools[start : start + page]} | following

    def may_offer(self, name):
        """A legacy server offers what its client, which it knows, can do."""
        return self.era == "modern" or name not in ASKING or ASKING[name][0] in self.client

    def set_level(self, params, key):
        self.level = params["level"]
        return {}

    def read_resource(self, params, key):
        self.reads += 1
        found = resource(params.get("uri"), self.era)
        if times := self.touched.get(params.get("uri")):
            found["text"] += f", changed {times} times"
        return {"contents": [found]}

    def subscribe(self, params, key):
        if not self.options.watches or "refused" in params["uri"]:
            raise RpcError(-32602, f"Cannot be subscribed to: {params['uri']}")
        self.subscribed.append(params["uri"])
        return {}

    def unsubscribe(self, params, key):
        self.subscribed = [uri for uri in self.subscribed if uri != params["uri"]]
        return {}

    def get_prompt(self, params, key):
        if params.get("name") != "greet":
            raise RpcError(-32602, f"Unknown prompt: {params.get('name')}")
        text = f"Hello, {(params.get('arguments') or {}).get('name', 'stranger')}!"
        return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}

    def complete(self, params, key):
        ref, typed = params.get("ref") or {}, (params.get("argument") or {}).get("value", "")
        if ref.get("type") == "ref/prompt" and ref.get("name") == "greet":
            values = NAMES
        elif ref.get("type") == "ref/resource" and ref.get("uri") == TEMPLATES[0]["uriTemplate"]:
            values = ["1", "2", "3"]
        else:
            raise RpcError(-32602, "Unknown reference")
        return {
            "completion": {"values": [value for value in values if value.startswith(typed)], "hasMore": False}
        }

    def call_tool(self, params, key):
        name, arguments = params.get("name"), params.get("arguments") or {}
        known = next((each for each in self.tools if each["name"] == name), None)
        if known is None:
            raise RpcError(-32602, f"Unknown tool: {name}")
        missing = [each for each in known["inputSchema"]["required"] if each not in arguments]
        if missing:
            return text_result(f"missing argument: {', '.join(missing)}", isError=True)
        if name in ASKING:
            return self.ask_client(ASKING[name][1](arguments), params, key)
        if name == "log":
            return self.say_messages(arguments["text"], params, key)
        handler = getattr(self, f"tool_{name}", None)
        if handler is None:  # added by `change`
            return text_result(name)
        return handler(arguments, key, (params.get("_meta") or {}).get("progressToken"))

    # -- tools that ask ------------------------------------------------------------------------------------

    def ask_client(self, rounds, params, key):
        if self.era == "legacy":
            token = (params.get("_meta") or {}).get("progressToken")
            self.ask_round(rounds, [], key, token if params["name"] == "ask_and_go_on" else None)
            return Later
        able = (params.get("_meta") or {}).get(META + "clientCapabilities") or {}
        lacking = {ASKING[params["name"]][0]: {}}
        if not lacking.keys() <= able.keys():
            raise RpcError(-32021, "Missing required client capability", {"requiredCapabilities": lacking})
        known = json.loads(params.get("requestState") or "[]")
        known += [said(answer) for answer in (params.get("inputResponses") or {}).values()]
        upcoming = [n for n in range(len(rounds)) if sum(map(len, rounds[: n + 1])) > len(known)]
        if not upcoming:
            return text_result(" ".join(known))
        questions = rounds[upcoming[0]]
        questions = {name: {"method": m, "params": p} for name, (m, p) in questions.items()}
        state = {"requestState": json.dumps(known)} if len(rounds) > 1 else {}
        return {"resultType": "input_required", "inputRequests": questions} | state

    def ask_round(self, rounds, known, key, token=None):
        if not rounds:
            self.answer(key, text_result(" ".join(known)), "tools/call")
            return
        first, *others = rounds
        answers = {}

        def heard(name, answer):
            answers[name] = said(answer)
            if len(answers) == len(first):
                self.ask_round(others, known + [answers[each] for each in first], key)

        lines = b""
        for name, (method, params) in first.items():
            number = f"q{next(self.questions)}"
            self.asked[number] = lambda answer, name=name: heard(name, answer)
            lines += encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        for step in (1, 2, 3) if token is not None else ():  # it tells of progress while it waits
            lines += encode(
                {
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {"progressToken": token, "progress": step},
                }
            )
        write_all(1, lines)  # in one go, as a server does that asks both at once

    def say_messages(self, text, params, key):
        levels = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
        meta = params.get("_meta") or {}
        level = self.level if self.era == "legacy" else meta.get(META + "logLevel")
        if self.era == "legacy" or level:
            for each in levels[levels.index(level or "info") :]:
                self.notify("notifications/message", {"level": each, "logger": "light", "data": text})
        return text_result(text)

    def tool_url_required(self, arguments, key, token):
        self.urls_wanted += 1
        if self.urls_wanted % 2:
            one = {
                "mode": "url",
                "message": "sign in",
                "url": "https://example.com/in",
                "elicitationId": "u1",
            }
            raise RpcError(-32042, "URL elicitation required", {"elicitations": [one]})
        return text_result("you are in")

    # -- tools ---------------------------------------------------------------------------------------------

    def tool_echo(self, arguments, key, token):
        return text_result(arguments["text"])

    def tool_add(self, arguments, key, token):
        return text_result(str(arguments["a"] + arguments["b"]))

    def tool_sleep(self, arguments, key, token):
        seconds = arguments["seconds"]
        if token is not None:
            for step in range(1, 5):
                told = {"progressToken": token, "progress": step, "total": 4}
                self.after(
                    seconds * step / 4, key, lambda told=told: self.notify("notifications/progress", told)
                )
        done = text_result(f"slept {seconds} s")
        self.after(seconds, key, lambda: self.answer(key, done, "tools/call"))
        return Later

    def tool_count(self, arguments, key, token):
        self.count += 1
        told = {"count": self.count, "pid": os.getpid()}
        return text_result(json.dumps(told), structuredContent=told)

    def tool_fail(self, arguments, key, token):
        return text_result("this tool always fails", isError=True)

    def tool_error(self, arguments, key, token):
        raise RpcError(-32000, "this tool always answers with an error", {"tool": "error"})

    def tool_exit(self, arguments, key, token):
        os._exit(arguments["code"])

    def tool_big(self, arguments, key, token):
        return text_result("x" * arguments["bytes"])

    def tool_spawn(self, arguments, key, token):
        pid = leave_descendant(arguments["how"], arguments.get("hold", False), arguments.get("clean", False))
        return text_result(str(pid), structuredContent={"pid": pid})

    def tool_stderr(self, arguments, key, token):
        left = arguments["bytes"]
        line = b"e" * 99 + b"\n"
        while left > 0:
            block = (line * 650)[: min(left, 65000)]
            write_all(2, block)
            left -= len(block)
        return text_result("written")

    def tool_link(self, arguments, key, token):
        link = {"type": "resource_link"} | RESOURCES[0]
        return {"content": [link, {"type": "resource", "resource": resource("light://one", self.era)}]}

    def tool_change(self, arguments, key, token):
        name = f"extra-{sum(each['name'].startswith('extra-') for each in self.tools) + 1}"
        self.tools.append(tool(name, "Added while running."))
        self.list_changed("tools")
        return text_result(name)

    def list_changed(self, kind):
        if self.options.no_list_changed:
            return
        if self.era == "legacy":
            self.notify(f"notifications/{kind}/list_changed")
        for subscription, honoured in self.listening.items():
            if honoured.get(f"{kind}ListChanged"):
                meta = {META + "subscriptionId": subscription}
                self.notify(f"notifications/{kind}/list_changed", {"_meta": meta})

    def tool_touch(self, arguments, key, token):
        uri = arguments["uri"]
        self.touched[uri] = self.touched.get(uri, 0) + 1

        def concerned(wanted):
            return any(uri == each or uri.startswith(each + "/") for each in wanted)

        if self.era == "legacy" and concerned(self.subscribed):
            self.notify("notifications/resources/updated", {"uri": uri})
        for subscription, honoured in self.listening.items():
            if concerned(honoured.get("resourceSubscriptions", [])):
                meta = {META + "subscriptionId": subscription}
                self.notify("notifications/resources/updated", {"uri": uri, "_meta": meta})
        return text_result(uri)

    def tool_add_resource(self, arguments, key, token):
        self.resources.append({"uri": arguments["uri"], "name": arguments["uri"]})
        self.list_changed("resources")
        return text_result(arguments["uri"])

    def tool_watched(self, arguments, key, token):
        listened = [uri for each in self.listening.values() for uri in each.get("resourceSubscriptions", [])]
        told = {"uris": sorted(self.subscribed + listened), "reads": self.reads, "pid": os.getpid()}
        return text_result(json.dumps(told), structuredContent=told)

    def list_resources(self, params, key):
        if self.options.unreadable and os.access(self.options.unreadable, os.F_OK):
            raise RpcError(-32603, "the resources cannot be listed now")
        return {"resources": self.resources}

    def tool_environment(self, arguments, key, token):
        return text_result(json.dumps(dict(os.environ)))

    def tool_hold(self, arguments, key, token):
        append(arguments["file"] + ".held", f"{os.getpid()} {arguments['text']}\n".encode())
        self.answer_when_there(arguments["file"], arguments["text"], key)
        return Later

    def answer_when_there(self, path, text, key):
        if os.access(path, os.F_OK):
            self.answer(key, text_result(text), "tools/call")
        else:
            self.after(0.02, key, lambda: self.answer_when_there(path, text, key))

    # -- misbehaving ---------------------------------------------------------------------------------------

    def tool_misbehave(self, arguments, key, token):
        begin = MISDEEDS.get(arguments["kind"])
        if begin is None:
            self.after(0, None, lambda: self.spoil_messages(**arguments))
        else:
            self.after(0, None, lambda: (begin(self, arguments["times"]), append(arguments["done"], b"done")))
        return text_result(str(os.getpid()), structuredContent={"pid": os.getpid()})

    def spoil_messages(self, kind, times, done):
        left = itertools.count(times - 1, -1)

        def spoiled():
            if next(left) == 0:
                self.spoil = self.spoiled = None
                append(done, b"done")

        self.spoil, self.spoiled = SPOILERS[kind], spoiled

    def flood_with_notifications(self, times):
        """A list that changed, a log message, progress that nobody asked for: in turn."""
        told = [
            {"method": "notifications/message", "params": {"level": "info", "data": "x" * 100}},
            {"method": "notifications/progress", "params": {"progressToken": 10**9, "progress": 1}},
            {"method": "notifications/tools/list_changed"},
        ]
        block = b"".join(encode({"jsonrpc": "2.0"} | each) for each in told) * 100
        for _ in range(times // 300):
            write_all(1, block)

    def answer_slowly(self, seconds):
        """For so long, each call is answered after three seconds."""
        prompt, until = self.answer, time.monotonic() + seconds

        def answer(key, result, method):
            if method == "tools/call" and time.monotonic() < until:
                self.after(3.0, key, lambda: prompt(key, result, method))
            else:
                prompt(key, result, method)

        self.answer = answer


METHODS = {
    "initialize": LightServer.initialize,
    "ping": lambda server, params, key: {},
    "server/discover": LightServer.discover,
    "subscriptions/listen": LightServer.listen,
    "tools/list": LightServer.list_tools,
    "tools/call": LightServer.call_tool,
    "resources/list": LightServer.list_resources,
    "resources/subscribe": LightServer.subscribe,
    "resources/unsubscribe": LightServer.unsubscribe,
    "resources/templates/list": lambda server, params, key: {"resourceTemplates": TEMPLATES},
    "resources/read": LightServer.read_resource,
    "prompts/list": lambda server, params, key: {"prompts": PROMPTS},
    "prompts/get": LightServer.get_prompt,
    "completion/complete": LightServer.complete,
    "logging/setLevel": LightServer.set_level,
}
ERA_OF = {  # methods that only one era has
    "ping": "legacy",
    "initialize": "legacy",
    "logging/setLevel": "legacy",
    "resources/subscribe": "legacy",
    "resources/unsubscribe": "legacy",
    "server/discover": "modern",
    "subscriptions/listen": "modern",
}


def resource(uri, era):
    uri = str(uri)
    if uri == "light://blob":
        return RESOURCES_BY_URI[uri] | {"blob": base64.b64encode(BLOB).decode()}
    if uri == "light://one" or uri.startswith("light://item/"):
        return {"uri": uri, "mimeType": "text/plain", "text": f"the text of {uri}"}
    raise RpcError(-32602 if era == "modern" else -32002, f"Resource not found: {uri}", {"uri": uri})


RESOURCES_BY_URI = {each["uri"]: {"uri": each["uri"], "mimeType": each["mimeType"]} for each in RESOURCES}


def leave_descendant(how, hold, clean):
    """Starts `sleep` as a plain child, in a session of its own, or also forked twice; gives its pid."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if how != "child":
            os.setsid()
        if how == "double-fork" and os.fork() > 0:
            os._exit(0)
        os.write(writer, str(os.getpid()).encode())
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 2) if hold else (0, 1, 2):
            os.dup2(null, descriptor)
        os.execve("/bin/sleep", ["sleep", "1000"], {} if clean else os.environ)
    if how == "double-fork":
        os.waitpid(child, 0)
    os.close(writer)
    pid = int(os.read(reader, 20))
    os.close(reader)
    return pid


def half_of(line):
    return line[: len(line) // 2]


def cut_off(message, line):
    write_all(1, half_of(line))
    os._exit(1)


def hang_in_the_middle(message, line):
    write_all(1, half_of(line))
    while True:
        signal.pause()


def in_two_pieces(message, line):
    write_all(1, half_of(line))
    time.sleep(0.002)  # so that the pieces are read one by one
    return line[len(line) // 2 :]


def with_strangers(message, line):
    """Before an answer, the same with ids that nobody waits for."""
    key = message.get("id", 0)
    strangers = [key + 10**6, -key - 1, str(key), key + 0.5, True, None, [key], {"id": key}, 10**30]
    return b"".join(encode(message | {"id": stranger}) for stranger in strangers) + line


SPOILERS = {  # what becomes of a message; some do not return
    "garbage": lambda message, line: b'this is not JSON\n\n   \n{"half": \n\xff\xfe\r\n[]\n' + line,
    "half-lines": lambda message, line: half_of(line) + b"\n" + line,
    "half-answers": lambda message, line: half_of(line) + b"\n",
    "pieces": in_two_pieces,
    "cut-off": cut_off,
    "half-hang": hang_in_the_middle,
    "twice": lambda message, line: line + line,
    "unknown-ids": with_strangers,
    "wrong-ids": lambda message, line: encode(message | {"id": message.get("id", 0) + 10**6}),
}
MISDEEDS = {  # what happens once, for so many bytes, messages or seconds
    "long-line": lambda server, times: write_all(1, b"x" * times + b"\n"),
    "stderr": lambda server, times: server.tool_stderr({"bytes": times}, None, None),
    "notifications": LightServer.flood_with_notifications,
    "slow": LightServer.answer_slowly,
}


def encode(message):
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def write_all(descriptor, data):
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def append(path, data):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    write_all(descriptor, data)
    os.close(descriptor)


def parse(argv):
    parser = argparse.ArgumentParser(description="A light MCP server over stdio.", allow_abbrev=False)
    parser.add_argument("--era", choices=["legacy", "modern", "both"], default="legacy")
    parser.add_argument("--page", type=int, default=0, help="tools to a page of tools/list; 0: all in one")
    parser.add_argument("--pid-file", help="write the pid here")
    parser.add_argument("--record", help="append every raw line received to this file")
    parser.add_argument("--ignore-term", action="store_true", help="SIGTERM and SIGINT do nothing")
    parser.add_argument("--ignore-stdin-eof", action="store_true", help="live on when stdin is closed")
    parser.add_argument(
        "--no-initialize-answer", action="store_true", help="never answer initialize or discover"
    )
    parser.add_argument("--garbage", action="store_true", help="junk lines on stdout before every message")
    parser.add_argument("--never-read", action="store_true", help="never read stdin")
    parser.add_argument(
        "--exit-at-once", type=int, metavar="CODE", help="say so on stderr and exit with CODE"
    )
    parser.add_argument("--asks", action="store_true", help="offer the tools that ask the client")
    parser.add_argument("--watches", action="store_true", help="resources can be subscribed to and changed")
    parser.add_argument("--ttl", type=int, default=0, help="ms for which its modern results may be kept")
    parser.add_argument("--scope", choices=["public", "private"], default="private", help="and by whom")
    parser.add_argument("--no-list-changed", action="store_true", help="do not tell of changed lists")
    parser.add_argument("--unreadable", metavar="FILE", help="list no resources while the file is there")
    parser.add_argument("--misbehaves", action="store_true", help="offer the tools hold and misbehave")
    parser.add_argument("--label", default="1.0.0", help="the version that it gives of itself")
    parser.add_argument("--starts", metavar="FILE", help="append the time of each start, in monotonic s")
    parser.add_argument(
        "--only-if", metavar="FILE", help="start without misbehaviour when the file is not there"
    )
    options = parser.parse_args(argv)
    if options.only_if and not os.access(options.only_if, os.F_OK):
        options.exit_at_once = None
        options.garbage = options.never_read = options.no_initialize_answer = False
    return options


def main(argv):
    options = parse(argv)
    if options.starts:
        append(options.starts, f"{time.monotonic()}\n".encode())
    if options.pid_file:
        append(options.pid_file, str(os.getpid()).encode())
    if options.ignore_term:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
    if options.exit_at_once is not None:
        write_all(2, b"light: exiting at once, as told\n")
        return options.exit_at_once
    if options.never_read:
        while True:
            signal.pause()
    try:
        LightServer(options).run()
    except (KeyboardInterrupt, BrokenPipeError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
